"""Chapter "Cryptographic": digests, random numbers, AES. Strings are bytes; digests are hex encoded by default.

hashlib brings OpenSSL along: it is imported by the functions that use it, and every script starts sooner. The chapter's
other files are keys.py, passwords.py and cms.py.
"""

from __future__ import annotations

import os
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from hsl.arithmetic import check_string
from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError, near

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

chapter = Chapter("Cryptographic")

MAX_RANDOM: Final = 1024 * 1024  # bytes of one random_bytes() call (reference)
SHA2: Final = {256: "sha256", 512: "sha512"}
AES_KEYS: Final = (16, 24, 32)  # bytes
BLOCK: Final = 16  # bytes of AES


class DigestOptions(Options):
    binary: bool = option(False, "Return the digest's bytes, not hex encoded.")


def sha2_name(function: str, parameter: int, hashsize: int) -> str:
    name = SHA2.get(hashsize)
    if name is None:
        raise ScriptError(f"{function}(): parameter {parameter} (hashsize): wanted 256 or 512, got {hashsize}")
    return name


def written(digest: bytes, options: DigestOptions) -> bytes:
    return digest if options.binary else digest.hex().encode()


def hmac_digest(key: bytes, message: bytes, name: str, options: DigestOptions) -> bytes:
    from hmac import digest

    return written(digest(key, message, name), options)


def message_digest(name: str, message: bytes, options: DigestOptions) -> bytes:
    from hashlib import new

    return written(new(name, message, usedforsecurity=False).digest(), options)


# ------------------------------------------------------------ digests


@chapter.function("hmac_md5", constant=True)
def hmac_md5(key: bytes, message: bytes, options: DigestOptions) -> bytes:
    """Return the HMAC-MD5 (RFC 2104) of a message, hex encoded.

    Key and message are bytes.

    Example:
        echo hmac_md5("Jefe", "what do ya want for nothing?");  // expect: 750c783e6ab0b503eaa86e310a5db738
    """
    return hmac_digest(key, message, "md5", options)


@chapter.function("hmac_sha1", constant=True)
def hmac_sha1(key: bytes, message: bytes, options: DigestOptions) -> bytes:
    """Return the HMAC-SHA1 (RFC 2104) of a message, hex encoded.

    Key and message are bytes.

    Example:
        $key = "Jefe";
        echo hmac_sha1($key, "what do ya want for nothing?");  // expect: effcdf6ae5eb2fa2d27416d5f184df9c259a7c79
        echo base64_encode(hmac_sha1($key, "", ["binary" => true]));  // expect: CdnlnXIjnmKoFVxYPVJ0Pem3Ixo=
    """
    return hmac_digest(key, message, "sha1", options)


@chapter.function("hmac_sha2", constant=True)
def hmac_sha2(key: bytes, message: bytes, hashsize: int, options: DigestOptions) -> bytes:
    """Return the HMAC-SHA-256 or HMAC-SHA-512 (RFC 4231) of a message, hex encoded.

    Key and message are bytes; `hashsize` is in bits, 256 or 512.

    Example:
        echo hmac_sha2("Jefe", "what do ya want for nothing?", 256);
        // expect: 5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843
    """
    return hmac_digest(key, message, sha2_name("hmac_sha2", 3, hashsize), options)


@chapter.function("md5", constant=True)
def md5(message: bytes, options: DigestOptions) -> bytes:
    """Return the MD5 digest (RFC 1321) of a message's bytes, hex encoded.

    MD5 tells files apart; it does not withstand an attacker.

    Example:
        echo md5("abc");  // expect: 900150983cd24fb0d6963f7d28e17f72
    """
    return message_digest("md5", message, options)


@chapter.function("sha1", constant=True)
def sha1(message: bytes, options: DigestOptions) -> bytes:
    """Return the SHA-1 digest (RFC 3174) of a message's bytes, hex encoded.

    SHA-1 tells files apart; it does not withstand an attacker.

    Example:
        echo sha1("abc");  // expect: a9993e364706816aba3e25717850c26c9cd0d89d
    """
    return message_digest("sha1", message, options)


@chapter.function("sha2", constant=True)
def sha2(message: bytes, hashsize: int, options: DigestOptions) -> bytes:
    """Return the SHA-256 or SHA-512 digest (FIPS 180-4) of a message's bytes, hex encoded.

    `hashsize` is in bits, 256 or 512.

    Example:
        echo sha2("abc", 256);  // expect: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
        echo length(sha2("abc", 512, ["binary" => true]));  // expect: 64
    """
    return message_digest(sha2_name("sha2", 2, hashsize), message, options)


@chapter.function("hash", constant=True)
def numeric_hash(message: bytes) -> float:
    """Return a number from 0 to 2^48 - 1 that is the same for equal messages, on every machine.

    Example:
        echo hash("abc") == hash("abc");  // expect: true
        echo hash("abc") % 4 < 4;  // expect: true
    """
    from hashlib import blake2b

    return float(int.from_bytes(blake2b(message, digest_size=6).digest(), "big"))


# ------------------------------------------------------------ random numbers


@chapter.function("random_bytes")
def random_bytes(bytes: int) -> bytes:
    """Return a string of random bytes, at most 1 MiB, fit for keys.

    Example:
        echo length(random_bytes(16));  // expect: 16
    """
    if not 0 <= bytes <= MAX_RANDOM:
        raise ScriptError(f"random_bytes(): parameter 1 (bytes): wanted 0 to {MAX_RANDOM}, got {bytes}")
    return os.urandom(bytes)


@chapter.function("random_number", aliases=("rand",))
def random_number(first: int | None = None, last: int | None = None) -> float:
    """Return a random integer from first to last, both included; without arguments a fraction from 0 to 1.

    Example:
        $dice = random_number(1, 6);
        echo $dice >= 1 and $dice <= 6;  // expect: true
    """
    if first is None and last is None:
        return SystemRandom().getrandbits(53) / (2**53 - 1)
    if first is None or last is None:
        raise ScriptError("random_number(): wanted both first and last, or neither")
    if first > last:
        raise ScriptError(f"random_number(): first ({first}) is greater than last ({last})")
    return float(SystemRandom().randint(first, last))


# ------------------------------------------------------------ AES


class AESOptions(Options):
    iv: bytes | None = option(None, "The initialization vector of mode cbc, 16 bytes.")
    padding: bool = option(True, "PKCS#7 padding: added to what is encrypted, removed from what is decrypted.")


def aes_cipher(function: str, key: bytes, mode: bytes, options: AESOptions) -> Cipher[CBC | ECB] | None:
    """The cipher; none for a key or an initialization vector of a wrong length. Raises ScriptError for other modes."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

    name = mode.decode("utf-8", "replace")
    if name not in ("ecb", "cbc"):
        hint = near(name, ("ecb", "cbc"))
        raise ScriptError(f"{function}(): parameter 3 (mode): wanted cbc or ecb, got {name!r}", hint=hint)
    if len(key) not in AES_KEYS or (name == "cbc" and (options.iv is None or len(options.iv) != BLOCK)):
        return None
    return Cipher(AES(key), ECB() if options.iv is None or name == "ecb" else CBC(options.iv))


@chapter.function("aes_encrypt", constant=True)
def aes_encrypt(message: bytes, key: bytes, mode: bytes, options: AESOptions) -> bytes | None:
    """Return a message encrypted with AES (FIPS 197), or none on failure.

    All strings are bytes. The key has 16, 24 or 32 bytes (AES-128, -192, -256), mode is `cbc` or `ecb`. None is
    returned for keys and initialization vectors of another length and, without padding, for a message that is not whole
    blocks of 16 bytes. Neither mode notices changes: add an hmac_sha2() over what was encrypted.

    Example:
        $key = pack("H*", "000102030405060708090a0b0c0d0e0f");
        $block = pack("H*", "00112233445566778899aabbccddeeff");
        echo unpack("H*", aes_encrypt($block, $key, "ecb", ["padding" => false]))[0];
        // expect: 69c4e0d86a7b0430d8cdb78070b4c55a
    """
    cipher = aes_cipher("aes_encrypt", key, mode, options)
    if cipher is None:
        return None
    if options.padding:
        missing = BLOCK - len(message) % BLOCK
        check_string(len(message) + missing)
        message += bytes([missing]) * missing
    elif len(message) % BLOCK:
        return None
    encryptor = cipher.encryptor()
    return encryptor.update(message) + encryptor.finalize()


@chapter.function("aes_decrypt", constant=True)
def aes_decrypt(message: bytes, key: bytes, mode: bytes, options: AESOptions) -> bytes | None:
    """Return a message that was encrypted with AES (FIPS 197), or none on failure.

    All strings are bytes; key, mode and options as in aes_encrypt(). None is returned for keys and initialization
    vectors of another length, a message that is not whole blocks of 16 bytes, and wrong padding (a wrong key gives
    that, or rubbish).

    Example:
        $options = ["iv" => pack("x16")];
        $key = pack("a32", "a short key");
        echo aes_decrypt(aes_encrypt("Hello", $key, "cbc", $options), $key, "cbc", $options);  // expect: Hello
    """
    cipher = aes_cipher("aes_decrypt", key, mode, options)
    if cipher is None or len(message) % BLOCK:
        return None
    decryptor = cipher.decryptor()
    data = decryptor.update(message) + decryptor.finalize()
    return without_padding(data, BLOCK) if options.padding else data


def without_padding(data: bytes, block: int) -> bytes | None:
    """What stands before PKCS#7's padding (RFC 5652 section 6.3); none where the padding is wrong."""
    count = data[-1] if data else 0
    if not 1 <= count <= block or not data.endswith(bytes([count]) * count):
        return None
    return data[:-count]
