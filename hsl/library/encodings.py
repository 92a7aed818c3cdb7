"""Chapter "Encodings and JSON": base32 and base64 (RFC 4648), encoded words (RFC 2047), CSV (RFC 4180), JSON (RFC 8259)
and YAML."""

from __future__ import annotations

import base64
import json
import math
import re
import string
from typing import Any, NoReturn

from hsl.arithmetic import check_items, check_string
from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.library.csvtext import CsvOptions, NotCSV, read_csv, read_schema, want_delimiter, write_row
from hsl.library.yamltext import NotYAML, read_yaml
from hsl.mime import words
from hsl.values import Array, Resource, Value, number_text, to_string

chapter = Chapter("Encodings and JSON")

LETTERS = string.ascii_letters.encode() + string.digits.encode()
NOT_BASE64 = bytes(sorted(set(range(256)) - set(LETTERS + b"+/")))
NOT_BASE64URL = bytes(sorted(set(range(256)) - set(LETTERS + b"-_")))
NOT_BASE32 = bytes(sorted(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")))

MAX_JSON_DEPTH = 500  # arrays and objects within each other
MAX_JSON_ITEMS = 1_000_000  # values of one JSON text: it is read and written in one go, in about a second
JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
JSON_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*+"?)|//[^\n]*|/\*(?:.*?(\*/)|.*)', re.DOTALL)
JSON_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*+"|//[^\n]*|/\*.*?\*/|-?[0-9][0-9.eE+-]*|-?[A-Z][A-Za-z]*', re.DOTALL)
NOT_LINE_END = re.compile(r"[^\n]")


@chapter.function("base64_encode", constant=True)
def base64_encode(string: bytes) -> bytes:
    """Return a string in base64 (RFC 4648 4), on one line.

    Example:
        echo base64_encode("Hello");  // expect: SGVsbG8=
    """
    check_string(len(string) / 3 * 4)
    return base64.b64encode(string)


@chapter.function("base64_decode", constant=True)
def base64_decode(string: bytes) -> bytes:
    """Return the string of its base64 form; line breaks, padding and whatever is not base64 are passed over.

    Example:
        echo base64_decode("SGVs\\r\\nbG8=");  // expect: Hello
    """
    return decode_base64(string.translate(None, NOT_BASE64))


@chapter.function("base64url_encode", constant=True)
def base64url_encode(string: bytes) -> bytes:
    """Return a string in the base64 of URLs (RFC 4648 5: - and _), without padding.

    Example:
        echo base64url_encode(chr(0xfb) . "a");  // expect: -2E
    """
    check_string(len(string) / 3 * 4)
    return base64.urlsafe_b64encode(string).rstrip(b"=")


@chapter.function("base64url_decode", constant=True)
def base64url_decode(string: bytes) -> bytes:
    """Return the string of its base64url form; whatever is not base64url is passed over, padding too.

    Example:
        echo base64url_decode("SGVsbG8");  // expect: Hello
    """
    return decode_base64(string.translate(bytes.maketrans(b"-_", b"+/"), NOT_BASE64URL))


def decode_base64(digits: bytes) -> bytes:
    """Base64 digits without padding; a last digit that makes no byte is dropped."""
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return base64.b64decode(digits + b"=" * (-len(digits) % 4))


@chapter.function("base32_encode", constant=True)
def base32_encode(string: bytes) -> bytes:
    """Return a string in base32 (RFC 4648 6).

    Example:
        echo base32_encode("Hello");  // expect: JBSWY3DP
    """
    check_string(len(string) / 5 * 8)
    return base64.b32encode(string)


@chapter.function("base32_decode", constant=True)
def base32_decode(string: bytes) -> bytes:
    """Return the string of its base32 form, in either case; whatever is not base32 is passed over.

    Example:
        echo base32_decode("jbsw y3dp");  // expect: Hello
    """
    digits = string.upper().translate(None, NOT_BASE32)
    digits = digits[: len(digits) - {1: 1, 3: 1, 6: 1}.get(len(digits) % 8, 0)]
    return base64.b32decode(digits + b"=" * (-len(digits) % 8))


@chapter.function("mimeword_encode", constant=True)
def mimeword_encode(string: bytes) -> bytes:
    """Return a string fit for a header value, on one line: words with other than US-ASCII become encoded words.

    The words are RFC 2047's. The string is UTF-8; one that is not is taken as ISO-8859-1. Over 16 MiB are an error.

    Example:
        echo mimeword_encode("Grüße and more");  // expect: =?utf-8?B?R3LDvMOfZQ==?= and more
    """
    check_string(4 * len(string))
    check_items(string.count(b" "))
    result = words.encode(string)
    check_string(len(result))
    return result


@chapter.function("mimeword_decode", constant=True)
def mimeword_decode(string: bytes) -> bytes:
    """Return a header value with its encoded words (RFC 2047) decoded, as UTF-8.

    Blanks between two encoded words vanish. What cannot be decoded stays as it is; bytes that are wrong in a character
    set that is known become U+FFFD.

    Example:
        echo mimeword_decode("=?iso-8859-1?Q?Gr=FC=DFe?= and more");  // expect: Grüße and more
    """
    result = words.decode(string)
    check_string(len(result))
    return result


def check_json(items: int) -> None:
    if items > MAX_JSON_ITEMS:
        raise ScriptError(f"JSON exceeds {MAX_JSON_ITEMS} items")


class NotJSON(ValueError):
    """A value that has no JSON form, or a text that is not JSON: what is wrong, and after how many characters.

    Without an offset it is a number or a string: `wrong_scalar` finds it.
    """

    def __init__(self, message: str = "", offset: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class EncodeOptions(Options):
    ensure_ascii: bool = option(True, "Write characters outside US-ASCII as \\uXXXX.")
    pretty_print: bool = option(False, "One item a line, indented by four spaces.")


@chapter.function("json_encode", constant=True)
def json_encode(value: Value, options: EncodeOptions) -> bytes | None:
    """Return a value as JSON; arrays numbered from 0 become arrays, others objects with string keys.

    A resource, like a certificate in `$connection`, is null. None if there is no such form: inf and nan, functions,
    objects, strings that are not UTF-8, nesting over 500. Over 1,000,000 values and 64 MiB of text are errors.

    Example:
        echo json_encode(["a" => [1, none], "b" => "é"]);  // expect: {"a":[1,null],"b":"\\u00e9"}
        echo json_encode("é", ["ensure_ascii" => false]);  // expect: "é"
    """
    writer = Writer(options.ensure_ascii, options.pretty_print)
    try:
        writer.write(value, 0)
    except (NotJSON, UnicodeDecodeError):
        return None
    return b"".join(writer.parts)


class Writer:
    """Collects the text of a JSON value. Raises ScriptError as soon as a limit is passed: an array that holds another
    one many times is written out many times."""

    def __init__(self, ensure_ascii: bool, pretty: bool) -> None:
        self.ensure_ascii = ensure_ascii
        self.pretty = pretty
        self.parts: list[bytes] = []
        self.size = 0
        self.items = 0

    def put(self, text: bytes) -> None:
        self.size += len(text)
        check_string(self.size)
        self.parts.append(text)

    def write(self, value: Value, depth: int) -> None:
        self.items += 1
        check_json(self.items)
        if isinstance(value, Array):
            self.write_array(value, depth)
        elif isinstance(value, bytes):
            self.put_string(value)
        elif isinstance(value, bool):
            self.put(b"true" if value else b"false")
        elif value is None or isinstance(value, Resource):
            self.put(b"null")
        elif isinstance(value, float) and math.isfinite(value):
            self.put(number_text(value).encode())
        else:
            raise NotJSON

    def put_string(self, text: bytes) -> None:
        self.put(json.dumps(text.decode(), ensure_ascii=self.ensure_ascii).encode())

    def write_array(self, array: Array, depth: int) -> None:
        if depth >= MAX_JSON_DEPTH:
            raise NotJSON
        listed = is_list(array)
        self.put(b"[" if listed else b"{")
        for index, (key, value) in enumerate(array.pairs()):
            if index:
                self.put(b",")
            self.put_line(depth + 1)
            if not listed:
                self.put_string(to_string(key))
                self.put(b": " if self.pretty else b":")
            self.write(value, depth + 1)
        if len(array):
            self.put_line(depth)
        self.put(b"]" if listed else b"}")

    def put_line(self, depth: int) -> None:
        if self.pretty:
            self.put(b"\n" + b"    " * depth)


def is_list(array: Array) -> bool:
    """Whether the keys are 0, 1, 2 … in this order."""
    if array.items is not None:
        return True
    return all(isinstance(key, float) and key == index for index, key in enumerate(array.keys()))


@chapter.function("csv_decode", constant=True)
def csv_decode(string: bytes, options: CsvOptions) -> Array | None:
    """Return the rows of a CSV text, or none if it is not CSV or a field is not of its schema's type.

    With a header each row has the columns' names as keys, and all rows have as many fields as the header. Empty lines
    are passed over. The schema maps columns (without a header their numbers from 0) to options of their own.
    Over 1,000,000 fields are an error.

    Example:
        $schema = ["enabled" => ["type" => "boolean", "true" => ["yes"], "false" => ["no"]]];
        echo csv_decode("enabled\\nyes\\nno", ["schema" => $schema]);
        // expect: [0=>["enabled"=>true],1=>["enabled"=>false]]
        echo csv_decode("a;b", ["delimiter" => ";", "header" => false]);  // expect: [0=>[0=>"a",1=>"b"]]
    """
    schema = read_schema(options.schema, "csv_decode")
    try:
        return read_csv(string, options, schema, "csv_decode")
    except NotCSV:
        return None


class CsvEncodeOptions(Options):
    delimiter: bytes = option(b",", "The character between two fields.")


@chapter.function("csv_encode", constant=True)
def csv_encode(values: Array, options: CsvEncodeOptions) -> bytes:
    """Return the values of an array as one row of CSV (RFC 4180), without a line end.

    Strings, numbers and booleans are written as echo does, none as an empty field; anything else is an error. Fields
    with quotes, blanks, line ends or the delimiter are quoted.

    Example:
        echo csv_encode(["Hello", "World", "Hello World"]);  // expect: Hello,World,"Hello World"
        echo csv_encode(["a", 1.5], ["delimiter" => ";"]);  // expect: a;1.5
    """
    want_delimiter("csv_encode", options.delimiter)
    return write_row(values.values(), options.delimiter)


class DecodeOptions(Options):
    allow_comments: bool = option(False, "Pass over // and /* */ comments.")


@chapter.function("json_decode", constant=True)
def json_decode(string: bytes, options: DecodeOptions) -> Value:
    """Return the value of a JSON text, or none if it is not JSON; null is none too.

    Not JSON are also NaN, Infinity, numbers out of range, lone surrogates, text that is not UTF-8 and nesting over 500.
    Over 1,000,000 values are an error.

    Example:
        echo json_decode("{\\"a\\": [1, null]}");  // expect: ["a"=>[0=>1,1=>none]]
        echo json_decode("[1] // one", ["allow_comments" => true]);  // expect: [0=>1]
        echo json_decode("{");  // expect: none
    """
    try:
        return read_json(string, options.allow_comments)
    except NotJSON:
        return None


class YamlOptions(Options):
    """None so far: unknown ones are passed over."""


@chapter.function("yaml_decode", constant=True)
def yaml_decode(string: bytes, options: YamlOptions) -> Value:
    """Return the value of a YAML text (UTF-8), or none if it is not YAML; null is none too.

    YAML 1.2 with its core schema: only true and false are booleans, dates are strings, 0o and 0x begin octal and
    hexadecimal numbers. Lists and maps become arrays; a key is a scalar, `<<` an ordinary one. An alias is the value
    of its anchor. !!binary is decoded. There are no options yet.

    Not YAML are also other tags, %TAG directives, more than one document, a key twice, a value within itself, numbers
    out of range, nesting over 500 and more than 500,000 values, those that aliases repeat included.

    Example:
        echo yaml_decode("a: [1, no, 0x10]\\nb: null");  // expect: ["a"=>[0=>1,1=>"no",2=>16],"b"=>none]
        echo yaml_decode("a: [");  // expect: none
    """
    try:
        return read_yaml(string)
    except NotYAML:
        return None


def read_json(data: bytes, comments: bool) -> Value:
    """The value of a JSON text, maybe with // and /* */ comments. Raises NotJSON; ScriptError over the limit."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise NotJSON("the text is not UTF-8", len(data[: error.start].decode())) from None
    if comments:
        text = JSON_COMMENT.sub(blank_comment, text)
    check_json(text.count(",") + text.count("[") + text.count("{"))
    check_depth(text)
    try:
        return to_value(
            json.loads(text, parse_int=finite, parse_float=finite, parse_constant=refuse, object_pairs_hook=Members)
        )
    except json.JSONDecodeError as error:
        message = error.msg[0].lower() + error.msg[1:].removesuffix(" at").rstrip(": ")
        raise NotJSON(message, error.pos) from None
    except UnicodeEncodeError:
        raise NotJSON("a surrogate is alone") from None


def blank_comment(match: re.Match[str]) -> str:
    """What stands for a comment: as many blanks, so that places stay; strings stay as they are."""
    if match[1] is not None:
        return match[1]
    if match[0].startswith("/*") and match[2] is None:
        raise NotJSON("a comment has no end", match.start())
    return NOT_LINE_END.sub(" ", match[0])


def wrong_scalar(text: str) -> NotJSON:
    """The first number or string that JSON's grammar or Python lets through, and we do not, with its place."""
    for token in JSON_SCALAR.finditer(text):
        try:
            if token[0][0] == '"':
                json.loads(token[0]).encode()
            elif token[0][0] != "/":
                finite(token[0])
        except UnicodeEncodeError:
            return NotJSON("a surrogate is alone", token.start())
        except ValueError:
            return NotJSON(f"{token[0][:40]} is no number of JSON", token.start())
    return NotJSON("this is not JSON", 0)


class Members(list[tuple[str, Any]]):
    """The members of a JSON object in their order."""


def finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotJSON
    return number


def refuse(constant: str) -> NoReturn:
    raise NotJSON(constant)


def check_depth(text: str) -> None:
    """Raises NotJSON for a text nested too deep, before a parser recurses into it."""
    if text.count("[") + text.count("{") <= MAX_JSON_DEPTH:
        return
    depth = 0
    for token in JSON_TOKEN.finditer(text):
        first = token[0][0]
        depth += 1 if first in "[{" else -1 if first in "]}" else 0
        if depth > MAX_JSON_DEPTH:
            raise NotJSON(f"nested more than {MAX_JSON_DEPTH} deep", token.start())


def to_value(parsed: Any) -> Value:
    if isinstance(parsed, str):
        return parsed.encode()
    if isinstance(parsed, Members):
        return Array.from_pairs((key.encode(), to_value(value)) for key, value in parsed)
    if isinstance(parsed, list):
        return Array.of(to_value(value) for value in parsed)
    return parsed  # type: ignore[no-any-return]  # None, bool, float
