"""Chapter "Encodings and JSON", the class Iconv: text of one character set comes in, of another one goes out.

Python's codecs do the work: what they know is the same on every machine, and mail from strangers reaches no C library.
"""

from __future__ import annotations

import errno
import unicodedata
from typing import Final

from hsl.arithmetic import check_string
from hsl.builtins import Chapter, NativeObject, method
from hsl.errors import ScriptError
from hsl.mime.words import find_charset

chapter = Chapter("Encodings and JSON")

MAX_TEXT: Final = 16 * 1024 * 1024  # bytes of one conversion
INCOMPLETE: Final = ("unexpected end of data", "incomplete multibyte sequence", "truncated data", "illegal UTF-16")
LETTERS: Final = {  # what has no decomposition in Unicode
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D",
    "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH", "ł": "l", "Ł": "L", "ı": "i", "ħ": "h", "Ħ": "H",
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"', "‹": "<", "›": ">",
    "«": "<<", "»": ">>", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-", "•": "o", "€": "EUR",
    "©": "(C)", "®": "(R)", "×": "x", "÷": ":",
}  # fmt: skip


class Unconverted(Exception):
    """A text that cannot be converted; `number` says why."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.number = number


@chapter.object("Iconv")
class Iconv(NativeObject):
    """Converts text from one character set to another.

    Behind the second name may stand `//TRANSLIT`: characters that the target does not have are written as similar
    ones, or as `?`; and `//IGNORE`: such characters, and bytes that are no text in the first character set, are left
    out. With both, what has nothing similar is left out. A character set that does not exist is no error here: every
    conversion is none, with the errno 22.

    Example:
        $iconv = Iconv("UTF-8", "ASCII//TRANSLIT//IGNORE");
        echo $iconv->convert("Hello☃ wörld");  // expect: Hello world
        echo Iconv("ISO-8859-1", "UTF-8")->convert(chr(0xe9));  // expect: é
    """

    def __init__(self, fromcharset: bytes, tocharset: bytes) -> None:
        super().__init__()
        source, source_flags = read_charset(fromcharset)
        target, flags = read_charset(tocharset)
        self.source = source
        self.target = target
        self.ignore = b"IGNORE" in flags or b"IGNORE" in source_flags
        self.translit = b"TRANSLIT" in flags
        self.number = 0
        self.closed = False

    @method("convert")
    def convert(self, text: bytes) -> bytes | None:
        """Return the text in the target's character set, or none if it cannot be converted: errno() says why.

        Each call converts a whole text, of at most 16 MiB; after close() it is an error.

        Example:
            $iconv = Iconv("UTF-8", "ISO-8859-1");
            echo length($iconv->convert("é"));  // expect: 1
            echo $iconv->convert("☃");  // expect: none
        """
        if self.closed:
            raise ScriptError("Iconv->convert(): it is closed")
        if len(text) > MAX_TEXT:
            raise ScriptError(f"Iconv->convert(): parameter 1 (text): longer than {MAX_TEXT} bytes")
        try:
            result = self.encode(self.decode(text))
        except Unconverted as reason:
            self.number = reason.number
            return None
        check_string(len(result))
        return result

    def decode(self, text: bytes) -> str:
        if self.source is None or self.target is None:
            raise Unconverted(errno.EINVAL)
        try:
            return text.decode(self.source, "ignore" if self.ignore else "strict")
        except UnicodeDecodeError as error:
            raise Unconverted(errno.EINVAL if error.reason.startswith(INCOMPLETE) else errno.EILSEQ) from None
        except (UnicodeError, LookupError):
            raise Unconverted(errno.EILSEQ) from None

    def encode(self, text: str) -> bytes:
        assert self.target is not None
        try:
            return text.encode(self.target)
        except UnicodeError:
            if not (self.ignore or self.translit):
                raise Unconverted(errno.EILSEQ) from None
        table = {ord(character): self.similar(character, self.target) for character in missing(text, self.target)}
        return text.translate(table).encode(self.target, "ignore")

    def similar(self, character: str, target: str) -> str:
        """What stands for a character that the target does not have."""
        if self.translit:
            simple = LETTERS.get(character) or unicodedata.normalize("NFKD", character)
            kept = "".join(part for part in simple if not unicodedata.combining(part))
            if kept and not missing(kept, target):
                return kept
        return "" if self.ignore else "?"

    @method("errno")
    def errno(self) -> float:
        """Return why a conversion failed last, 0 before one did.

        It is 84 (EILSEQ) for bytes that are no text and for a character that the target does not have, 22 (EINVAL) for
        a text that ends inside a character and for unknown names.

        Example:
            $iconv = Iconv("UTF-8", "ASCII");
            $iconv->convert("é");
            echo $iconv->errno();  // expect: 84
        """
        return float(self.number)

    @method("close")
    def close(self) -> None:
        """Close the converter; convert() is an error from then on. Closing it twice does nothing.

        Example:
            $iconv = Iconv("UTF-8", "ASCII");
            $iconv->close();
        """
        self.closed = True


def read_charset(name: bytes) -> tuple[str | None, set[bytes]]:
    """A character set's codec (None if there is none) and what stands behind the slashes, in upper case."""
    charset, *flags = name.upper().split(b"//")
    return find_charset(charset), set(flags)


def missing(text: str, target: str) -> list[str]:
    """The characters of a text that a character set does not have, each once."""
    found = []
    for character in set(text):
        try:
            character.encode(target)
        except UnicodeError:
            found.append(character)
    return found
