"""RSA, EC and Ed25519 keys and signatures: RFC 8032's vectors, and openssl both ways. Bad keys give none."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.dsa import generate_private_key as generate_dsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)
from pki import accepts, ec_key, ed25519_key, key_der, key_pem, openssl, rsa_key

from hsl.errors import ScriptError
from hsl.library.pem import pem
from hsl.values import Resource

Call = Callable[..., Any]

MESSAGE = b"Hello\x00\xff\n"
TRADITIONAL = PrivateFormat.TraditionalOpenSSL
NAMES = {"rsa_privatekey": "RSAPrivateKey", "ec_privatekey": "ECPrivateKey", "ed25519_privatekey": "ED25519PrivateKey"}


def public(key: Any, encoding: Encoding, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    return bytes(key.public_key().public_bytes(encoding, form))


def saved(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# ------------------------------------------------------------ reading

GOOD = [
    ("rsa_privatekey", lambda: key_pem(rsa_key())),
    ("rsa_privatekey", lambda: key_pem(rsa_key(), TRADITIONAL)),
    ("rsa_privatekey", lambda: key_der(rsa_key())),
    ("rsa_privatekey", lambda: key_der(rsa_key(), TRADITIONAL)),
    ("rsa_privatekey", lambda: key_pem(rsa_key(1024))),
    ("rsa_privatekey", lambda: b"some text\n" + key_pem(rsa_key()).replace(b"\n", b"\r\n") + b"more"),
    ("ec_privatekey", lambda: key_pem(ec_key())),
    ("ec_privatekey", lambda: key_pem(ec_key(), TRADITIONAL)),
    ("ec_privatekey", lambda: openssl("ecparam", "-name", "secp384r1", "-genkey")),  # EC PARAMETERS stand before it
    ("ed25519_privatekey", lambda: key_pem(ed25519_key())),
    ("ed25519_privatekey", lambda: openssl("genpkey", "-algorithm", "ed25519")),
]


@pytest.mark.parametrize(("name", "text"), GOOD)
def test_private_keys(call: Call, name: str, text: Callable[[], bytes]) -> None:
    key = call(name, text())
    assert isinstance(key, Resource)
    assert key.kind == NAMES[name]
    for other in NAMES:
        assert call(f"is_{other}", key) is (other == name)
        if other != name:
            assert call(other, text()) is None


def encrypted() -> bytes:
    return rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def encrypted_of_old() -> bytes:
    return openssl("rsa", "-traditional", "-aes128", "-passout", "pass:secret", data=key_pem(rsa_key()))


def integer(number: int) -> bytes:
    """DER."""
    data = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + der_length(len(data)) + data


def der_length(size: int) -> bytes:
    if size < 128:
        return bytes([size])
    data = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(data)]) + data


def rsa_of(*numbers: int) -> bytes:
    """An RSAPrivateKey in DER of any numbers."""
    content = integer(0) + b"".join(map(integer, numbers))
    return b"\x30" + der_length(len(content)) + content


def huge(bits: int) -> bytes:
    prime = (1 << bits // 2) - 1
    return rsa_of(prime * prime, 65537, prime - 2, prime, prime, 3, 3, 1)


BAD: list[bytes | Callable[[], bytes]] = [
    b"",
    b"\x00",
    b"\xff" * 100,
    b"no key",
    b"-----BEGIN PRIVATE KEY-----",
    b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
    b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    b"-----BEGIN PRIVATE KEY-----\n%%%%\n-----END PRIVATE KEY-----\n",
    b"-----BEGIN PRIVATE KEY-----\n" * 100_000,
    b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    b"\x30" * 10_000_000,
    b"x" * 10_000_000,
    lambda: key_pem(rsa_key())[:-40],
    lambda: key_der(rsa_key())[:-1],
    lambda: public(rsa_key(), Encoding.PEM),
    lambda: key_pem(generate_dsa(2048)),
    lambda: openssl("genpkey", "-algorithm", "x25519"),
    encrypted,
    encrypted_of_old,
    lambda: rsa_of(0, 0, 0, 0, 0, 0, 0, 0),
    lambda: rsa_of(*[1] * 8),
    lambda: huge(512),
    lambda: huge(8200),
    lambda: huge(100_000),
    lambda: pem("RSA PRIVATE KEY", huge(100_000)),
    lambda: pem("RSA PRIVATE KEY", huge(10_000_000)),
]


@pytest.mark.parametrize("text", BAD)
def test_bad_private_keys(call: Call, text: bytes | Callable[[], bytes]) -> None:
    data = text() if callable(text) else text
    for name in NAMES:
        assert call(name, data) is None
    assert call("rsa_sign", MESSAGE, data) is None
    assert call("ed25519_sign", MESSAGE, data) is None


@pytest.mark.parametrize("value", [None, 0, True, "text", [], Resource("X509Resource")])
def test_what_is_no_key_resource(call: Call, value: Any) -> None:
    for name in NAMES:
        assert call(f"is_{name}", value) is False


def test_broken_numbers_make_no_signature(call: Call) -> None:
    numbers = rsa_key().private_numbers()
    prime, other = numbers.p, numbers.q
    modulus = prime * other
    parts = [modulus, 65537, numbers.d, prime, other, numbers.dmp1, numbers.dmq1, numbers.iqmp]
    assert call("rsa_sign", MESSAGE, rsa_of(*parts)) is not None
    for place in range(len(parts)):
        for number in (0, 1, 2, parts[place] + 2, parts[place] ^ (1 << 40)):
            made = call("rsa_sign", MESSAGE, rsa_of(*parts[:place], number, *parts[place + 1 :]))
            spki = public(rsa_key(), Encoding.DER)
            assert made is None or call("rsa_verify", MESSAGE, made, spki) is True or place < 2


# ------------------------------------------------------------ RSA


@pytest.mark.parametrize("hash", ["md5", "sha1", "sha256", "sha512"])
def test_rsa_and_openssl(call: Call, tmp_path: Path, hash: str) -> None:
    private = saved(tmp_path, "key", key_pem(rsa_key()))
    key = saved(tmp_path, "public", public(rsa_key(), Encoding.PEM))
    signature = call("rsa_sign", MESSAGE, key_pem(rsa_key()), {"hash": hash, "pem": True})
    file = saved(tmp_path, "signature", signature)
    assert accepts("dgst", f"-{hash}", "-verify", key, "-signature", file, data=MESSAGE)
    theirs = openssl("dgst", f"-{hash}", "-sign", private, data=MESSAGE)
    assert theirs == signature
    assert call("rsa_verify", MESSAGE, theirs, key.read_bytes(), {"hash": hash, "pem": True}) is True
    assert call("rsa_verify", MESSAGE + b"x", theirs, key.read_bytes(), {"hash": hash, "pem": True}) is False


PRIVATE_FORMS = [
    (lambda: key_der(rsa_key(), TRADITIONAL), {}),
    (lambda: key_der(rsa_key(), TRADITIONAL), {"format": "RSAPrivateKey", "pem": False, "id": False}),
    (lambda: key_der(rsa_key()), {"format": "PrivateKeyInfo"}),
    (lambda: key_pem(rsa_key()), {"format": "PrivateKeyInfo", "pem": True}),
    (lambda: key_pem(rsa_key(), TRADITIONAL), {"pem": True}),
    (lambda: key_pem(rsa_key()), {}),
    (lambda: key_pem(rsa_key()), {"id": True}),
]


@pytest.mark.parametrize(("text", "options"), PRIVATE_FORMS)
def test_forms_of_a_private_key(call: Call, text: Callable[[], bytes], options: dict[str, Any]) -> None:
    signature = call("rsa_sign", MESSAGE, text(), options)
    assert call("rsa_sign", MESSAGE, call("rsa_privatekey", text()), options) == signature
    assert call("rsa_verify", MESSAGE, signature, public(rsa_key(), Encoding.PEM)) is True


PUBLIC_FORMS = [
    (Encoding.DER, PublicFormat.PKCS1, {}),
    (Encoding.DER, PublicFormat.PKCS1, {"format": "RSAPublicKey"}),
    (Encoding.DER, PublicFormat.SubjectPublicKeyInfo, {"format": "SubjectPublicKeyInfo"}),
    (Encoding.PEM, PublicFormat.PKCS1, {"pem": True}),
    (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo, {"pem": True}),
]


@pytest.mark.parametrize(("encoding", "form", "options"), PUBLIC_FORMS)
def test_forms_of_a_public_key(call: Call, encoding: Encoding, form: PublicFormat, options: dict[str, Any]) -> None:
    signature = call("rsa_sign", MESSAGE, key_der(rsa_key()))
    assert call("rsa_verify", MESSAGE, signature, public(rsa_key(), encoding, form), options) is True
    assert call("rsa_verify", MESSAGE, signature[:-1] + b"\x00", public(rsa_key(), encoding, form), options) is False


@pytest.mark.parametrize("signature", [b"", b"\x00", b"\xff" * 256, b"\x00" * 256, b"x" * 10_000_000])
def test_signatures_that_are_none(call: Call, signature: bytes) -> None:
    assert call("rsa_verify", MESSAGE, signature, public(rsa_key(), Encoding.DER)) is False
    assert call("ed25519_verify", MESSAGE, signature, public(ed25519_key(), Encoding.DER)) is False


def test_a_signature_by_another_key(call: Call) -> None:
    signature = call("rsa_sign", MESSAGE, key_der(rsa_key(2048, 1)))
    assert call("rsa_verify", MESSAGE, signature, public(rsa_key(), Encoding.DER)) is False


def rsa_public(bits: int, exponent: int = 65537) -> bytes:
    return RSAPublicNumbers(exponent, (1 << bits) - 1).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)


BAD_PUBLIC: list[bytes | Callable[[], bytes]] = [
    b"",
    b"\x30\x00",
    b"no key",
    b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    b"\x30\x82" * 5_000_000,
    lambda: public(ec_key(), Encoding.DER),
    lambda: key_pem(rsa_key()),
    lambda: rsa_public(8193),
    lambda: b"\x30" + der_length(12_510) + (integer(1 << 100_000) + integer(3))[:12_510],
]


@pytest.mark.parametrize("key", BAD_PUBLIC)
def test_bad_public_keys(call: Call, key: bytes | Callable[[], bytes]) -> None:
    data = key() if callable(key) else key
    assert call("rsa_verify", MESSAGE, b"x" * 256, data) is None
    assert call("ed25519_verify", MESSAGE, b"x" * 64, data) is None


def test_the_largest_and_smallest_key(call: Call) -> None:
    assert call("rsa_verify", MESSAGE, b"x", rsa_public(8192)) is False
    assert call("rsa_verify", MESSAGE, b"x", rsa_public(1024)) is False
    assert call("rsa_verify", MESSAGE, b"x", rsa_public(1025, 1023)) is False


WRONG = [
    ("rsa_sign", [b"", b"", {"hash": "sha255"}], "option hash: wanted md5, sha1, sha256, sha512, got 'sha255'"),
    ("rsa_verify", [b"", b"", b"", {"hash": ""}], "option hash: wanted md5, sha1, sha256, sha512, got ''"),
    ("rsa_sign", [b"", b"", {"format": "RSAPublicKey"}], "option format: wanted RSAPrivateKey or PrivateKeyInfo"),
    ("rsa_verify", [b"", b"", b"", {"format": "x"}], "option format: wanted RSAPublicKey or SubjectPublicKeyInfo"),
    ("rsa_sign", [b"", b"pki:1"], r"parameter 2 \(privatekey\): keys of the product's configuration"),
    ("rsa_sign", [b"", b"1", {"id": True}], r"parameter 2 \(privatekey\): keys of the product's configuration"),
    ("rsa_verify", [b"", b"", b"pki:1"], r"pass the PEM text, of a file \(File::read\) or of the environment"),
    ("ed25519_sign", [b"", b"pki:1"], r"parameter 2 \(privatekey\): keys of the product's configuration"),
    ("rsa_sign", [b"", Resource("X509Resource")], "wanted RSAPrivateKey or string, got X509Resource"),
    ("ed25519_sign", [b"", Resource("RSAPrivateKey")], "wanted ED25519PrivateKey or string, got RSAPrivateKey"),
    ("rsa_sign", [b"", None], "wanted resource or string, got none"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), WRONG)
def test_wrong_arguments(call: Call, name: str, arguments: list[Any], message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        call(name, *arguments)


def test_a_key_of_another_kind(call: Call) -> None:
    with pytest.raises(ScriptError, match="wanted RSAPrivateKey or string, got ED25519PrivateKey"):
        call("rsa_sign", b"", call("ed25519_privatekey", key_pem(ed25519_key())))


# ------------------------------------------------------------ Ed25519

RFC8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]


@pytest.mark.parametrize(("secret", "key", "message", "wanted"), RFC8032)
def test_ed25519(call: Call, secret: str, key: str, message: str, wanted: str) -> None:
    raw, known, text, signature = map(bytes.fromhex, (secret, key, message, wanted))
    assert call("ed25519_sign", text, raw) == signature
    assert call("ed25519_sign", text, raw + known) == signature
    assert call("ed25519_verify", text, signature, known) is True
    assert call("ed25519_verify", text + b"x", signature, known) is False
    assert call("ed25519_sign", text, raw + raw) is None


def test_ed25519_and_openssl(call: Call, tmp_path: Path) -> None:
    private = saved(tmp_path, "key", openssl("genpkey", "-algorithm", "ed25519"))
    key = saved(tmp_path, "public", openssl("pkey", "-in", private, "-pubout"))
    message = saved(tmp_path, "message", MESSAGE)
    signature = call("ed25519_sign", MESSAGE, call("ed25519_privatekey", private.read_bytes()))
    assert signature == call("ed25519_sign", MESSAGE, private.read_bytes())
    assert signature == openssl("pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", message)
    for form in (key.read_bytes(), openssl("pkey", "-in", private, "-pubout", "-outform", "DER")):
        assert call("ed25519_verify", MESSAGE, signature, form) is True


@pytest.mark.parametrize("secret", [b"x" * 31, b"x" * 33, b"x" * 64, b64encode(b"x" * 32)])
def test_ed25519_keys_that_are_none(call: Call, secret: bytes) -> None:
    assert call("ed25519_sign", b"", secret) is None
    assert call("ed25519_verify", b"", b"x" * 64, secret) is None


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32, b"\x01" + bytes(31)])
def test_ed25519_points_that_are_weak_or_none(call: Call, key: bytes) -> None:
    assert call("ed25519_verify", MESSAGE, b"\x02" * 64, key) is False
