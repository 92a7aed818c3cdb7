"""Chapter "Encodings and JSON", compression: zlib (RFC 1950), raw deflate (RFC 1951) and gzip (RFC 1952).

What comes out is limited before it is there: a bomb costs no more memory than the longest string.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from hsl.arithmetic import check_string
from hsl.builtins import Chapter
from hsl.errors import ScriptError
from hsl.values import MAX_STRING

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("Encodings and JSON")

PIECE: Final = 64 * 1024  # bytes between two turns of others: level 9 needs up to 3 s for a megabyte
COMPRESSES: Final = frozenset({*range(-15, -8), *range(9, 16), *range(25, 32)})
UNCOMPRESSES: Final = frozenset({*range(-15, -7), 0, *range(8, 16), *range(24, 32), *range(40, 48)})


def check_windowbits(function: str, place: int, windowbits: int, allowed: frozenset[int], wanted: str) -> None:
    if windowbits not in allowed:
        raise ScriptError(f"{function}(): parameter {place} (windowbits): wanted {wanted}, got {windowbits}")


@chapter.function("zlib_compress", constant=True)
def zlib_compress(run: Run, string: bytes, compression: int = -1, windowbits: int = 15) -> bytes:
    """Return a string compressed, from level 0 (stored) and 1 (fast) to 9 (small); -1 is level 6.

    The window of 2^9 to 2^15 bytes also says which form it is: 9 to 15 zlib, 25 to 31 (16 more) gzip, -9 to -15
    deflate without header and checksum.

    Example:
        echo length(zlib_compress("a" * 1000)) < 30;  // expect: true
        echo zlib_uncompress(zlib_compress("Hello", 9, 31), 31);  // expect: Hello
    """
    if not -1 <= compression <= 9:
        raise ScriptError(f"zlib_compress(): parameter 2 (compression): wanted -1 to 9, got {compression}")
    wanted = "9 to 15, 25 to 31 or -15 to -9"
    check_windowbits("zlib_compress", 3, windowbits, COMPRESSES, wanted)
    check_string(len(string) * 1.002)  # what cannot be compressed grows by less
    packer = zlib.compressobj(compression, wbits=windowbits)
    parts = []
    for start in range(0, len(string), PIECE):
        parts.append(packer.compress(string[start : start + PIECE]))
        run.give_turn()
    result = b"".join([*parts, packer.flush()])
    check_string(len(result))
    return result


@chapter.function("zlib_uncompress", constant=True)
def zlib_uncompress(string: bytes, windowbits: int = 15) -> bytes | None:
    """Return the string of its compressed form, or none if it is damaged, cut off or of another form.

    The window is at least the one that it was compressed with: 8 to 15 zlib, 24 to 31 gzip, -8 to -15 deflate; with 40
    to 47 it may be zlib or gzip, with 0 the header of zlib says it. What follows the compressed data is passed over.
    A result over 64 MiB is an error; not more than that is ever made of it.

    Example:
        echo zlib_uncompress(base64_decode("eJzzSM3JyQcABYwB9Q=="));  // expect: Hello
        echo zlib_uncompress("Hello");  // expect: none
    """
    wanted = "8 to 15, 24 to 31, -15 to -8, 40 to 47 or 0"
    check_windowbits("zlib_uncompress", 2, windowbits, UNCOMPRESSES, wanted)
    unpacker = zlib.decompressobj(windowbits)
    try:
        result = unpacker.decompress(string, MAX_STRING + 1)
    except zlib.error:
        return None
    check_string(len(result))
    return result if unpacker.eof else None
