"""What `import $x from "file" with [options]` reads: the bytes of a data file come in, a Value goes out.

The value is made once, while the script loads, and shared by all its runs ("structures", import, data).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from hsl.arithmetic import check_items
from hsl.builtins import Options, option
from hsl.environment import Loader, LoadError
from hsl.errors import ScriptError, near
from hsl.library.certificates import X509Resource, certificates_in, load_certificate
from hsl.library.csvtext import ColumnOptions, CsvOptions, NotCSV, read_csv, read_schema
from hsl.library.encodings import NotJSON, read_json, wrong_scalar
from hsl.library.keys import load_private_key
from hsl.library.pem import is_pem
from hsl.source import Source
from hsl.values import Array, Value, literal, share, to_text


class JsonOptions(Options):
    """How JSON is read cannot be changed; comments are allowed."""


class PEMOptions(Options):
    resource: bool = option(False, "What X509 and the functions with keys take, instead of the file's bytes.")


class TextOptions(Options):
    array: bool = option(False, "An array of the lines, without their ends (CRLF or LF).")


def import_data(loader: Loader, path: str, given: Array | None) -> Value:
    """The value of a data file. Raises LoadError with a sentence: file, options or content are wrong."""
    extension = extension_of(path)
    return read_data(*loader.load_data(path), extension, given)


def read_data(name: str, data: bytes, extension: str, given: Array | None) -> Value:
    """The value of a data file's bytes, by its extension; arrays are marked as shared, nested ones too.

    Raises LoadError, with the place in the file (`name:line:column: …`) where that is wrong.
    """
    kind, read = READERS[extension]
    try:
        check_names(kind, given, "option")
        return share_all(read(name, data, given))
    except ScriptError as error:
        hint = f"; {error.hint}" if error.hint else ""
        raise LoadError(f"{name}: {error.message}{hint}") from None


def extension_of(path: str) -> str:
    """`.json`, `.csv`, `.txt`, `.crt` or `.key`. Raises LoadError."""
    extension = PurePosixPath(path).suffix.lower()
    if extension in READERS:
        return extension
    if not extension or extension == ".hsl":
        raise LoadError(f"{path} is no data file; variables of a module: import {{ $name }} from …")
    hint = near(extension, READERS)
    raise LoadError(f"{path}: data files are {', '.join(READERS)}{f'; {hint}' if hint else ''}")


def check_names(kind: type[Options], given: Array | None, what: str) -> None:
    """Raises ScriptError for an option that does not exist."""
    for key in () if given is None else given.keys():
        if to_text(key) not in kind.names():
            raise ScriptError(f"there is no {what} {to_text(literal(key))}", hint=near(to_text(key), kind.names()))


def read_json_file(name: str, data: bytes, given: Array | None) -> Value:
    try:
        return read_json(data.removeprefix(codecs.BOM_UTF8), comments=True)
    except NotJSON as found:
        source = Source.from_bytes(name, data)
        error = wrong_scalar(source.text) if found.offset is None else found
        line, column = source.line_column(error.offset or 0)
        raise LoadError(f"{name}:{line}:{column}: {error.message}") from None


def read_csv_file(name: str, data: bytes, given: Array | None) -> Value:
    options = CsvOptions.read("import", given)
    for column, schema in () if options.schema is None else options.schema.pairs():
        if isinstance(schema, Array):
            check_names(ColumnOptions, schema, f"option of {to_text(literal(column))} in the schema:")
    try:
        return read_csv(data, options, read_schema(options.schema, "import"), "import")
    except NotCSV as error:
        raise LoadError(f"{name}:{error.line}: {error.message}") from None


def read_text_file(name: str, data: bytes, given: Array | None) -> Value:
    if not TextOptions.read("import", given).array:
        return data
    check_items(data.count(b"\n") + 1)
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()  # the last line's end begins no other line
    return Array.of(line.removesuffix(b"\r") for line in lines)


def read_certificate_file(name: str, data: bytes, given: Array | None) -> Value:
    """One certificate, PEM or DER."""
    if not PEMOptions.read("import", given).resource:
        return data
    found = certificates_in(data) if is_pem(data) else [data]
    if len(found) != 1:
        raise ScriptError(f"wanted one certificate, found {len(found)}; without the option resource it is text")
    load_certificate("import", found[0])
    return X509Resource.of(found[0])


def read_key_file(name: str, data: bytes, given: Array | None) -> Value:
    """One private key, PEM or DER."""
    if not PEMOptions.read("import", given).resource:
        return data
    key = load_private_key(data)
    if key is None:
        raise ScriptError("wanted a private key (RSA, EC or Ed25519) without a password")
    return key


Reader = Callable[[str, bytes, Array | None], Value]
READERS: Mapping[str, tuple[type[Options], Reader]] = {
    ".json": (JsonOptions, read_json_file),
    ".csv": (CsvOptions, read_csv_file),
    ".txt": (TextOptions, read_text_file),
    ".crt": (PEMOptions, read_certificate_file),
    ".key": (PEMOptions, read_key_file),
}


def share_all(value: Value) -> Value:
    """Mark an array and all arrays in it as shared: nothing that a script does may change them in place."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Array):
            share(item)
            pending += item.values()
    return value
