"""Chapter "Cryptographic": password hashes, by the system's libcrypt. Salts may be hostile: no long work is done."""

from __future__ import annotations

import re
from typing import Any, Final

from hsl.builtins import Chapter
from hsl.errors import ScriptError

chapter = Chapter("Cryptographic")

LIBRARIES: Final = ("libcrypt.so.1", "libcrypt.so.2", None)  # None: where it is part of the C library
STATE: Final = 256 * 1024  # bytes for crypt_data: more than any library wants
MAX_PASSWORD: Final = 511  # bytes (crypt(5))
MAX_SALT: Final = 384  # bytes (crypt(5))
MAX_ROUNDS: Final = 1_000_000  # of SHA-crypt: 0.4 seconds
MAX_COST: Final = 13  # of bcrypt: 0.8 seconds
SCHEMES: Final = "DES, $1$ (MD5), $5$ (SHA-256), $6$ (SHA-512), $2a$, $2b$, $2y$ (bcrypt) and $y$ (yescrypt)"
PLAIN: Final = re.compile(rb"[./0-9A-Za-z]{2}|\$1\$")
KNOWN: Final = (b"$1$", b"$5$", b"$6$", b"$2a$", b"$2b$", b"$2y$", b"$y$")
ROUNDS: Final = re.compile(rb"\$[56]\$(?:rounds=(\d{1,10})\$|(?!rounds=))")
COST: Final = re.compile(rb"\$2[aby]\$(\d\d)\$")
YESCRYPT: Final = re.compile(rb"\$y\$j[./0-9A-Za-z]{1,6}\$")
YESCRYPT_COST: Final = re.compile(rb"\$y\$j[7-9A-D][5T]\$")  # crypt_gensalt(3)'s costs 1 to 9: 0.8 seconds


@chapter.function("crypt")
def crypt(key: bytes, salt: bytes) -> bytes:
    """Return the hash of a password, as crypt(3) of this system's libcrypt makes it.

    `key` is the password in bytes. `salt` is a scheme with its salt, or a whole hash: the result for the right password
    is the hash itself. These schemes work: DES, `$1$` (MD5), `$5$` (SHA-256), `$6$` (SHA-512), `$2a$`, `$2b$`, `$2y$`
    (bcrypt) and `$y$` (yescrypt); others are an error. DES and MD5 are broken: only check old hashes with them.

    What is no salt, a password with a NUL or of over 511 bytes gives `*0` (`*1` where the salt is `*0`), which no
    password has as its hash. A salt that asks for more than a second of work is an error: over 1,000,000 rounds of
    SHA, a cost over 13 of bcrypt or over 9 of yescrypt.

    Example:
        $hash = ''$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5'';
        echo crypt("Hello world!", $hash) === $hash;  // expect: true
        echo crypt("hello world!", $hash) === $hash;  // expect: false
    """
    failed = b"*1" if salt.startswith(b"*0") else b"*0"
    if b"\0" in key or b"\0" in salt or len(key) > MAX_PASSWORD or len(salt) > MAX_SALT or not allowed(salt):
        return failed
    return call_crypt(key, salt) or failed


def allowed(salt: bytes) -> bool:
    """Whether a salt is one of a scheme that works here. Raises ScriptError for other schemes and for too much work."""
    if found := ROUNDS.match(salt):
        check_cost(int(found[1] or 0), MAX_ROUNDS, "rounds")
        return True
    if found := COST.match(salt):
        check_cost(int(found[1]), MAX_COST, "as its cost")
        return True
    if YESCRYPT.match(salt):
        if not YESCRYPT_COST.match(salt):
            raise ScriptError("crypt(): parameter 2 (salt): wanted the costs 1 to 9 of yescrypt")
        return True
    if salt.startswith((b"$", b"_")) and not salt.startswith(KNOWN):
        raise ScriptError(f"crypt(): parameter 2 (salt): there are the schemes {SCHEMES}")
    return PLAIN.match(salt) is not None


def check_cost(cost: int, limit: int, what: str) -> None:
    if cost > limit:
        raise ScriptError(f"crypt(): parameter 2 (salt): wanted at most {limit} {what}, got {cost}")


def call_crypt(key: bytes, salt: bytes) -> bytes | None:
    """crypt(3)'s answer; none where it fails."""
    import ctypes

    state = ctypes.create_string_buffer(STATE)
    found: bytes | None = library_function()(key, salt, state)
    return None if found is None or found.startswith(b"*") else found


def library_function() -> Any:
    """crypt_r(3)."""
    import ctypes

    for name in LIBRARIES:
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        return function
    raise ScriptError("crypt(): this system has no libcrypt")
