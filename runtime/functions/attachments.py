"""The received message for scripts: as an object, as a file, and the older functions about attachments.

Reference 2015 "Attachments", 4.6 and 2019 "DATA, MIME and attachments".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from hsl.arithmetic import check_string
from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.library.files import File
from hsl.library.mime import MailMessage
from hsl.library.mimeparts import MIMEPart, find_part
from hsl.mime.stream import open_version
from hsl.mime.tree import Part
from hsl.regex import compile_pattern
from hsl.run import Run
from hsl.runtime.context import MessageContext, QueueContext
from hsl.runtime.functions.arguments import MESSAGE_STAGES, QUEUE_STAGES, host
from hsl.runtime.model import Body
from hsl.runtime.queuedfile import HoldsBodies
from hsl.values import Array, Object, Value

chapter = Chapter("Message and attachments", stages=MESSAGE_STAGES)
queued = Chapter("Message and attachments", stages=QUEUE_STAGES)

TURN: Final = 16  # pieces of a file between two turns of other scripts
GUESSED: Final = 64 * 1024  # bytes of a content that its type is guessed by
PATTERN: Final = re.compile(rb"/.*/[imusxUX]*\Z", re.DOTALL)
ROOT: Final = b"/"
TEXT: Final = re.compile(rb"[^\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]*\Z")
STORED: Final = re.compile(rb"mimetype(application/[a-z0-9.+-]{1,80})")  # OpenDocument, EPUB: their first member
OFFICE: Final = {
    b"word/": b"application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    b"xl/": b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    b"ppt/": b"application/vnd.openxmlformats-officedocument.presentationml.presentation",
}


class MailFileOptions(Options):
    """The options of GetMailFile() where a message is received."""

    changes: bool = option(False, "With the changes that scripts made; false is the message as it was received.")


class QueuedFileOptions(Options):
    """The options of GetMailFile() where a message is delivered."""

    changes: bool = option(True, "Without effect: a message in the queue has its changes.")


@chapter.function("GetMailMessage")
def get_mail_message(run: Run) -> Object:
    """Return the received message as a MailMessage; today's scripts find it in `$arguments["mail"]`.

    Its edits hold for this and all later recipients.

    Example:
        $mail = GetMailMessage();
        $mail->addHeader("X-Parts", string(length($mail->getParts())));
    """
    return host(run, MessageContext).mail_object()


@chapter.function("GetMailFile")
def get_mail_file(run: Run, options: MailFileOptions | None = None) -> Object:
    """Return the message, with our own Received header, as a File.

    It is read from where the message lies, however large it is, and only while the script runs.

    Example:
        $file = GetMailFile(["changes" => true]);
        while (is_string($line = $file->readline()))
            if ($line == "") break;
    """
    message = host(run, MessageContext).state.message
    changes = options is not None and options.changes
    return File.over(open_version(message.version() if changes else message.received()))


@queued.function("GetMailFile")
def get_queued_file(run: Run, options: QueuedFileOptions | None = None) -> Object:
    """Return the message as it lies in the queue as a File in memory. Over 64 MiB raises an error.

    Example:
        try { $file = GetMailFile(); } catch ($error) { echo "it is gone"; }
    """
    context = host(run, QueueContext)
    queue = context.services.queue
    if not isinstance(queue, HoldsBodies):
        raise ScriptError("GetMailFile(): there is no message in the queue here")
    return read_file(run, queue.body(context.entry))


def read_file(run: Run, body: Body) -> File:
    """A body as a file. Raises ScriptError for one that is too large or cannot be read."""
    pieces: list[bytes] = []
    size = 0
    try:
        for count, piece in enumerate(body.chunks(), 1):
            size += len(piece)
            check_string(size)
            pieces.append(piece)
            if count % TURN == 0:
                run.tick()
    except (OSError, LookupError):
        raise ScriptError("GetMailFile(): the message cannot be read") from None
    return File.of(b"".join(pieces))


@chapter.function("DiscardMailDataChanges")
def discard_mail_data_changes(run: Run) -> float:
    """Undo all edits of the message, and return how many there were. (Older name; today: MailMessage->reset.)

    Example:
        AddHeader("X-Spam", "yes");
        echo DiscardMailDataChanges();  // expect: 1
    """
    return float(host(run, MessageContext).mail.reset())


# --- attachments by their ids


@chapter.function("GetAttachmentsByName")
def get_attachments_by_name(run: Run, filename: bytes) -> Array:
    """Return the ids of all parts of the message with a file name. (Older name; today: MIMEPart->findByFileName.)

    The name is compared in any case; `/…/` with modifiers is a regular expression.

    Example:
        RemoveAttachments(GetAttachmentsByName("/\\\\.(exe|js)$/i"));
    """
    return parts_where(run, filename, MIMEPart.filename)


@chapter.function("GetAttachmentsByType")
def get_attachments_by_type(run: Run, mimetype: bytes) -> Array:
    """Return the ids of all parts of the message of a type. (Older name; today: MIMEPart->findByType.)

    The type is compared in any case; `/…/` with modifiers is a regular expression.

    Example:
        echo GetAttachmentsByType("image/png");  // expect: []
    """
    return parts_where(run, mimetype, MIMEPart.get_type)


@chapter.function("GetAttachmentName")
def get_attachment_name(run: Run, attachmentid: bytes | Array) -> Array:
    """Return the file names of parts, in the order of their ids; none for a part without one.

    Example:
        echo GetAttachmentName(GetAttachmentsByType("application/pdf"));  // expect: []
    """
    return Array.of(part.filename() for part in wanted_parts(run, "GetAttachmentName", attachmentid))


@chapter.function("GetAttachmentType")
def get_attachment_type(run: Run, attachmentid: bytes | Array) -> Array:
    """Return the types of parts as their senders declared them, in the order of their ids; none for one without.

    Example:
        echo GetAttachmentType(GetAttachmentsByName("/./"));  // expect: []
    """
    return Array.of(part.get_type() for part in wanted_parts(run, "GetAttachmentType", attachmentid))


@chapter.function("GetAttachmentSize")
def get_attachment_size(run: Run, attachmentid: bytes | Array) -> Array:
    """Return the sizes of parts in bytes, as they were received, in the order of their ids; `/` is the message.

    Example:
        echo length(GetAttachmentSize("/"));  // expect: 1
    """
    return Array.of(part.get_size(run) for part in wanted_parts(run, "GetAttachmentSize", attachmentid))


@chapter.function("GuessAttachmentType")
def guess_attachment_type(run: Run, attachmentids: bytes | Array) -> Array:
    """Return the types of parts as their first 64 KiB show them, whatever their senders say, in the order of their ids.

    What is not recognised is `text/plain` if it is text, else `application/octet-stream`.

    Example:
        $programs = 0;
        foreach (GuessAttachmentType(GetAttachmentsByName("/./")) as $type)
            if ($type == "application/x-dosexec") $programs += 1;
    """
    return Array.of(guess(content_start(part)) for part in wanted_parts(run, "GuessAttachmentType", attachmentids))


@chapter.function("RemoveAttachments")
def remove_attachments(run: Run, attachmentids: bytes | Array) -> None:
    """Remove parts from the message by their ids. (Older name; today: MIMEPart->remove.)

    Example:
        RemoveAttachments(GetAttachmentsByType("application/x-msdownload"));
    """
    for part in wanted_parts(run, "RemoveAttachments", attachmentids):
        part.mail.remove(part.part)


def root(run: Run) -> MIMEPart:
    return MailMessage(host(run, MessageContext).mail)


def parts_where(run: Run, wanted: bytes, subject: Callable[[MIMEPart], bytes | None]) -> Array:
    """The ids of the parts below the message whose subject is a text, or matches a pattern."""
    message = root(run)
    if PATTERN.match(wanted):
        return ids(found for found in message.matching(run, compile_pattern(wanted), subject).values())
    text = wanted.lower()
    return ids(part for part in message.below(run) if (subject(part) or b"").lower() == text)


def ids(parts: Iterable[Value]) -> Array:
    return Array.of(part.part.id for part in parts if isinstance(part, MIMEPart))


def wanted_parts(run: Run, function: str, given: bytes | Array) -> list[MIMEPart]:
    """The parts of one or several ids. Raises ScriptError for an id that there is not."""
    message = root(run)
    tree = message.tree(run)
    return [message.of(part_of(function, tree, id)) for id in (given.values() if isinstance(given, Array) else [given])]


def part_of(function: str, tree: Part, id: Value) -> Part:
    part = tree if id == ROOT else find_part(tree, id) if isinstance(id, bytes) else None
    if part is None:
        raise ScriptError(f"{function}(): parameter 1 (attachmentid): the message has no part of this id")
    return part


def content_start(part: MIMEPart) -> bytes:
    """The beginning of a decoded content."""
    start, end = part.part.body, part.part.end
    encoded = part.mail.raw(start, min(end, start + 2 * GUESSED))
    return part.mail.decoded(part.part, encoded)[:GUESSED]


def guess(data: bytes) -> bytes:
    """The type of a content."""
    if data.startswith(b"MZ"):
        return b"application/x-dosexec"
    if data.startswith(b"PK\x03\x04"):
        return guess_zip(data)
    from puremagic import PureError, from_string

    try:
        found = from_string(data, mime=True)
    except (PureError, ValueError):
        found = ""
    if found and found != "application/octet-stream":
        return found.encode()
    return b"text/plain" if data and TEXT.match(data) else b"application/octet-stream"


def guess_zip(data: bytes) -> bytes:
    """The documents that are ZIP archives, by the names of their first members."""
    if stored := STORED.match(data, 30):
        return stored[1]
    if data[30:49] == b"[Content_Types].xml" or data[30:36] == b"_rels/":
        return next((kind for folder, kind in OFFICE.items() if folder in data), b"application/zip")
    return b"application/zip"
