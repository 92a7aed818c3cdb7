"""Chapter "File and HTTP": the class File and the older file functions. A name and a run come in, bytes go out.

Every name is looked up below the host's root path (`scripting.rootpath`), symbolic links included; only regular files
are opened. Reading takes turns with other scripts: after each megabyte, and after each thousand lines.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from hsl.arithmetic import check_items, check_string
from hsl.builtins import Chapter, NativeObject, Options, method, option, static_method
from hsl.environment import LoadError
from hsl.errors import ScriptError
from hsl.library.handles import Handles
from hsl.library.host import HasFiles
from hsl.loader import file_name, open_below
from hsl.values import MAX_STRING, Array, Function, Object, Resource, Value, array_key, to_string, truthy

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("File and HTTP")

MAX_OPEN: Final = 100  # files of one run
PIECE: Final = 64 * 1024  # bytes that are read in one go
TURN: Final = 16  # pieces between two turns of other scripts
LINES: Final = 1000  # the same in lines
WHENCE: Final = {b"SEEK_SET": os.SEEK_SET, b"SEEK_CUR": os.SEEK_CUR, b"SEEK_END": os.SEEK_END}


# ------------------------------------------------------------ what all functions of the chapter share


def open_file(run: Run, function: str, filename: bytes) -> tuple[Path, BinaryIO]:
    """A file below the root path. Raises ScriptError for a name that is none or leads outside; OSError."""
    root = run.host.rootpath if isinstance(run.host, HasFiles) else None
    if root is None:
        raise ScriptError(f"{function}(): there are no files here: this host has no root path")
    try:
        return open_below(root.resolve(), file_name(os.fsdecode(filename)))
    except LoadError as error:
        raise ScriptError(f"{function}(): {error}") from None


def open_existing(run: Run, function: str, filename: bytes) -> tuple[Path, BinaryIO]:
    """The same. Raises ScriptError also where there is no such file."""
    try:
        return open_file(run, function, filename)
    except OSError as error:
        name = filename.decode("utf-8", "replace")
        raise ScriptError(f"{function}(): cannot read {name}: {error.strerror}") from None


def read_pieces(run: Run, stream: BinaryIO, length: int | None) -> bytes:
    """So many bytes, or all that are left. Raises ScriptError over the limit of a string; OSError."""
    most = MAX_STRING + 1 if length is None else length
    check_string(0 if length is None else length)
    pieces: list[bytes] = []
    size = 0
    while size < most:
        piece = stream.read(min(PIECE, most - size))
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if len(pieces) % TURN == 0:
            run.tick()
    check_string(size)
    return b"".join(pieces)


def read_lines(run: Run, stream: BinaryIO) -> Iterator[bytes]:
    """The lines without their ends (LF or CRLF). Raises ScriptError over the limit of a string; OSError."""
    count = 0
    while line := stream.readline(MAX_STRING + 1):
        check_string(len(line))
        count += 1
        if count % LINES == 0:
            run.tick()
        yield without_end(line)


def without_end(line: bytes) -> bytes:
    return line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else line


# ------------------------------------------------------------ File


class FileResource(Resource):
    """A file that a host hands to scripts; `File(resource)` opens it anew each time."""

    def __init__(self, path: Path) -> None:
        super().__init__("FileResource")
        self.path = path

    def open(self) -> BinaryIO:
        return self.path.open("rb")


@chapter.object("File")
class File(NativeObject):
    """Return an open file: of a name below the root path, or of a FileResource that the host gave.

    Names may be written `name`, `file:name` and `file://name`. At most 100 files are open at a time in a run; they are
    closed by close(), when no variable holds them any more, and at the end of the run. A file that cannot be opened
    raises an error; use `File::read()` to get none instead.

    Example:
        $file = File::String("Hello\\nWorld");
        echo $file->read(5);  // expect: Hello
    """

    def __init__(self, run: Run, fileresource: bytes | Resource) -> None:
        super().__init__()
        self.handles = Handles.of(run, "files", MAX_OPEN)
        self.handles.check("File")
        if isinstance(fileresource, bytes):
            self.path, self.stream = open_existing(run, "File", fileresource)
        elif isinstance(fileresource, FileResource):
            self.path, self.stream = open_resource(fileresource)
        else:
            raise ScriptError(f"File(): wanted a FileResource, got a {fileresource.kind}")
        self.handles.open.add(self)

    @classmethod
    def of(cls, data: bytes) -> File:
        """A file with these bytes, in memory."""
        return cls.over(io.BytesIO(data))

    @classmethod
    def over(cls, stream: BinaryIO, path: Path | None = None) -> File:
        """A file that reads from an open stream and closes it."""
        file = cls.__new__(cls)
        NativeObject.__init__(file)
        file.stream = stream
        file.path = path
        return file

    stream: BinaryIO | None = None
    path: Path | None = None
    handles: Handles | None = None  # what counts it; files in memory are not counted

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Close what is open; a second time does nothing."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()
            if self.handles is not None:
                self.handles.open.discard(self)

    @method("close")
    def close_file(self) -> None:
        """Close the file. Reading from it gives none from then on.

        Example:
            $file = File::String("data");
            $file->close();
            echo $file->tell();  // expect: none
        """
        self.release()

    @method("read")
    def read_data(self, run: Run, length: int | None = None) -> bytes | None:
        """Return up to `length` bytes from the current position; all that are left if no length is given.

        At the end it is an empty string; none if the file is closed or cannot be read. More than the longest string
        (64 MiB) raises an error, before anything is read where the length says so.

        Example:
            $file = File::String("Hello");
            echo $file->read(2);  // expect: He
            echo $file->read();  // expect: llo
            echo $file->read() === "";  // expect: true
        """
        if length is not None and length < 0:
            raise ScriptError(f"File->read(): parameter 1 (length): wanted 0 or more, got {length}")
        if self.stream is None:
            return None
        try:
            return read_pieces(run, self.stream, length)
        except OSError:
            return None

    @method("readline")
    def read_line(self) -> bytes | bool | None:
        """Return the next line, without its LF or CRLF.

        At the end it is false, and none when it is called there once more; none also if the file is closed or cannot
        be read. A line longer than the longest string (64 MiB) raises an error.

        Example:
            $file = File::String("one\\r\\ntwo");
            echo $file->readline();  // expect: one
            echo $file->readline();  // expect: two
            echo $file->readline();  // expect: false
        """
        if self.stream is None:
            return None
        try:
            line = self.stream.readline(MAX_STRING + 1)
        except OSError:
            return None
        check_string(len(line))
        if line:
            self.ended = False
            return without_end(line)
        ended, self.ended = self.ended, True
        return None if ended else False

    ended = False  # readline() has said so

    @method("seek")
    def seek_to(self, offset: int, whence: bytes = b"SEEK_SET") -> float | None:
        """Move to an offset in bytes, and return the position that it has now; none if there is no such position.

        `whence` is what the offset counts from: `SEEK_SET` the beginning, `SEEK_CUR` the current position, `SEEK_END`
        the end (offsets are negative there).

        Example:
            $file = File::String("Hello World");
            echo $file->seek(-5, "SEEK_END");  // expect: 6
            echo $file->read();  // expect: World
        """
        if whence not in WHENCE:
            shown = whence.decode("utf-8", "replace")
            wanted = "SEEK_SET, SEEK_CUR or SEEK_END"
            raise ScriptError(f"File->seek(): parameter 2 (whence): wanted {wanted}, got {shown!r}")
        if self.stream is None:
            return None
        self.ended = False
        try:
            return float(self.stream.seek(self.base(whence) + offset))
        except (OSError, ValueError, OverflowError):
            return None

    def base(self, whence: bytes) -> int:
        """The position that offsets count from."""
        assert self.stream is not None
        if whence == b"SEEK_SET":
            return 0
        position = self.stream.tell()
        if whence == b"SEEK_CUR":
            return position
        end = self.stream.seek(0, os.SEEK_END)
        self.stream.seek(position)
        return end

    @method("tell")
    def position(self) -> float | None:
        """Return the current position in bytes; none if the file is closed.

        Example:
            $file = File::String("Hello");
            $file->read(2);
            echo $file->tell();  // expect: 2
        """
        return None if self.stream is None else float(self.stream.tell())

    @method("getPath")
    def get_path(self) -> bytes | None:
        """Return the path of the file; none if it has none, because it is in memory or closed.

        Example:
            echo File::String("Hello")->getPath();  // expect: none
        """
        return None if self.stream is None or self.path is None else os.fsencode(self.path)

    @method("toFFIValue")
    def to_ffi_value(self, run: Run) -> Resource | None:
        """Return the file as an FFIValue, a pointer to a `FILE` of C at the current position; none if it is closed.

        The pointer owns a FILE of its own, which fclose(3) ends with it. A file in memory is copied.

        Example:
            $libc = FFI("libc.so.6");
            $fgetc = $libc->func("fgetc", [FFI::type("pointer")], FFI::type("sint32"));
            echo FFI::number($fgetc(File::String("A")->toFFIValue()));
        """
        from hsl.library.ffi import allow, file_pointer

        allow(run, "File->toFFIValue")
        if self.stream is None:
            return None
        position = self.stream.tell()
        if not isinstance(self.stream, io.BytesIO):
            return file_pointer(run, "File->toFFIValue", self.stream.fileno(), position)
        with os.fdopen(os.memfd_create("file", os.MFD_CLOEXEC), "wb") as copy:
            copy.write(self.stream.getbuffer())
            copy.flush()
            return file_pointer(run, "File->toFFIValue", copy.fileno(), position)

    @staticmethod
    @static_method("String")
    def from_string(data: bytes) -> Object:
        """Return a file that holds these bytes, in memory.

        Example:
            echo File::String("Hello\\nWorld")->readline();  // expect: Hello
        """
        return File.of(data)

    @staticmethod
    @static_method("read")
    def read_whole(run: Run, filename: bytes) -> bytes | None:
        """Return what a file below the root path holds; none if there is no such file or it cannot be read.

        A name outside the root path, something that is no regular file, and more than the longest string (64 MiB)
        raise an error.

        Example:
            $words = File::read("words.txt");
            if ($words === none)
                echo "there is no such file";
        """
        try:
            _, stream = open_file(run, "File::read", filename)
            with stream:
                return read_pieces(run, stream, None)
        except OSError:
            return None


def open_resource(resource: FileResource) -> tuple[Path, BinaryIO]:
    try:
        return resource.path, resource.open()
    except OSError as error:
        raise ScriptError(f"File(): cannot read {resource.path.name}: {error.strerror}") from None


# ------------------------------------------------------------ the older functions


@chapter.function("file_get_contents")
def file_get_contents(run: Run, filename: bytes) -> bytes:
    """Return what a file below the root path holds. (Older name; today: `File::read`.)

    A file that cannot be read, and more than the longest string (64 MiB), raise an error: a list that is missing must
    not look like an empty one.

    Example:
        $template = file_get_contents("file://templates/bounce.txt");
    """
    _, stream = open_existing(run, "file_get_contents", filename)
    try:
        with stream:
            return read_pieces(run, stream, None)
    except OSError as error:
        raise unreadable("file_get_contents", filename, error) from None


@chapter.function("file")
def file(run: Run, filename: bytes) -> Array:
    """Return the lines of a file below the root path, without their LF or CRLF. (Older; today: the class `File`.)

    A file that cannot be read, one longer than 64 MiB, and more lines than an array may have raise an error.

    Example:
        foreach (file("file://domains.txt") as $domain)
            echo $domain;
    """
    _, stream = open_existing(run, "file", filename)
    lines: list[Value] = []
    size = 0
    try:
        with stream:
            for line in read_lines(run, stream):
                lines.append(line)
                size += len(line)
                check_string(size)
                check_items(len(lines))
    except OSError as error:
        raise unreadable("file", filename, error) from None
    return Array(lines)


def unreadable(function: str, filename: bytes, error: OSError) -> ScriptError:
    return ScriptError(f"{function}(): cannot read {filename.decode('utf-8', 'replace')}: {error.strerror}")


class InFileOptions(Options):
    type: bytes = option(b"text/plain", "`text/plain`: words between delimiters; `text/csv`: quotes, and names on top.")
    delimiter: bytes | None = option(None, 'What separates words: by default white space, and "," of text/csv.')
    assoc: bool = option(True, "The first line of text/csv has the names of the columns; they become the keys.")
    index: int = option(0, "Which word the needle is compared with, from 0.")


class Row(NamedTuple):
    """A line as words, and as the array that scripts see."""

    words: list[bytes]
    array: Array


@chapter.function("in_file")
def in_file(run: Run, needle: Value, filename: bytes, options: InFileOptions) -> Array:
    """Return the words of the first line whose first word is the needle; an empty array if there is none.

    `needle` may also be a function: it is called with the words of each line and says whether this is the one. With
    `text/csv` the words have the names of the first line as keys. Bytes are compared as they are. A file that cannot
    be read, or is not CSV, raises an error.

    Example:
        $host = in_file("192.168.1.25", "file://hosts.csv", ["type" => "text/csv"]);
        if ($host) echo $host["comment"];
    """
    if options.index < 0:
        raise ScriptError(f"in_file(): option index: wanted 0 or more, got {options.index}")
    _, stream = open_existing(run, "in_file", filename)
    try:
        with stream:
            found = find_row(run, needle, rows(run, stream, options), options.index)
    except OSError as error:
        raise unreadable("in_file", filename, error) from None
    return Array() if found is None else found.array


def find_row(run: Run, needle: Value, candidates: Iterable[Row], index: int) -> Row | None:
    if isinstance(needle, Function):
        return next((row for row in candidates if truthy(needle.call(run, [row.array]))), None)
    word = to_string(needle)
    return next((row for row in candidates if len(row.words) > index and row.words[index] == word), None)


def rows(run: Run, stream: BinaryIO, options: InFileOptions) -> Iterator[Row]:
    """The lines of a file as words. Raises ScriptError for options that do not fit, and what is no CSV."""
    if options.type == b"text/csv":
        return csv_rows(run, stream, options)
    if options.type != b"text/plain":
        shown = options.type.decode("utf-8", "replace")
        raise ScriptError(f"in_file(): option type: wanted text/plain or text/csv, got {shown!r}")
    if options.delimiter == b"":
        raise ScriptError("in_file(): option delimiter: wanted at least one character")
    split = (line.split(options.delimiter) for line in read_lines(run, stream))
    return (Row(words, Array.of(words)) for words in split)


def csv_rows(run: Run, stream: BinaryIO, options: InFileOptions) -> Iterator[Row]:
    from csv import Error, reader

    delimiter = (b"," if options.delimiter is None else options.delimiter).decode("utf-8", "surrogateescape")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ScriptError("in_file(): option delimiter: wanted one character, no quote or line end")
    texts = (line.decode("utf-8", "surrogateescape") + "\n" for line in read_lines(run, stream))
    names: list[bytes] | None = None
    try:
        for fields in reader(texts, delimiter=delimiter, strict=True):
            words = [field.encode("utf-8", "surrogateescape") for field in fields]
            if options.assoc and names is None:
                names = words
            elif words:
                yield Row(words, named(names, words))
    except Error as error:
        raise ScriptError(f"in_file(): the file is not CSV: {error}") from None


def named(names: list[bytes] | None, words: list[bytes]) -> Array:
    """The words under their names; those without one are left out."""
    if names is None:
        return Array.of(words)
    return Array.from_pairs((array_key(name), word) for name, word in zip(names, words, strict=False))
