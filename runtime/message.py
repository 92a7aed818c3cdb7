"""A received message at the gateway: its bytes and our own trace header in, header access for the older functions, and
versions for the queue and the scanners out.

What parses and edits is hsl.mime; the same model stands behind the class MailMessage. Values read here are those after
the edits, unfolded and decoded (RFC 2047) to UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence

from hsl.mime import words
from hsl.mime.fields import Field, make_field
from hsl.mime.mail import MailModel, Version
from hsl.mime.source import BytesBody, Source

__all__ = ["BytesBody", "Field", "Message", "Version", "make_field"]


class Message:
    """A received message and what scripts changed in it. `trace` is our own Received header, out of scripts' reach.

    Every method that reads or changes headers raises ScriptError when the header block is over hsl.mime's limits, and
    for a name that is none (RFC 5322 2.2).
    """

    def __init__(self, original: Source, trace: bytes = b"") -> None:
        self.original = original
        self.trace = trace
        self.mail = MailModel(original, trace)

    @property
    def size(self) -> int:
        """Bytes of the message as it would leave now."""
        return self.version().size

    def version(self) -> Version:
        """The message as it is now; without edits in between always the same object."""
        return self.mail.version()

    def received(self) -> Version:
        """The message without what scripts changed."""
        return Version(0, self.original, [self.trace, (0, self.original.size)])

    def headers(self) -> Sequence[Field]:
        """The header fields as they are now."""
        return self.mail.current(self.mail.root)

    def get(self, name: bytes, decode: bool = True) -> bytes | None:
        """The value of the first header of that name, or None."""
        values = self.get_all(name, decode)
        return values[0] if values else None

    def get_all(self, name: bytes | None, decode: bool = True) -> list[bytes]:
        """The values of all headers of that name, in order; without a name all headers as `Name: value`."""
        wanted = None if name is None else name.lower()
        result = []
        for field in self.headers():
            if wanted is None or field.name == wanted:
                value = words.decode(field.value) if decode else field.value
                result.append(field.written_name + b": " + value if wanted is None else value)
        return result

    def add(self, name: bytes, value: bytes, refold: bool = True) -> None:
        """Add a header on top, below the trace header."""
        self.mail.add_field(self.mail.root, name, value, refold)

    def set(self, name: bytes, value: bytes, refold: bool = True) -> int:
        """Overwrite every header of that name, or add one. How many there are now."""
        return self.mail.set_field(self.mail.root, name, value, refold)

    def prepend(self, name: bytes, value: bytes, refold: bool = True) -> int:
        """Put a text in front of the value of every header of that name, or add one. How many there are now."""
        return self.mail.prepend_field(self.mail.root, name, value, refold)

    def append(self, name: bytes, value: bytes, refold: bool = True) -> int:
        """Put a text behind the value of every header of that name, or add one. How many there are now."""
        return self.mail.append_field(self.mail.root, name, value, refold)

    def delete(self, name: bytes) -> int:
        """Delete every header of that name. How many there were."""
        return self.mail.delete_field(self.mail.root, name)
