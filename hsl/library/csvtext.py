"""CSV (RFC 4180): bytes, options and a schema come in, an Array of rows goes out, for csv_decode() and imports; and one
row as it is written, for csv_encode()."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from hsl.arithmetic import check_string
from hsl.builtins import Options, option
from hsl.errors import ScriptError, near
from hsl.values import (
    DECIMAL,
    HEXADECIMAL,
    Array,
    Function,
    Object,
    Resource,
    Value,
    array_key,
    concatenation_text,
    literal,
    to_number,
    to_string,
    to_text,
    type_name,
)

MAX_FIELDS = 1_000_000  # of one text: it is read in one go, in about a second
NOT_PLAIN = re.compile(rb'[ "\t\r\n]')
MAX_SHOWN = 40  # bytes of a wrong field that a message shows


class NotCSV(ValueError):
    """A text that is not CSV, or a field that is not of its column's type; `line` is where, from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class CsvOptions(Options):
    delimiter: bytes = option(b",", "The character between two fields.")
    header: bool = option(True, "The first row has the names of the columns.")
    schema: Array | None = option(None, "Column => array of options: type, nullable, true, false.")


class ColumnOptions(Options):
    """What a schema says of one column."""

    type: bytes = option(b"string", "`string`, `boolean` or `number`.")
    nullable: bool | Array = option(False, 'Which fields are none: those in the array, with true "".')
    true: Array | None = option(None, 'Which fields of a boolean column are true, by default ["true"].')
    false: Array | None = option(None, 'Which fields of a boolean column are false, by default ["false"].')


class Column(NamedTuple):
    """How the fields of one column become values."""

    convert: Callable[[bytes], Value]  # raises ValueError with a sentence
    nulls: frozenset[bytes]

    def value(self, field: bytes) -> Value:
        return None if field in self.nulls else self.convert(field)


Schema = Mapping[Value, Column]


def read_schema(schema: Array | None, function: str) -> Schema:
    """The columns of an option `schema`. Raises ScriptError: a type that does not exist, an option of a wrong type."""
    columns: dict[Value, Column] = {}
    for name, given in () if schema is None else schema.pairs():
        where = f"option schema: {to_text(literal(name))}"
        if not isinstance(given, Array):
            raise ScriptError(f"{function}(): {where}: wanted array, got {type_name(given)}")
        columns[name] = read_column(ColumnOptions.read(function, given), f"{function}(): {where}")
    return columns


def read_column(options: ColumnOptions, where: str) -> Column:
    converters: dict[str, Callable[[bytes], Value]] = {
        "string": bytes,
        "number": to_finite,
        "boolean": Truth(texts(options.true, b"true"), texts(options.false, b"false")),
    }
    kind = to_text(options.type)
    if kind not in converters:
        raise ScriptError(f"{where}: there is no type {kind!r}", hint=near(kind, converters))
    if isinstance(options.nullable, Array):
        return Column(converters[kind], texts(options.nullable))
    return Column(converters[kind], frozenset([b""] if options.nullable else []))


def texts(array: Array | None, *default: bytes) -> frozenset[bytes]:
    return frozenset(default if array is None else map(to_string, array.values()))


def to_finite(field: bytes) -> float:
    if not DECIMAL.match(field) and not HEXADECIMAL.match(field):
        raise ValueError(f"{shown(field)} is no number")
    number = to_number(field)
    if number - number != 0.0:
        raise ValueError(f"{shown(field)} is out of range")
    return number


class Truth:
    """Converts the fields of a boolean column."""

    def __init__(self, true: frozenset[bytes], false: frozenset[bytes]) -> None:
        self.true = true
        self.false = false

    def __call__(self, field: bytes) -> bool:
        if field not in self.true and field not in self.false:
            raise ValueError(f"{shown(field)} is neither true nor false")
        return field in self.true


def shown(field: bytes) -> str:
    return to_text(literal(field[:MAX_SHOWN]))


def want_delimiter(function: str, given: bytes) -> str:
    """The delimiter as text. Raises ScriptError for what cannot be one."""
    delimiter = given.decode("utf-8", "surrogateescape")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ScriptError(f"{function}(): option delimiter: wanted one character, no quote or line end")
    return delimiter


def read_csv(data: bytes, options: CsvOptions, schema: Schema, function: str) -> Array:
    """The rows of a CSV text, keyed by the header's names if it has a header; a byte order mark is passed over.

    Raises NotCSV, and ScriptError for a delimiter that cannot be one or over the limits.
    """
    delimiter = want_delimiter(function, options.delimiter)
    if data.count(options.delimiter) + data.count(b"\n") + data.count(b"\r") > MAX_FIELDS:
        raise ScriptError(f"CSV exceeds {MAX_FIELDS} fields")
    rows = read_rows(data.removeprefix(codecs.BOM_UTF8), delimiter)
    if not options.header:
        return Array.of(Array(read_fields(line, row, map(float, range(len(row))), schema)) for line, row in rows)
    for _, header in rows:
        return read_records(rows, [array_key(name) for name in header], schema)
    return Array()


def read_rows(data: bytes, delimiter: str) -> Iterator[tuple[int, list[bytes]]]:
    """The fields of each row, and the line where it begins; empty lines are none."""
    text = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, [field.encode("utf-8", "surrogateescape") for field in row]
            line = reader.line_num + 1
    except csv.Error as error:
        message = "a quoted field has no end" if str(error) == "unexpected end of data" else str(error)
        raise NotCSV(message, line) from None


def read_records(rows: Iterator[tuple[int, list[bytes]]], names: list[Value], schema: Schema) -> Array:
    """The rows below a header. Of two columns with one name the last one counts."""
    records = Array()
    plain = all(isinstance(name, bytes) for name in names)
    for line, row in rows:
        if len(row) != len(names):
            raise NotCSV(f"a row of {len(row)}, below a header of {len(names)}", line)
        pairs = zip(names, read_fields(line, row, names, schema), strict=True)
        records.append(Array.record(dict(pairs)) if plain else Array.from_pairs(pairs))
    return records


def read_fields(line: int, row: list[bytes], names: Iterable[Value], schema: Schema) -> list[Value]:
    """The values of a row's fields. Raises NotCSV where one is not of its column's type."""
    if not schema:
        return [*row]
    values: list[Value] = []
    for name, field in zip(names, row, strict=True):
        column = schema.get(name)
        try:
            values.append(field if column is None else column.value(field))
        except ValueError as error:
            raise NotCSV(f"column {to_text(literal(name))}: {error}", line) from None
    return values


def write_row(values: Iterable[Value], delimiter: bytes) -> bytes:
    """One row without a line end. Raises ScriptError for arrays, functions and objects, and over the limit.

    A field is quoted where it has to be, and where it has a blank or could be taken for a byte order mark. A row of one
    empty field is quoted: an empty line would be no row.
    """
    fields: list[bytes] = []
    size = 0
    for value in values:
        if isinstance(value, Array | Function | Object | Resource):
            raise ScriptError(f"csv_encode(): parameter 1 (values): wanted strings, got {type_name(value)}")
        field = concatenation_text(value)
        check_string(size + 2 * len(field) + 2)
        if delimiter in field or NOT_PLAIN.search(field) or field.startswith(codecs.BOM_UTF8):
            field = b'"' + field.replace(b'"', b'""') + b'"'
        size += len(field) + len(delimiter)
        fields.append(field)
    return b'""' if fields == [b""] else delimiter.join(fields)
