"""Chapter "Cryptographic": digests and random numbers. Digests are hex encoded, as the reference has them.

hashlib brings OpenSSL along: it is imported by the functions that use it, and every script starts sooner.
"""

from __future__ import annotations

import os
from random import SystemRandom

from hsl.builtins import Chapter
from hsl.errors import ScriptError

chapter = Chapter("Cryptographic")

MAX_RANDOM = 1024 * 1024  # bytes of one random_bytes() call (reference)
SHA2 = {256: "sha256", 512: "sha512"}


def sha2_name(function: str, parameter: int, hashsize: int) -> str:
    name = SHA2.get(hashsize)
    if name is None:
        raise ScriptError(f"{function}(): parameter {parameter} (hashsize): wanted 256 or 512, got {hashsize}")
    return name


def hmac_hex(key: bytes, message: bytes, name: str) -> bytes:
    from hmac import digest

    return digest(key, message, name).hex().encode()


def digest_hex(name: str, message: bytes) -> bytes:
    from hashlib import new

    return new(name, message, usedforsecurity=False).hexdigest().encode()


@chapter.function("hmac_md5", constant=True)
def hmac_md5(key: bytes, message: bytes) -> bytes:
    """Return the HMAC-MD5 (RFC 2104) of a message, hex encoded."""
    return hmac_hex(key, message, "md5")


@chapter.function("hmac_sha1", constant=True)
def hmac_sha1(key: bytes, message: bytes) -> bytes:
    """Return the HMAC-SHA1 (RFC 2104) of a message, hex encoded."""
    return hmac_hex(key, message, "sha1")


@chapter.function("hmac_sha2", constant=True)
def hmac_sha2(key: bytes, message: bytes, hashsize: int) -> bytes:
    """Return the HMAC-SHA-256 or -512 of a message, hex encoded."""
    return hmac_hex(key, message, sha2_name("hmac_sha2", 3, hashsize))


@chapter.function("md5", constant=True)
def md5(message: bytes) -> bytes:
    """Return the MD5 digest of a message, hex encoded."""
    return digest_hex("md5", message)


@chapter.function("sha1", constant=True)
def sha1(message: bytes) -> bytes:
    """Return the SHA-1 digest of a message, hex encoded."""
    return digest_hex("sha1", message)


@chapter.function("sha2", constant=True)
def sha2(message: bytes, hashsize: int) -> bytes:
    """Return the SHA-256 or SHA-512 digest of a message, hex encoded."""
    return digest_hex(sha2_name("sha2", 2, hashsize), message)


@chapter.function("hash", constant=True)
def numeric_hash(message: bytes) -> float:
    """Return a number from 0 to 2^48 - 1 that is the same for equal messages, on every machine."""
    from hashlib import blake2b

    return float(int.from_bytes(blake2b(message, digest_size=6).digest(), "big"))


@chapter.function("random_bytes")
def random_bytes(bytes: int) -> bytes:
    """Return a string of random bytes, at most 1 MiB."""
    if not 0 <= bytes <= MAX_RANDOM:
        raise ScriptError(f"random_bytes(): parameter 1 (bytes): wanted 0 to {MAX_RANDOM}, got {bytes}")
    return os.urandom(bytes)


@chapter.function("random_number", aliases=("rand",))
def random_number(first: int | None = None, last: int | None = None) -> float:
    """Return a random integer from first to last, both included; without arguments a fraction from 0 to 1."""
    if first is None and last is None:
        return SystemRandom().getrandbits(53) / (2**53 - 1)
    if first is None or last is None:
        raise ScriptError("random_number(): wanted both first and last, or neither")
    if first > last:
        raise ScriptError(f"random_number(): first ({first}) is greater than last ({last})")
    return float(SystemRandom().randint(first, last))
