"""Chapter "FFI": functions of C libraries, by ctypes. Only where the host allows it (`scripting.ffi: true`).

Values of C are resources; memory that a script owns is freed with the value that owns it. What a C function does with
its arguments is beyond any check: it can crash the process, and while it runs no other script does.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from hsl import bridge
from hsl.arithmetic import check_string
from hsl.builtins import Chapter, NativeObject, method, static_method
from hsl.errors import ScriptError
from hsl.library.host import AllowsFFI
from hsl.values import Array, Function, Resource, Value, type_name

if TYPE_CHECKING:
    import ctypes

    from hsl.run import Run

chapter = Chapter("FFI")

NUMBERS: Final = {
    "uint8": "c_uint8", "sint8": "c_int8", "uint16": "c_uint16", "sint16": "c_int16", "uint32": "c_uint32",
    "sint32": "c_int32", "uint64": "c_uint64", "sint64": "c_int64", "float": "c_float", "double": "c_double",
}  # fmt: skip
TYPES: Final = ("void", *NUMBERS, "pointer", "...")
LONG: Final = ("uint64", "sint64", "pointer")


def allow(run: Run, function: str) -> None:
    """Raises ScriptError where FFI is switched off."""
    if not isinstance(run.host, AllowsFFI) or not run.host.ffi:
        raise ScriptError(f"{function}(): FFI is switched off; the setting scripting.ffi: true switches it on")


def c_library() -> ctypes.CDLL:
    """The C library that this process runs on."""
    import ctypes

    library = ctypes.CDLL(None)
    library.calloc.restype = ctypes.c_void_p
    library.calloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
    library.strlen.restype = ctypes.c_size_t
    for name in ("free", "fclose", "strlen"):
        getattr(library, name).argtypes = (ctypes.c_void_p,)
    library.fdopen.restype = ctypes.c_void_p
    library.fdopen.argtypes = (ctypes.c_int, ctypes.c_char_p)
    return library


# ------------------------------------------------------------ types and values


class FFIType(Resource):
    """A type of C, by the name that scripts use."""

    def __init__(self, name: str) -> None:
        super().__init__("FFIType")
        self.name = name

    @property
    def is_number(self) -> bool:
        return self.name in NUMBERS

    def ctype(self) -> Any:
        """ctypes' class; None for void and variable arguments."""
        import ctypes

        if self.is_number:
            return getattr(ctypes, NUMBERS[self.name])
        return ctypes.c_void_p if self.name == "pointer" else None


class Memory:
    """Memory that somebody owns: freed when nothing refers to it any more, unless it was given away."""

    def __init__(self, address: int, free: Callable[[int], object], size: int | None = None) -> None:
        self.address = address
        self.free: Callable[[int], object] | None = free
        self.size = size  # bytes; None: unknown

    def __del__(self) -> None:
        if self.free is not None:
            with suppress(Exception):
                self.free(self.address)

    def left(self, address: int) -> int | None:
        """How many bytes there are from an address on; None: that is not known."""
        if self.size is None or not self.address <= address <= self.address + self.size:
            return None
        return self.address + self.size - address


class FFIValue(Resource):
    """A value of C. `cell` is where it is stored (a ctypes object); `keeps` is what must live as long as it does."""

    def __init__(self, type: FFIType, cell: Any, memory: Memory | None = None, keeps: object = None) -> None:
        super().__init__("FFIValue")
        self.type = type
        self.cell = cell
        self.memory = memory
        self.keeps = keeps

    @classmethod
    def of(cls, name: str, number: float) -> FFIValue:
        """A number of a type, cut to what fits."""
        type = FFIType(name)
        return cls(type, type.ctype()(number if name in ("float", "double") else int(number)))

    @classmethod
    def pointer(cls, address: int, memory: Memory | None = None, keeps: object = None) -> FFIValue:
        type = FFIType("pointer")
        return cls(type, type.ctype()(address), memory, keeps)

    @classmethod
    def owned(cls, address: int, free: Callable[[int], object], size: int | None = None) -> FFIValue:
        """A pointer that owns what it points to."""
        return cls.pointer(address, Memory(address, free, size))

    @property
    def number(self) -> float:
        """The value as Python's number; of a pointer its address."""
        found: float | None = self.cell.value
        return found or 0

    def check_room(self, where: str, size: int) -> None:
        """Raises ScriptError where so many bytes are known to be too many."""
        left = None if self.memory is None else self.memory.left(int(self.number))
        if left is not None and size > left:
            raise ScriptError(f"{where}: there are {left} bytes, not {size}")


def want_type(function: str, place: str, value: Value) -> FFIType:
    if not isinstance(value, FFIType):
        raise ScriptError(f"{function}(): {place}: wanted an FFIType, got {shown(value)}")
    return value


def want_value(function: str, place: str, value: Value) -> FFIValue:
    if not isinstance(value, FFIValue):
        raise ScriptError(f"{function}(): {place}: wanted an FFIValue, got {shown(value)}")
    return value


def want_pointer(function: str, value: Value, *, null: bool = False) -> FFIValue:
    """The parameter `pointer`. Raises ScriptError, also for NULL unless that is allowed."""
    found = want_value(function, "parameter 1 (pointer)", value)
    if found.type.name != "pointer":
        raise ScriptError(f"{function}(): parameter 1 (pointer): wanted a pointer, got {found.type.name}")
    if not null and not found.number:
        raise ScriptError(f"{function}(): parameter 1 (pointer): it is NULL")
    return found


def want_types(function: str, types: Array) -> list[FFIType]:
    return [want_type(function, "parameter (arguments)", item) for item in types.values()]


def shown(value: Value) -> str:
    return value.kind if isinstance(value, Resource) else type_name(value)


def allocate(size: int, data: bytes = b"") -> FFIValue:
    """Zeroed memory of C's allocator that its pointer owns, with the data at its beginning. Raises ScriptError."""
    import ctypes

    library = c_library()
    address = library.calloc(1, max(size, 1))
    if not address:
        raise ScriptError(f"there is no memory of {size} bytes")
    ctypes.memmove(address, data, len(data))
    return FFIValue.owned(address, library.free, size)


def c_string(value: bytes) -> FFIValue:
    text = value.partition(b"\0")[0]
    return allocate(len(text) + 1, text)


# ------------------------------------------------------------ functions


class Callbacks:
    """The error that a script's function raised while C code called it; it goes on when the C code has returned."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    @classmethod
    def of(cls, run: Run) -> Callbacks:
        """Those of a run."""
        for close in run.closing or ():
            if isinstance(close, cls):
                return close
        callbacks = cls()
        run.at_end(callbacks)
        return callbacks

    def __call__(self) -> None:
        self.error = None

    def check(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error


class FFIFunction(Function):
    """A C function with its signature, as a function value."""

    def __init__(self, name: str, native: Any, arguments: list[FFIType], result: FFIType) -> None:
        super().__init__(name)
        self.variadic = bool(arguments) and arguments[-1].name == "..."
        self.arguments = arguments[:-1] if self.variadic else arguments
        self.result = result
        self.native = native
        native.argtypes = [item.ctype() for item in self.arguments]
        native.restype = result.ctype()

    def call(self, run: object, arguments: list[Value]) -> Value:
        count = len(self.arguments)
        if len(arguments) < count or (len(arguments) > count and not self.variadic):
            wanted = f"at least {count}" if self.variadic else str(count)
            raise ScriptError(f"{self.name}() wants {wanted} arguments, got {len(arguments)}")
        cells = [self.convert(index, value) for index, value in enumerate(arguments)]
        result = self.native(*(cell.cell for cell in cells))
        Callbacks.of(run).check()  # type: ignore[arg-type]
        if self.result.name == "void" or (self.result.name == "pointer" and not result):
            return None
        return FFIValue(self.result, self.result.ctype()(result))

    def convert(self, index: int, value: Value) -> FFIValue:
        """An argument as C takes it; strings become memory that lives as long as the call."""
        if index >= len(self.arguments):
            return self.variable(index, value)
        type = self.arguments[index]
        if isinstance(value, FFIValue):
            if value.type.name == type.name:
                return value
            if value.type.is_number and type.is_number:
                return FFIValue.of(type.name, value.number)
        elif type.name == "pointer" and isinstance(value, bytes):
            return c_string(value)
        elif type.name == "pointer" and value is None:
            return FFIValue.pointer(0)
        elif type.is_number and isinstance(value, float) and fits(type, value):
            return FFIValue.of(type.name, value)
        got = value.type.name if isinstance(value, FFIValue) else shown(value)
        raise ScriptError(f"{self.name}(): parameter {index + 1}: wanted {type.name}, got {got}")

    def variable(self, index: int, value: Value) -> FFIValue:
        """A variable argument has a type of its own; a float goes as a double (C11 6.5.2.2)."""
        found = want_value(self.name, f"parameter {index + 1}", value)
        return FFIValue.of("double", found.number) if found.type.name == "float" else found


def fits(type: FFIType, number: float) -> bool:
    return math.isfinite(number) or type.name in ("float", "double")


class Callback:
    """A script's function as C code calls it."""

    def __init__(self, run: Run, arguments: list[FFIType], result: FFIType, function: Function) -> None:
        self.run = run
        self.arguments = arguments
        self.result = result
        self.function = function
        self.thread = threading.get_ident()

    def __call__(self, *arguments: Any) -> Any:
        callbacks = Callbacks.of(self.run)
        try:
            if callbacks.error is None and threading.get_ident() == self.thread:
                return bridge.alone(lambda: self.answer(arguments))
        except BaseException as error:
            callbacks.error = error
        return None if self.result.name == "void" else 0

    def answer(self, arguments: tuple[Any, ...]) -> Any:
        pairs = zip(self.arguments, arguments, strict=True)
        values: list[Value] = [FFIValue(type, type.ctype()(item)) for type, item in pairs]
        value = self.function.call(self.run, values)
        if self.result.name == "void":
            return None
        if isinstance(value, FFIValue) and value.type.name == self.result.name:
            return value.cell.value or 0
        if value is None and self.result.name == "pointer":
            return 0
        if isinstance(value, float) and self.result.is_number and fits(self.result, value):
            return FFIValue.of(self.result.name, value).cell.value
        raise ScriptError(f"FFI::callback(): the function returned {shown(value)}, wanted {self.result.name}")


@chapter.function("FFIFunction")
def ffi_function(*arguments: Value) -> Value:
    """Return what a C function gives: an FFIValue, or none of a `void` function and for a pointer that is NULL.

    It is called through the function value that `FFI->func` gives. Strings (ended by their first NUL), none (NULL) and
    numbers become arguments of types `pointer` and the numbers; their memory lives as long as the call. Variable
    arguments have to be FFIValues. While the C function runs, no other script does. Called by this name it is an error.

    Example:
        $libc = FFI("libc.so.6");
        $strlen = $libc->func("strlen", [FFI::type("pointer")], FFI::type("uint64"));
        echo FFI::number($strlen("Hello"));
    """
    raise ScriptError("FFIFunction(): C functions are called by the value that FFI->func() gives")


# ------------------------------------------------------------ FFI


@chapter.object("FFI")
class FFI(NativeObject):
    """Return a C library, loaded by its file name (`libc.so.6`) or path as dlopen(3) does.

    FFI is switched off unless the configuration says `scripting.ffi: true`: with it a script can do whatever the
    process can, and crash it. A library that cannot be loaded raises an error.

    Example:
        $libc = FFI("libc.so.6");
        $abs = $libc->func("abs", [FFI::type("sint32")], FFI::type("sint32"));
        echo FFI::number($abs(-5));
    """

    def __init__(self, run: Run, path: bytes) -> None:
        super().__init__()
        import ctypes

        allow(run, "FFI")
        if not path or b"\0" in path:
            raise ScriptError("FFI(): parameter 1 (path): wanted the name of a library")
        try:
            self.library = ctypes.CDLL(os.fsdecode(path))
        except OSError as error:
            raise ScriptError(f"FFI(): {error}") from None

    @method("func")
    def function(self, name: bytes, arguments: Array, returntype: Resource) -> Function | None:
        """Return a function of the library as a function value; none if the library has none of that name.

        `arguments` are the types of its parameters, the last one may be `...`; `returntype` may be `void`. A signature
        that is not the C function's own crashes the process, or worse.

        Example:
            $libc = FFI("libc.so.6");
            $printf = $libc->func("printf", [FFI::type("pointer"), FFI::type("...")], FFI::type("sint32"));
        """
        types = want_types("FFI->func", arguments)
        result = want_type("FFI->func", "parameter 3 (returntype)", returntype)
        check_signature("FFI->func", types[:-1] if types and types[-1].name == "..." else types, result)
        native = self.symbol_of(name)
        return None if native is None else FFIFunction(name.decode("utf-8", "replace"), native, types, result)

    def symbol_of(self, name: bytes) -> Any:
        """ctypes' function, a new one each time: signatures are set on it."""
        try:
            return self.library[name.decode("utf-8")]
        except (AttributeError, UnicodeDecodeError, ValueError):
            return None

    @method("symbol")
    def symbol(self, name: bytes) -> Resource | None:
        """Return a pointer to a global symbol of the library, a variable for example; none if there is none.

        Example:
            $environment = FFI("libc.so.6")->symbol("environ");
        """
        import ctypes

        try:
            found = ctypes.c_char.in_dll(self.library, name.decode("utf-8"))
        except ValueError:
            return None
        return FFIValue.pointer(ctypes.addressof(found), keeps=self)

    @staticmethod
    @static_method("type")
    def type(run: Run, name: bytes) -> Resource:
        """Return a type: `void`, `uint8`, `sint8`, … `uint64`, `sint64`, `float`, `double`, `pointer`, `...`.

        `void` is only for what a function returns, `...` only for the last of its arguments.

        Example:
            $types = [FFI::type("pointer"), FFI::type("sint32")];
        """
        allow(run, "FFI::type")
        text = name.decode("utf-8", "replace")
        if text not in TYPES:
            raise ScriptError(f"FFI::type(): parameter 1 (name): wanted {', '.join(TYPES)}, got {text!r}")
        return FFIType(text)

    @staticmethod
    @static_method("cnumber")
    def cnumber(run: Run, type: Resource, number: float) -> Resource:
        """Return a number as a value of C; whole numbers are cut to the bits of the type.

        Example:
            $size = FFI::cnumber(FFI::type("uint64"), 32);
        """
        allow(run, "FFI::cnumber")
        found = want_type("FFI::cnumber", "parameter 1 (type)", type)
        if not found.is_number:
            raise ScriptError(f"FFI::cnumber(): parameter 1 (type): wanted a type of number, got {found.name}")
        if not fits(found, number):
            raise ScriptError(f"FFI::cnumber(): parameter 2 (number): {number} is no {found.name}")
        return FFIValue.of(found.name, number)

    @staticmethod
    @static_method("cstring")
    def cstring(run: Run, value: bytes) -> Resource:
        """Return a pointer to a copy of a string, up to its first NUL and ended by one; the pointer owns the copy.

        Example:
            echo FFI::string(FFI::cstring("Hello"));
        """
        allow(run, "FFI::cstring")
        return c_string(value)

    @staticmethod
    @static_method("callback")
    def callback(run: Run, arguments: Array, returntype: Resource, callback: Function) -> Resource:
        """Return a pointer to a C function that calls a function of the script.

        Its arguments come as FFIValues; it returns an FFIValue or a number of the type, or none for NULL. It must not
        wait (no DNS, HTTP, sockets, sleep), and the pointer must live as long as C code may call it. What it throws
        goes on when the C function that called it returns; C gets 0 meanwhile. A call from another thread is not
        passed on: C gets 0.

        Example:
            $compare = FFI::callback([FFI::type("pointer"), FFI::type("pointer")], FFI::type("sint32"),
                function ($a, $b) { return FFI::number(FFI::deref($a, FFI::type("uint8")))
                    - FFI::number(FFI::deref($b, FFI::type("uint8"))); });
        """
        import ctypes

        allow(run, "FFI::callback")
        types = want_types("FFI::callback", arguments)
        result = want_type("FFI::callback", "parameter 2 (returntype)", returntype)
        check_signature("FFI::callback", types, result)
        prototype = ctypes.CFUNCTYPE(result.ctype(), *(item.ctype() for item in types))
        function = prototype(Callback(run, types, result, callback))
        return FFIValue.pointer(ctypes.cast(function, ctypes.c_void_p).value or 0, keeps=function)

    @staticmethod
    @static_method("nullptr")
    def nullptr(run: Run) -> Resource:
        """Return a pointer that is NULL.

        Example:
            echo FFI::number(FFI::nullptr());
        """
        allow(run, "FFI::nullptr")
        return FFIValue.pointer(0)

    @staticmethod
    @static_method("allocate")
    def allocate(run: Run, size: Value) -> Resource:
        """Return a pointer to `size` bytes of zeros, which it owns: up to 64 MiB at a time.

        `size` is a number, or an FFIValue of one.

        Example:
            $buffer = FFI::allocate(16);
            FFI::memcpy($buffer, "Hello");
            echo FFI::string($buffer, 5);
        """
        allow(run, "FFI::allocate")
        number = size.number if isinstance(size, FFIValue) and size.type.is_number else size
        if not isinstance(number, (int, float)) or isinstance(number, bool) or not number >= 0:
            raise ScriptError(f"FFI::allocate(): parameter 1 (size): wanted a number of bytes, got {shown(size)}")
        check_string(number)
        return allocate(int(number))

    @staticmethod
    @static_method("memcpy")
    def memcpy(run: Run, pointer: Resource, data: bytes) -> Resource:
        """Copy a string's bytes to where a pointer points, and return the pointer.

        More bytes than there are is an error where the size of the memory is known (of FFI::allocate and
        FFI::cstring); elsewhere it is what it is in C.

        Example:
            $buffer = FFI::memcpy(FFI::allocate(4), "\\x01\\x02\\x03\\x04");
        """
        import ctypes

        allow(run, "FFI::memcpy")
        target = want_pointer("FFI::memcpy", pointer)
        target.check_room("FFI::memcpy(): parameter 2 (data)", len(data))
        ctypes.memmove(int(target.number), data, len(data))
        return target

    @staticmethod
    @static_method("byref")
    def byref(run: Run, value: Resource) -> Resource:
        """Return a pointer to where an FFIValue is stored: `&value` in C.

        Example:
            $number = FFI::cnumber(FFI::type("sint32"), 5);
            echo FFI::number(FFI::deref(FFI::byref($number), FFI::type("sint32")));
        """
        import ctypes

        allow(run, "FFI::byref")
        found = want_value("FFI::byref", "parameter 1 (value)", value)
        return FFIValue.pointer(ctypes.addressof(found.cell), keeps=found)

    @staticmethod
    @static_method("deref")
    def deref(run: Run, value: Resource, type: Resource | None = None) -> Resource | None:
        """Return what a pointer points to, as a value of a type: `*value` in C; by default a pointer, none for NULL.

        Example:
            $bytes = FFI::cstring("A");
            echo FFI::number(FFI::deref($bytes, FFI::type("uint8")));
        """
        import ctypes

        allow(run, "FFI::deref")
        pointer = want_pointer("FFI::deref", value)
        found = FFIType("pointer") if type is None else want_type("FFI::deref", "parameter 2 (type)", type)
        ctype = found.ctype()
        if ctype is None:
            raise ScriptError(f"FFI::deref(): parameter 2 (type): there are no values of type {found.name}")
        pointer.check_room(f"FFI::deref(): parameter 2 (type): {found.name}", ctypes.sizeof(ctype))
        result = FFIValue(found, ctype(ctype.from_address(int(pointer.number)).value))
        return None if found.name == "pointer" and not result.number else result

    @staticmethod
    @static_method("offset")
    def offset(run: Run, pointer: Resource, offset: int) -> Resource:
        """Return a pointer that points so many bytes further; the memory stays its owner's.

        Example:
            echo FFI::string(FFI::offset(FFI::cstring("Hello"), 3));
        """
        allow(run, "FFI::offset")
        found = want_pointer("FFI::offset", pointer)
        return FFIValue.pointer(int(found.number) + offset, found.memory, keeps=found)

    @staticmethod
    @static_method("string")
    def string(run: Run, pointer: Resource, size: int | None = None) -> bytes:
        """Return `size` bytes from where a pointer points, or those up to the first NUL.

        More than 64 MiB raise an error; so does more than there is, where the size of the memory is known.

        Example:
            echo FFI::string(FFI::cstring("Hello"));
        """
        import ctypes

        allow(run, "FFI::string")
        found = want_pointer("FFI::string", pointer)
        if size is not None and size < 0:
            raise ScriptError(f"FFI::string(): parameter 2 (size): wanted 0 or more, got {size}")
        length = c_library().strlen(int(found.number)) if size is None else size
        check_string(length)
        found.check_room("FFI::string(): parameter 2 (size)", length)
        return ctypes.string_at(int(found.number), length)

    @staticmethod
    @static_method("number")
    def number(run: Run, value: Resource) -> float:
        """Return an FFIValue as a number; of a pointer its address. Whole numbers are exact up to 2 ** 53.

        Example:
            echo FFI::number(FFI::cnumber(FFI::type("uint8"), 257));
        """
        allow(run, "FFI::number")
        return float(want_value("FFI::number", "parameter 1 (value)", value).number)

    @staticmethod
    @static_method("number64")
    def number64(run: Run, value: Resource) -> Array:
        """Return a value of type `uint64`, `sint64` or `pointer` as two numbers of 32 bits, the higher one first.

        Negative numbers are in two's complement.

        Example:
            echo FFI::number64(FFI::cnumber(FFI::type("sint64"), -1));
        """
        allow(run, "FFI::number64")
        found = want_value("FFI::number64", "parameter 1 (value)", value)
        if found.type.name not in LONG:
            raise ScriptError(f"FFI::number64(): parameter 1 (value): wanted {', '.join(LONG)}, got {found.type.name}")
        bits = int(found.number) & 0xFFFF_FFFF_FFFF_FFFF
        return Array([float(bits >> 32), float(bits & 0xFFFF_FFFF)])

    @staticmethod
    @static_method("attach")
    def attach(run: Run, pointer: Resource, destructor: Function | None = None) -> Resource:
        """Make a pointer own what it points to, and return it: with the pointer it is freed.

        By free(3), or by an FFIFunction of one argument of type `pointer`.

        Example:
            $libc = FFI("libc.so.6");
            $fopen = $libc->func("fopen", [FFI::type("pointer"), FFI::type("pointer")], FFI::type("pointer"));
            $fclose = $libc->func("fclose", [FFI::type("pointer")], FFI::type("sint32"));
            $file = FFI::attach($fopen("/dev/zero", "r"), $fclose);
        """
        allow(run, "FFI::attach")
        found = want_pointer("FFI::attach", pointer)
        free: Callable[[int], object] = c_library().free
        if destructor is not None:
            free = want_destructor(destructor)
        if found.memory is not None and found.memory.free is not None and found.memory.address == found.number:
            found.memory.free = free  # owned already: never freed twice
        else:
            found.memory = Memory(int(found.number), free)
        return found

    @staticmethod
    @static_method("detach")
    def detach(run: Run, pointer: Resource) -> Resource:
        """Make a pointer own nothing any more, and return it: whoever has it now must free the memory, with free(3).

        Example:
            $text = FFI::detach(FFI::cstring("Hello"));
        """
        allow(run, "FFI::detach")
        found = want_pointer("FFI::detach", pointer, null=True)
        if found.memory is not None:
            found.memory.free = None
        return found


def check_signature(function: str, arguments: list[FFIType], result: FFIType) -> None:
    """Raises ScriptError for types where they cannot be."""
    for item in arguments:
        if item.ctype() is None:
            raise ScriptError(f"{function}(): parameter (arguments): {item.name} cannot be there")
    if result.name == "...":
        raise ScriptError(f"{function}(): parameter (returntype): ... cannot be returned")


def want_destructor(destructor: Function) -> Callable[[int], object]:
    if not isinstance(destructor, FFIFunction) or [item.name for item in destructor.arguments] != ["pointer"]:
        wanted = "wanted an FFIFunction of one pointer"
        raise ScriptError(f"FFI::attach(): parameter 2 (destructor): {wanted}, got {destructor.name}")
    native: Callable[[int], object] = destructor.native
    return native


# ------------------------------------------------------------ what other objects are in C


def file_pointer(run: Run, function: str, descriptor: int, position: int) -> FFIValue | None:
    """A `FILE *` of its own over an open file, at a position; fclose(3) ends it with the pointer."""
    allow(run, function)
    library = c_library()
    handle = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    os.lseek(handle, position, os.SEEK_SET)
    address = library.fdopen(handle, b"rb")
    if not address:
        os.close(handle)
        return None
    return FFIValue.owned(address, library.fclose)


def x509_pointer(run: Run, function: str, certificate: bytes) -> FFIValue | None:
    """An OpenSSL `X509 *` of a certificate (DER); X509_free(3) ends it with the pointer. None without libcrypto."""
    import ctypes

    allow(run, function)
    for name in ("libcrypto.so.3", "libcrypto.so.1.1"):
        with suppress(OSError):
            library = ctypes.CDLL(name)
            library.d2i_X509.restype = ctypes.c_void_p
            library.d2i_X509.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long)
            library.X509_free.argtypes = (ctypes.c_void_p,)
            data = ctypes.create_string_buffer(certificate, len(certificate))
            place = ctypes.c_void_p(ctypes.addressof(data))
            address = library.d2i_X509(None, ctypes.byref(place), len(certificate))
            return FFIValue.owned(address, library.X509_free) if address else None
    return None
