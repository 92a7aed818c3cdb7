"""The received message as an object and as a file, and the older functions about attachments, at the end of data."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hsl.mime.source import BytesBody
from hsl.run import Budget
from hsl.runtime.context import PreDeliveryContext
from hsl.runtime.functions.attachments import guess
from hsl.runtime.log import Log
from hsl.runtime.model import Address, Body, DeliveryPlan, QueueEntry
from hsl.shared import SharedStore

pytestmark = pytest.mark.asyncio

MAIL = (
    b'Subject: s\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\none\r\n'
    b"--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nTVqQAAM=\r\n"
    b'--b\r\nContent-Type: image/png\r\nContent-Disposition: inline; filename="B.PNG"\r\n\r\n%PDF-1.4\r\n--b--\r\n'
)
TRACE = b"Received: from client by gateway\r\n"
Read = Callable[[Body], bytes]

ANSWERS = [
    ('GetAttachmentsByName("a.pdf")', '[0=>"2"]'),
    ('GetAttachmentsByName("b.png")', '[0=>"3"]'),
    ('GetAttachmentsByName("x.pdf")', "[]"),
    ('GetAttachmentsByName("/[.](pdf|png)$/i")', '[0=>"2",1=>"3"]'),
    ('GetAttachmentsByType("IMAGE/png")', '[0=>"3"]'),
    ('GetAttachmentsByType("/^(image|text)/")', '[0=>"1",1=>"3"]'),
    ('GetAttachmentName(["2", "1", "3"])', '[0=>"a.pdf",1=>none,2=>"B.PNG"]'),
    ('GetAttachmentType("2")', '[0=>"application/pdf"]'),
    ('GetAttachmentType(["/", "1"])', '[0=>"multipart/mixed",1=>"text/plain"]'),
    ('GetAttachmentSize("/")', f"[0=>{len(MAIL)}]"),
    ('GetAttachmentSize(["1"])', "[0=>31]"),
    ('GuessAttachmentType(["1", "2", "3"])', '[0=>"text/plain",1=>"application/x-dosexec",2=>"application/pdf"]'),
    ('GetMailMessage()->getByID("2")->getFileName()', "a.pdf"),
    ('MIME("0")->getHeader("Subject")', "s"),
    ('MIME("2")->getFileName()', "a.pdf"),
    ('$arguments["mail"]->getHeader("Subject")', "s"),
    ("MIME()->toString() != none", "true"),
    ("GetMailFile()->readline()", TRACE.decode().strip()),
]


@pytest.mark.parametrize(("expression", "wanted"), ANSWERS)
async def test_reading(world: Any, read: Read, expression: str, wanted: str) -> None:
    outcome = await world.data(f'SetMetaData(["x" => string({expression})]);', body=MAIL)
    [mail] = outcome.mails
    assert mail.entries[0].metadata[b"x"].decode() == wanted
    assert read(mail.body).endswith(MAIL)


MISTAKES = [
    ('GetAttachmentName("4");', "GetAttachmentName(): parameter 1 (attachmentid): the message has no part of this id"),
    ("RemoveAttachments([1]);", "RemoveAttachments(): parameter 1 (attachmentid): the message has no part of this id"),
    ('RemoveAttachments("/");', "a message cannot be removed from itself"),
    ('MIME("9");', "MIME(): parameter 1 (partid): the message has no part of this id"),
    ('GetAttachmentsByName("/(/");', "invalid regular expression"),
]


@pytest.mark.parametrize(("script", "message"), MISTAKES)
async def test_errors(world: Any, script: str, message: str) -> None:
    outcome = await world.data(script, body=MAIL)
    assert outcome.mails == []
    assert world.logged("script-error", message)


SEARCHES = ['GetAttachmentsByName("x")', 'GetAttachmentsByName("/x/")', 'GetAttachmentsByType("x")']


@pytest.mark.parametrize("search", SEARCHES)
async def test_others_get_turns_while_parts_with_large_headers_are_searched(world: Any, search: str) -> None:
    """Eight hundred such parts held up every session for more than five seconds."""
    turns: list[int] = []

    async def rest() -> None:
        turns.append(1)
        await asyncio.sleep(0)

    def write(line: str) -> None:
        if " echo " in line:
            turns.clear()

    world.budget = Budget(seconds=300.0)
    world.services.shared = SharedStore(turns=asyncio.get_running_loop().create_future, rest=rest)
    world.services.log = Log("debug", write)
    part = b"--b\r\n" + b"X: y\r\n" * 9_900 + b"\r\ntext\r\n"
    body = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 100 + b"--b--\r\n"
    await world.data(f'$arguments["mail"]->getParts(); echo "split"; {search};', body=body)
    assert len(turns) >= 5


async def test_attachments_are_removed_and_all_else_stays(world: Any, read: Read) -> None:
    outcome = await world.data('RemoveAttachments(GetAttachmentsByName("/[.]pdf$/"));', body=MAIL)
    start, end = MAIL.index(b"--b\r\nContent-Type: application"), MAIL.index(b"--b\r\nContent-Type: image")
    assert read(outcome.mails[0].body).endswith(MAIL[:start] + MAIL[end:])


async def test_old_and_new_functions_edit_one_message(world: Any, read: Read) -> None:
    script = """
        AddHeader("X-Old", "1");
        $mail = GetMailMessage();
        $mail->addHeader("X-New", "2");
        $arguments["mail"]->setHeader("Subject", "t");
        if (GetHeader("X-New") != "2" or GetHeader("Subject") != "t") Reject();
        if ($mail->getHeader("Subject") != "s") Reject();
    """
    [mail] = (await world.data(script, body=MAIL)).mails
    assert read(mail.body).endswith(b"X-New: 2\r\nX-Old: 1\r\n" + MAIL.replace(b"Subject: s", b"Subject: t"))


async def test_edits_hold_for_later_recipients(world: Any, read: Read) -> None:
    script = """
        $mail = GetMailMessage();
        if ($recipient == "b@x") $mail->addHeader("X-For", "b and c");
        if ($recipient == "c@x") echo DiscardMailDataChanges();
        Deliver();
    """
    outcome = await world.data(script, "a@x", "b@x", "c@x", body=MAIL)
    edited, plain = sorted(outcome.mails, key=lambda mail: len(mail.entries))
    assert [entry.recipient.path for entry in plain.entries] == [b"a@x", b"c@x"]
    assert [entry.recipient.path for entry in edited.entries] == [b"b@x"]
    assert read(edited.body).endswith(b"X-For: b and c\r\n" + MAIL)
    assert read(plain.body).endswith(MAIL)


async def test_a_snapshot_for_each_recipient(world: Any, read: Read) -> None:
    script = """
        $mail = GetMailMessage();
        $id = $mail->snapshot();
        $mail->addHeader("X-For", $recipient);
        Deliver(["done" => false]);
        $mail->restore($id);
        Done();
    """
    outcome = await world.data(script, "a@x", "b@x", body=MAIL)
    assert [read(mail.body)[-len(MAIL) - 12 : -len(MAIL)] for mail in outcome.mails] == [
        b"X-For: a@x\r\n",
        b"X-For: b@x\r\n",
    ]


async def test_the_file(world: Any) -> None:
    script = """
        AddHeader("X", "y");
        $old = GetMailFile()->read(); $new = GetMailFile(["changes" => true])->read();
        SetMetaData(["old" => $old, "new" => $new]);
    """
    [mail] = (await world.data(script, body=MAIL)).mails
    metadata = mail.entries[0].metadata
    assert metadata[b"old"] == TRACE + MAIL
    assert metadata[b"new"] == TRACE + b"X: y\r\n" + MAIL


async def test_the_file_in_the_queue(world: Any) -> None:
    class Gone(BytesBody):
        def chunks(self) -> Iterator[bytes]:
            raise LookupError("gone")

    class Bodies(type(world.queue)):  # type: ignore[misc]
        def body(self, entry: QueueEntry) -> Body:
            return BytesBody(MAIL) if entry.id == 7 else Gone(b"")

    world.queue = world.services.queue = Bodies()
    runner = world.runner(predelivery="echo GetMailFile()->readline();")
    address = Address.of(b"a@x")
    for number, wanted in ((7, "Subject: s"), (8, None)):
        entry = QueueEntry("t", address, address, "outbound", id=number)
        verdict = await runner.run(PreDeliveryContext(entry, DeliveryPlan(address, address), 30, "1"))
        assert verdict.error == (wanted is None)
    assert world.logged("echo", 'text="Subject: s"')
    assert world.logged("script-error", "GetMailFile(): the message cannot be read")


def archive(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name in names:
            file.writestr(name, "application/vnd.oasis.opendocument.text" if name == "mimetype" else "x")
    return data.getvalue()


WORD = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document"
GUESSED = [
    (b"", b"application/octet-stream"),
    (b"plain text\r\n", b"text/plain"),
    ("naïve".encode(), b"text/plain"),
    (b"\x00\x01\x02", b"application/octet-stream"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"image/png"),
    (b"%PDF-1.7\n", b"application/pdf"),
    (b"MZ\x90\0\x03", b"application/x-dosexec"),
    (b"{\\rtf1 x}", b"application/rtf"),
    (bytes(range(256)) * 1_000, b"application/octet-stream"),
    (archive("a.exe"), b"application/zip"),
    (archive("[Content_Types].xml", "word/document.xml"), WORD),
    (archive("[Content_Types].xml", "other.xml"), b"application/zip"),
    (archive("mimetype", "content.xml"), b"application/vnd.oasis.opendocument.text"),
]


@pytest.mark.parametrize(("data", "wanted"), GUESSED, ids=range(len(GUESSED)))
async def test_guesses(data: bytes, wanted: bytes) -> None:
    assert guess(data) == wanted
