"""Digests, HMAC, random numbers and AES, against the test vectors of RFCs and NIST."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest
from pki import openssl

from hsl.errors import ScriptError

Call = Callable[..., Any]

MILLION = b"a" * 1_000_000
ABC = b"abc"
LONG = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"

DIGESTS = [
    ("md5", [b""], "d41d8cd98f00b204e9800998ecf8427e"),  # RFC 1321
    ("md5", [b"a"], "0cc175b9c0f1b6a831c399e269772661"),
    ("md5", [ABC], "900150983cd24fb0d6963f7d28e17f72"),
    ("md5", [b"message digest"], "f96b697d7cb7938d525a2f31aaf161d0"),
    ("md5", [b"1234567890" * 8], "57edf4a22be3c955ac49da2e2107b67a"),
    ("sha1", [ABC], "a9993e364706816aba3e25717850c26c9cd0d89d"),  # RFC 3174
    ("sha1", [LONG], "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
    ("sha1", [MILLION], "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
    ("sha2", [b"", 256], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),  # FIPS 180
    ("sha2", [ABC, 256], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("sha2", [LONG, 256], "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
    ("sha2", [MILLION, 256], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    (
        "sha2",
        [ABC, 512],
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
]

TEST_DATA = b"what do ya want for nothing?"
LARGER = b"Test Using Larger Than Block-Size Key - Hash Key First"
HMACS = [
    ("hmac_md5", b"\x0b" * 16, b"Hi There", None, "9294727a3638bb1c13f48ef8158bfc9d"),  # RFC 2202
    ("hmac_md5", b"Jefe", TEST_DATA, None, "750c783e6ab0b503eaa86e310a5db738"),
    ("hmac_md5", b"\xaa" * 16, b"\xdd" * 50, None, "56be34521d144c88dbb8c733f0e8b3f6"),
    ("hmac_md5", b"\xaa" * 80, LARGER, None, "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"),
    ("hmac_sha1", b"\x0b" * 20, b"Hi There", None, "b617318655057264e28bc0b6fb378c8ef146be00"),
    ("hmac_sha1", b"Jefe", TEST_DATA, None, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
    ("hmac_sha1", b"\xaa" * 20, b"\xdd" * 50, None, "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
    ("hmac_sha1", bytes(range(1, 26)), b"\xcd" * 50, None, "4c9007f4026250c6bc8414f9bf50c86c2d7235da"),
    ("hmac_sha1", b"\xaa" * 80, LARGER, None, "aa4ae5e15272d00e95705637ce8a3b55ed402112"),
    (  # RFC 4231
        "hmac_sha2",
        b"\x0b" * 20,
        b"Hi There",
        256,
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ),
    ("hmac_sha2", b"Jefe", TEST_DATA, 256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (
        "hmac_sha2",
        b"\xaa" * 20,
        b"\xdd" * 50,
        256,
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    ),
    ("hmac_sha2", b"\xaa" * 131, LARGER, 256, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
    (
        "hmac_sha2",
        b"Jefe",
        TEST_DATA,
        512,
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
        "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    ),
]


@pytest.mark.parametrize(("name", "arguments", "wanted"), DIGESTS)
def test_digests(call: Call, name: str, arguments: list[Any], wanted: str) -> None:
    assert call(name, *arguments) == wanted.encode()
    assert call(name, *arguments, {"binary": True}) == bytes.fromhex(wanted)


@pytest.mark.parametrize(("name", "key", "message", "size", "wanted"), HMACS)
def test_hmacs(call: Call, name: str, key: bytes, message: bytes, size: int | None, wanted: str) -> None:
    arguments = [key, message] if size is None else [key, message, size]
    assert call(name, *arguments) == wanted.encode()
    assert call(name, *arguments, {"binary": True}) == bytes.fromhex(wanted)


@pytest.mark.parametrize("size", [0, 1, 224, 384, -256, 2**40])
def test_sizes_that_there_are_not(call: Call, size: int) -> None:
    with pytest.raises(ScriptError, match=r"sha2\(\): parameter 2 \(hashsize\): wanted 256 or 512"):
        call("sha2", b"", size)
    with pytest.raises(ScriptError, match=r"hmac_sha2\(\): parameter 3 \(hashsize\): wanted 256 or 512"):
        call("hmac_sha2", b"", b"", size)


@pytest.mark.parametrize("message", [b"\x00", b"\xff", b"\xc3(", b"x" * 10_000_000])
def test_any_bytes(call: Call, message: bytes) -> None:
    assert call("md5", message) == hashlib.md5(message).hexdigest().encode()
    assert call("sha2", message, 512, {"binary": True}) == hashlib.sha512(message).digest()
    assert call("hmac_sha1", message, b"x") == hmac.digest(message, b"x", "sha1").hex().encode()
    assert 0 <= call("hash", message) < 2**48


@pytest.mark.parametrize(("message", "wanted"), [(b"", 0xDDD9C40767F9), (b"a", 0x433911C6EB0D)])
def test_a_hash_is_the_same_on_every_machine(call: Call, message: bytes, wanted: int) -> None:
    assert call("hash", message) == wanted  # b2sum -l 48


# ------------------------------------------------------------ random numbers


def test_random_bytes(call: Call) -> None:
    assert call("random_bytes", 0) == b""
    assert len(call("random_bytes", 1024 * 1024)) == 1024 * 1024
    assert call("random_bytes", 16) != call("random_bytes", 16)


@pytest.mark.parametrize("count", [-1, 1024 * 1024 + 1, 10**12])
def test_too_many_random_bytes(call: Call, count: int) -> None:
    with pytest.raises(ScriptError, match="wanted 0 to 1048576"):
        call("random_bytes", count)


def test_random_numbers(call: Call) -> None:
    assert {call("random_number", 1, 3) for _ in range(200)} == {1.0, 2.0, 3.0}
    assert call("random_number", -5, -5) == -5.0
    assert all(0 <= call("rand") <= 1 for _ in range(50))


BAD_RANGES = [([2, 1], "greater than last"), ([1], "wanted both"), ([None, 1], "wanted both")]


@pytest.mark.parametrize(("arguments", "message"), BAD_RANGES)
def test_bad_ranges(call: Call, arguments: list[Any], message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        call("random_number", *arguments)


# ------------------------------------------------------------ AES

K128 = "2b7e151628aed2a6abf7158809cf4f3c"
K192 = "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b"
K256 = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
IV = "000102030405060708090a0b0c0d0e0f"
BLOCKS = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
FIPS = "00112233445566778899aabbccddeeff"
COUNT = "".join(f"{number:02x}" for number in range(32))

VECTORS = [
    ("ecb", COUNT[:32], FIPS, "69c4e0d86a7b0430d8cdb78070b4c55a"),  # FIPS 197 appendix C
    ("ecb", COUNT[:48], FIPS, "dda97ca4864cdfe06eaf70a0ec0d7191"),
    ("ecb", COUNT, FIPS, "8ea2b7ca516745bfeafc49904b496089"),
    ("ecb", K128, BLOCKS, "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"),  # SP 800-38A F.1
    ("ecb", K192, BLOCKS, "bd334f1d6e45f25ff712a214571fa5cc974104846d0ad3ad7734ecb3ecee4eef"),
    ("ecb", K256, BLOCKS, "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870"),
    ("cbc", K128, BLOCKS, "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"),  # SP 800-38A F.2
    ("cbc", K192, BLOCKS, "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a"),
    ("cbc", K256, BLOCKS, "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"),
]


@pytest.mark.parametrize(("mode", "key", "plain", "wanted"), VECTORS)
def test_aes(call: Call, mode: str, key: str, plain: str, wanted: str) -> None:
    options = {"iv": bytes.fromhex(IV), "padding": False}
    secret, text, sealed = map(bytes.fromhex, (key, plain, wanted))
    assert call("aes_encrypt", text, secret, mode, options) == sealed
    assert call("aes_decrypt", sealed, secret, mode, options) == text


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000, 10_000_000])
def test_aes_and_openssl(call: Call, size: int) -> None:
    message = (bytes(range(256)) * (size // 256 + 1))[:size]
    sealed = call("aes_encrypt", message, bytes.fromhex(K256), "cbc", {"iv": bytes.fromhex(IV)})
    assert sealed == openssl("enc", "-aes-256-cbc", "-K", K256, "-iv", IV, data=message)
    assert call("aes_decrypt", sealed, bytes.fromhex(K256), "cbc", {"iv": bytes.fromhex(IV)}) == message


BAD = [
    (b"x" * 16, b"", "ecb", {}),
    (b"x" * 16, b"k" * 15, "ecb", {}),
    (b"x" * 16, b"k" * 33, "cbc", {"iv": b"i" * 16}),
    (b"x" * 16, b"k" * 16, "cbc", {}),
    (b"x" * 16, b"k" * 16, "cbc", {"iv": b"i" * 15}),
    (b"x" * 16, b"k" * 16, "cbc", {"iv": b""}),
    (b"x" * 15, b"k" * 16, "ecb", {"padding": False}),
]


@pytest.mark.parametrize(("message", "key", "mode", "options"), BAD)
def test_what_gives_none(call: Call, message: bytes, key: bytes, mode: str, options: dict[str, Any]) -> None:
    assert call("aes_encrypt", message, key, mode, options) is None
    assert call("aes_decrypt", message, key, mode, options) is None


@pytest.mark.parametrize(
    "plain", [b"x" * 15 + b"\x00", b"x" * 15 + b"\x11", b"x" * 14 + b"\x01\x02", b"\x10" * 15 + b"x"]
)
def test_wrong_padding(call: Call, plain: bytes) -> None:
    sealed = call("aes_encrypt", plain, b"k" * 16, "ecb", {"padding": False})
    assert call("aes_decrypt", sealed, b"k" * 16, "ecb") is None
    assert call("aes_decrypt", b"", b"k" * 16, "ecb") is None
    assert call("aes_decrypt", sealed[:-1], b"k" * 16, "ecb") is None


@pytest.mark.parametrize("mode", ["", "gcm", "CBC", "\xff"])
def test_modes_that_there_are_not(call: Call, mode: str) -> None:
    for name in ("aes_encrypt", "aes_decrypt"):
        with pytest.raises(ScriptError, match=rf"{name}\(\): parameter 3 \(mode\): wanted cbc or ecb"):
            call(name, b"", b"k" * 16, mode)
