"""A message of the queue comes in; what scripts open as a file (`$message["file"]`) goes out."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from hsl.library.files import FileResource
from hsl.runtime.model import Body, QueueEntry
from hsl.values import MAX_STRING


@runtime_checkable
class HoldsBodies(Protocol):
    """A queue whose messages can be read."""

    def body(self, entry: QueueEntry) -> Body: ...


class QueuedFile(FileResource):
    """A message, read into memory when it is opened: 64 MiB at most."""

    def __init__(self, queue: HoldsBodies, entry: QueueEntry) -> None:
        super().__init__(Path(f"message-{entry.id}"))
        self.queue = queue
        self.entry = entry

    def open(self) -> BinaryIO:
        """Raises OSError for a message that is gone or too large."""
        if self.entry.size > MAX_STRING:
            raise OSError(errno.EFBIG, f"it has more than {MAX_STRING} bytes")
        try:
            return io.BytesIO(b"".join(self.queue.body(self.entry).chunks()))
        except LookupError:
            raise FileNotFoundError(errno.ENOENT, "it is not in the queue any more") from None
