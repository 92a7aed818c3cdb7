"""The classes MIME, MailMessage and MIMEPart as scripts use them; what MIME writes is read by another parser."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable
from typing import Any

import pytest
from snippets import load, output_of

from hsl.errors import ScriptError
from hsl.library.mime import MIME, MailMessage
from hsl.mime.tree import MAX_DEPTH
from hsl.run import Budget, Run
from hsl.values import Array, Value

MESSAGE = r"""
$source = "Subject: =?utf-8?Q?caf=C3=A9?=\r\n" .
    "Received: one\r\nReceived:\r\n two\r\n" .
    "Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n" .
    "pre\r\n--b\r\nContent-Type: Text/Plain; charset=\"iso-8859-1\"; name=a.txt\r\n\r\none\r\n" .
    "--b\r\nContent-Type: application/x\r\nContent-Disposition: attachment; filename=\"b.exe\"\r\n" .
    "Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--b--\r\nend";
$mail = MailMessage::String($source);
$parts = $mail->getParts();
"""

ATTACHMENT = (
    'Content-Type: application/x\r\nContent-Disposition: attachment; filename="b.exe"\r\n'
    "Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8="
)

READ = [
    ("echo $mail->getID(); echo $parts[0]->getID(); echo $parts[1]->getID();", ["0", "1", "2"]),
    ("echo $mail->getSize() == length($source);", ["true"]),
    ("echo $parts[1]->getSize();", [str(len(ATTACHMENT))]),
    ('echo $mail->getHeader("SUBJECT");', ["café"]),
    ('echo $mail->getHeader("subject", ["field" => true]);', ["Subject: =?utf-8?Q?caf=C3=A9?="]),
    ('echo $mail->getHeader("received", ["index" => 1]);', ["two"]),
    ('echo $mail->getHeader("received", ["index" => 1, "field" => true]) == "Received:\\r\\n two";', ["true"]),
    ('echo $mail->getHeader("received", ["index" => 2]);', ["none"]),
    ('echo $mail->getHeader("received", ["index" => -1]);', ["none"]),
    ('echo $mail->getHeader("X");', ["none"]),
    ('echo $mail->getHeaders("received"); echo $mail->getHeaders("x");', ['[0=>"one",1=>"two"]', "[]"]),
    ('echo $mail->getHeaders("received", ["field" => true])[0];', ["Received: one"]),
    ("echo $mail->getHeaderNames();", ['[0=>"subject",1=>"received",2=>"received",3=>"content-type"]']),
    ("echo $mail->getType(); echo $parts[0]->getType();", ["multipart/mixed", "text/plain"]),
    ('echo $parts[0]->getTypeParameter("CHARSET"); echo $parts[0]->getTypeParameter("x");', ["iso-8859-1", "none"]),
    ("foreach ($parts as $p) echo $p->getFileName(); echo $mail->getFileName();", ["a.txt", "b.exe", "none"]),
    ("foreach ($parts as $p) echo $p->getBody();", ["one", "Hello"]),
    ('echo $parts[1]->getBody(["decode" => false]);', ["SGVsbG8="]),
    ('echo $mail->getBody() == str_slice($source, str_find($source, "pre\\r"));', ["true"]),
    ("echo $mail->getPreamble(); echo $parts[0]->getPreamble();", ["pre", "none"]),
    ("echo $mail->getEpilogue(); echo $parts[0]->getEpilogue();", ["end", "none"]),
    ("echo $mail->getErrors();", ["[]"]),
    ('foreach ($mail->findByType("^text/") as $p) echo $p->getID();', ["1"]),
    ('foreach ($mail->findByType("/^TEXT/i") as $p) echo $p->getID();', ["1"]),
    (r'foreach ($mail->findByFileName("\\.exe$") as $p) echo $p->getID();', ["2"]),
    ('foreach ($mail->findByType(pcre_compile("/TEXT/i")) as $p) echo $p->getID();', ["1"]),
    ('echo length($mail->findByType("")); echo length($parts[0]->findByType(""));', ["2", "0"]),
    ('echo $mail->getByID("2")->getFileName(); echo $mail->getByID("0")->getID();', ["b.exe", "0"]),
    (
        'foreach (["3", "", "1.1", "x", "0.1", "99999999999", "-1", "1."] as $id) echo $mail->getByID($id);',
        ["none"] * 8,
    ),
    ('echo $parts[0]->getByID("1")->getID(); echo $parts[0]->getByID("0");', ["1", "none"]),
    ("echo $mail->toString() === $source;", ["true"]),
    ("echo $mail->toFile()->read() === $source;", ["true"]),
    ("echo MailMessage::File(File::String($source))->toString() === $source;", ["true"]),
    ('$f = File::String("x"); $f->close(); echo MailMessage::File($f);', ["none"]),
    ("echo $mail; echo $parts[0];", ["MailMessage", "MIMEPart"]),
    ("$f = MailMessage::String; echo $f($source)->getID();", ["0"]),
    ('$f = $mail->getHeader; echo $f("subject");', ["café"]),
]


@pytest.mark.parametrize(("script", "wanted"), READ)
def test_reading(script: str, wanted: list[str]) -> None:
    assert output_of(MESSAGE + script) == wanted


RAW_HEADERS = [
    ("Subject: caf\\xe9\\r\\n\\r\\n", "café"),
    ("Subject: café\\r\\n\\r\\n", "café"),
    ("Content-Type: text/plain; charset=koi8-r\\r\\nSubject: \\xc1\\xc2\\xd7\\r\\n\\r\\n", "абв"),
    ("Content-Type: text/plain; charset=utf-16\\r\\nSubject: caf\\xe9\\r\\n\\r\\n", "café"),
    ("Content-Type: text/plain; charset=nonsense\\r\\nSubject: \\x80\\r\\n\\r\\n", "€"),
    ("Subject: \\x81 =?utf-8?Q?=C3=A9?=\\r\\n\\r\\n", "\x81 é"),
]


@pytest.mark.parametrize(("source", "wanted"), RAW_HEADERS)
def test_raw_bytes_in_headers_become_utf8(source: str, wanted: str) -> None:
    assert output_of(f'echo MailMessage::String("{source}")->getHeader("Subject");') == [wanted]


def test_gets_show_what_was_received() -> None:
    script = """
        $mail->setHeader("Subject", "new");
        $mail->addHeader("X-New", "v");
        $parts[0]->setBody("changed");
        $parts[1]->remove();
        echo $mail->getHeader("Subject"); echo $mail->getHeader("X-New");
        echo $parts[0]->getBody(); echo length($mail->getParts());
        $after = MailMessage::String($mail->toString());
        echo $after->getHeader("Subject"); echo $after->getHeader("X-New");
        echo $after->getParts()[0]->getBody(); echo length($after->getParts());
        echo $mail->reset(); echo $mail->toString() === $source;
    """
    assert output_of(MESSAGE + script) == ["café", "none", "one", "2", "new", "v", "changed", "1", "4", "true"]


EDITS = [
    ('echo $mail->setHeader("Received", "x"); echo $mail->setHeader("X-New", "v");', ["2", "1"]),
    ('echo $mail->setHeader("Received", "x", ["index" => 1]);', ["1"]),
    ('echo $mail->setHeader("Received", "x", ["index" => 2]);', ["0"]),
    ('echo $mail->delHeader("Received"); echo $mail->delHeader("Received");', ["2", "0"]),
    ('echo $mail->delHeader("Received", ["index" => 0]); echo $mail->delHeader("X", ["index" => 0]);', ["1", "0"]),
    ('echo $mail->renameHeader("Received", "X-Received"); echo $mail->renameHeader("X", "Y");', ["2", "0"]),
    ('echo $mail->addHeader("X", "y");', ["none"]),
    ("echo $mail->setDateLater();", ["1"]),
    ('echo $mail->setBody("x"); echo $parts[0]->setBody("x");', ["none", "MIMEPart"]),
    ('echo $parts[0]->setBody("a" * 1048576) === none; echo $parts[0]->setBody("a" * 1048577);', ["false", "none"]),
    ('echo $mail->setPreamble("x"); echo $parts[0]->setPreamble("x");', ["MailMessage", "none"]),
    ('echo $mail->setEpilogue("x"); echo $parts[0]->setEpilogue("x");', ["MailMessage", "none"]),
    ("echo $mail->appendPart(MIME()); echo $parts[0]->prependPart(MIME());", ["MailMessage", "MIMEPart"]),
    ("echo $parts[0]->replacePart(MIME()); echo $parts[0]->remove();", ["none", "none"]),
    ('echo $mail->snapshot(); $mail->delHeader("Subject"); echo $mail->restore(1); echo $mail->restore(2);',
     ["1", "true", "false"]),
    ('echo $mail->modifyContent(0, 7, "Betreff"); echo str_find($mail->toString(), "Betreff: =?");',
     ["MailMessage", "0"]),
    ('$mail->appendPart($parts[1]); echo length(MailMessage::String($mail->toString())->getParts());', ["3"]),
    ("$mail->appendPart($mail); echo length(MailMessage::String($mail->toString())->findByType(\".\"));",
     ["6"]),
    ('$mail->addHeader("X", "a\\r\\n\\tb", ["encode" => false]); echo str_find($mail->toString(), "X: a\\r\\n b\\r");',
     ["0"]),
    ('$parts[0]->setBody("=41", ["encode" => false]); echo str_find($mail->toString(), "\\n=41\\r") > 0;', ["true"]),
    ('$mail->getByID("1")->setBody("x"); $parts[0]->setBody("y"); echo str_find($mail->toString(), "\\ny\\r") > 0;',
     ["true"]),
]  # fmt: skip


@pytest.mark.parametrize(("script", "wanted"), EDITS)
def test_edits(script: str, wanted: list[str]) -> None:
    assert output_of(MESSAGE + script) == wanted


BAD = [
    ('$mail->addHeader("a b", "c");', "a header name is printable ASCII without spaces and colons"),
    ('$mail->renameHeader("Subject", "a:b");', "a header name is printable ASCII without spaces and colons"),
    ('$mail->getHeader(1);', "MailMessage->getHeader(): parameter 1 (name): wanted string, got number"),
    ('$parts[0]->getHeader("x", ["index" => "1"]);', "MIMEPart->getHeader(): option index: wanted number, got string"),
    ("$mail->remove();", "a message cannot be removed from itself; remove() is for the parts of a multipart"),
    ("$mail->appendPart($mail->toFile());",
     "MailMessage->appendPart(): parameter 1 (part): wanted MIME or MIMEPart, got object"),
    ('$mail->appendPart(MIME(), ["type" => "text/plain"]);',
     "MailMessage->appendPart(): option type: wanted multipart/…, got 'text/plain'"),
    ('$mail->appendPart(MIME(), ["type" => "multipart/x\\r\\nX: y"]);',
     "MailMessage->appendPart(): option type: wanted multipart/…, got 'multipart/x\\r\\nX: y'"),
    ('$mail->findByType("(");', "invalid regular expression: missing closing parenthesis at offset 1"),
    ("$mail->findByType(MIME());", "MIMEPart->findByType(): parameter 1 (pattern): wanted Regex or string, got MIME"),
    ('MailMessage::File(MIME());', "MailMessage::File(): parameter 1 (file): wanted File"),
    ('$mail->modifyContent(1000, 1, "");', "there are no bytes 1000 to 1001 in a message of 330"),
    ('$mail->queue("", "a@b", "outbound");',
     "MailMessage->queue(): there is no mail queue here; scripts of a mail gateway have one"),
    ('MIME()->send("", ["a@b"], "outbound");',
     "MIME->send(): there is no mail queue here; scripts of a mail gateway have one"),
    ('MIME("0");', "MIME(): there is no received message here; without an argument it is a new part"),
    ('MIME()->setType("text");', "MIME->setType(): parameter 1 (type): wanted type/subtype, got 'text'"),
    ('MIME()->setType("text/plain\\r\\nX: y");',
     "MIME->setType(): parameter 1 (type): wanted type/subtype, got 'text/plain\\r\\nX: y'"),
    ('MIME()->setBoundary("a\\r\\n");',
     "MIME->setBoundary(): parameter 1 (boundary): wanted 1 to 70 characters of RFC 2046's"),
    ('MIME()->setBoundary("a" * 71);',
     "MIME->setBoundary(): parameter 1 (boundary): wanted 1 to 70 characters of RFC 2046's"),
    ('MIME()->setDisposition("a b");', "MIME->setDisposition(): parameter 1 (type): wanted a word, got 'a b'"),
    ("MIME()->setDate(10 ** 300);", "there is no date of the timestamp 1e+300"),
    ("$m = MIME(); $m->appendPart($m); $m->toString();",
     f"the parts nest more than {MAX_DEPTH} deep, or are more than 10000"),
    ("$m = MIME(); for ($i = 0; $i < 20; $i += 1) $m = MIME()->appendPart($m)->appendPart($m); $m->toString();",
     f"the parts nest more than {MAX_DEPTH} deep, or are more than 10000"),
    ('MIME()->setBoundary("b")->appendPart(MIME()->addHeader("Content-Transfer-Encoding", "7bit")->setBody("--b"))'
     '->toString();', "a part has the boundary in it that was set"),
    ('MIME()->setType("multipart/mixed; boundary=b")->appendPart(MIME()->addHeader("X", "--b"))->toString();',
     "a part has the boundary in it that was set"),
    ('MIME()->addHeader("Content-Type", "multipart/mixed")->appendPart(MIME())->toString();',
     "the Content-Type of a part with parts was given without a boundary"),
    ('for ($i = 0; $i < 1001; $i += 1) $m = ($m ?? MIME())->addHeader("X", "");',
     "more than 1000 headers are added to one part"),
    ('MIME()->signDKIM("s", "d.example", "no key");', "MIME->signDKIM(): the message has no From header"),
    ("$m = MIME(); $m->body = 1;", "MIME has no properties to assign to"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "wanted"), BAD)
def test_errors(script: str, wanted: str) -> None:
    with pytest.raises(ScriptError) as caught:
        output_of(MESSAGE + script)
    assert caught.value.message.startswith(wanted)


HOSTILE = ["", "\\x00", "\\xff", "\\xc3", "\\r\\n\\r\\n", "--", "a" * 1000]


@pytest.mark.parametrize("value", HOSTILE)
def test_odd_bytes(value: str) -> None:
    script = f"""
        $odd = "{value}";
        $mail = MailMessage::String($odd);
        echo $mail->toString() === $odd; echo is_string($mail->getBody());
        $mail->getHeader($odd); $mail->getHeaders($odd); $mail->getTypeParameter($odd); $mail->getByID($odd);
        echo $mail->delHeader($odd);
        $mime = MIME()->addHeader("X", $odd)->setBody($odd)->setFileName($odd);
        $read = MailMessage::String($mime->toString());
        echo $read->getBody() === $odd;
        $mail->setHeader("X", $odd);
        $mail->setBody($odd);
        echo length(MailMessage::String($mail->toString())->getHeaders("X"));
    """
    assert output_of(script) == ["true", "true", "0", "true", "1"]


def test_ten_megabytes() -> None:
    script = """
        $text = "0123456789abcde\\n" * 655360;
        $mime = MIME()->setType("multipart/mixed")->appendPart(MIME()->setBody($text));
        $mail = MailMessage::String($mime->toString());
        echo $mail->getParts()[0]->getBody() === $text;
        $mail->addHeader("X", "y");
        echo length($mail->toString()) > 10485760;
    """
    assert output_of(script, budget=Budget(seconds=60)) == ["true", "true"]


# What MIME writes


def built(script: str) -> Any:
    """The message as another parser reads it."""
    lines: list[bytes] = []
    Run(load(f"echo {script}->toString();"), output=lines.append).execute()
    return email.message_from_bytes(lines[0][:-1], policy=email.policy.default)


BUILT: list[tuple[str, Callable[[Any], object], object]] = [
    ('MIME()->setBody("x")', lambda m: (m.get_content_type(), m.get_content_charset()), ("text/plain", "utf-8")),
    ('MIME()->setBody("x")', lambda m: (m["MIME-Version"], m["Content-Transfer-Encoding"]), ("1.0", "base64")),
    ('MIME()->setBody("naïve")', lambda m: m.get_content(), "naïve"),
    ('MIME()->setBody("\\x00\\xff")', lambda m: m.get_payload(decode=True), b"\0\xff"),
    ("MIME()", lambda m: (m.get_payload(), m["Content-Transfer-Encoding"]), ("", None)),
    ('MIME()->setType("image/png")', lambda m: str(m["Content-Type"]), "image/png"),
    ('MIME()->setType("text/html; charset=us-ascii")', lambda m: m.get_content_charset(), "us-ascii"),
    ('MIME()->addHeader("Content-Type", "text/csv")->setType("text/html")', lambda m: m.get_content_type(), "text/csv"),
    ('MIME()->addHeader("Subject", "naïve café")', lambda m: m["Subject"], "naïve café"),
    ('MIME()->addHeader("Content-Transfer-Encoding", "7bit")->setBody("plain")', lambda m: m.get_payload(), "plain"),
    ('MIME()->addHeader("X", "1")->addHeader("X", "2")', lambda m: m.get_all("X"), ["1", "2"]),
    ('MIME()->addHeader("MIME-Version", "1.0 (x)")', lambda m: m.get_all("MIME-Version"), ["1.0 (x)"]),
    ('MIME()->setFileName("a b.txt")', lambda m: (m.get_content_disposition(), m.get_filename()),
     ("attachment", "a b.txt")),
    ('MIME()->setFileName("naïve \\"x\\".txt")', lambda m: m.get_filename(), 'naïve "x".txt'),
    ('MIME()->setDisposition("inline")->setFileName("x")', lambda m: m.get_content_disposition(), "inline"),
    ('MIME()->setDisposition("inline")', lambda m: m["Content-Disposition"], "inline"),
    ("MIME()->setDate(1000000000)", lambda m: m["Date"].datetime.timestamp(), 1e9),
    ("MIME()->setDate(1)->setDate(2)", lambda m: len(m.get_all("Date")), 1),
    ("MIME()->setDate()", lambda m: m["Date"].datetime.year >= 2024, True),
    ('MIME()->setType("multipart/alternative")->appendPart(MIME()->setBody("a"))->appendPart(MIME()->setType("text/html"))',
     lambda m: [part.get_content_type() for part in m.walk()], ["multipart/alternative", "text/plain", "text/html"]),
    ('MIME()->setType("multipart/mixed")->setBody("old mail readers see this")->appendPart(MIME()->setBody("a"))',
     lambda m: (m.preamble.strip(), m.get_payload(0).get_content()), ("old mail readers see this", "a")),
    ('MIME()->setType("multipart/mixed")->setBoundary("x y")->appendPart(MIME())', lambda m: m.get_boundary(), "x y"),
    ('MIME()->addHeader("Content-Type", "multipart/mixed; boundary=own")->appendPart(MIME())',
     lambda m: (m.get_boundary(), len(m.get_payload())), ("own", 1)),
    ('MIME()->setType("multipart/mixed; boundary=own")->appendPart(MIME())',
     lambda m: (m.get_boundary(), len(m.get_payload())), ("own", 1)),
    ('MIME()->setType("multipart/mixed")->appendPart(MIME()->setType("multipart/related")->appendPart(MIME()))',
     lambda m: m.get_payload(0).get_payload(0)["MIME-Version"], None),
    ('MIME()->setType("multipart/mixed")->appendPart(MailMessage::String("X: y\\r\\n\\r\\nz"))',
     lambda m: (m.get_payload(0)["X"], m.get_payload(0).get_payload()), ("y", "z")),
    ('MIME()->setBody("x" * 1000)', lambda m: max(map(len, m.get_payload().splitlines())), 76),
]  # fmt: skip


@pytest.mark.parametrize(("script", "read", "wanted"), BUILT)
def test_what_is_built(script: str, read: Callable[[Any], object], wanted: object) -> None:
    message = built(script)
    assert message.defects == []
    assert read(message) == wanted


def test_a_part_that_is_added_is_what_it_is_when_the_message_is_written() -> None:
    script = """
        $part = MIME();
        $mail = MIME()->setType("multipart/mixed")->appendPart($part);
        $part->setBody("later");
        echo MailMessage::String($mail->toString())->getParts()[0]->getBody();
        echo $mail->toString() === $mail->toString();
    """
    assert output_of(script) == ["later", "true"]


GIVEN = 'addHeader("Content-Type", "multipart/mixed; boundary=given")'


@pytest.mark.parametrize("calls", [f'setBoundary("set")->{GIVEN}', f'{GIVEN}->setBoundary("set")', GIVEN])
@pytest.mark.parametrize("written", ["", "$m->toString();"])
def test_a_header_says_the_boundary(calls: str, written: str) -> None:
    """Whatever else is set, and although the message was written before."""
    script = f"""$m = MIME()->setType("multipart/mixed")->appendPart(MIME()->setBody("Hi")); {written} $m->{calls};
    echo MailMessage::String($m->toString())->getParts()[0]->getBody();"""
    assert output_of(script) == ["Hi"]


def test_a_new_boundary_is_always_another() -> None:
    script = 'echo MailMessage::String(MIME()->setType("multipart/mixed")->appendPart(MIME())->toString())'
    assert len({output_of(script + '->getTypeParameter("boundary");')[0] for _ in range(20)}) == 20


# Signatures: what is signed verifies (the vectors are in test_dkim.py)


ED25519 = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="  # RFC 8463 appendix A.2
RECORD = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
KEY = f"""
    $key = "{ED25519}";
    $options = ["algorithm" => "ed25519-sha256"];
    $dns = ["dns_function" => function ($name) {{ return ["result" => "{RECORD}"]; }}];
"""


@pytest.mark.parametrize("make", ['MIME()->addHeader("From", "a@example.com")->setBody("Hello")',
                                  'MailMessage::String("From: a@example.com\\r\\n\\r\\nHello\\r\\n")'])  # fmt: skip
def test_what_is_signed_verifies(make: str) -> None:
    script = f"""
        $mail = MailMessage::String({make}->signDKIM("s", "example.com", $key, $options)->toString());
        $field = $mail->getHeader("DKIM-Signature", ["field" => true]);
        echo $mail->verifyDKIM($field, $dns)["result"];
        $mail->setHeader("From", "b@example.com");
        echo $mail->verifyDKIM($field, $dns)["result"];
    """
    assert output_of(KEY + script) == ["pass", "permerror"]


def test_a_signature_alone() -> None:
    script = """
        $mail = MailMessage::String("From: a@example.com\\r\\n\\r\\nHello\\r\\n");
        $mail->addHeader("X", "y");
        $options["return_header"] = true;
        $value = $mail->signDKIM("s", "example.com", $key, $options);
        echo length($mail->getHeaders("DKIM-Signature"));
        $mail->addHeader("DKIM-Signature", $value, ["encode" => false]);
        $signed = MailMessage::String($mail->toString());
        echo $signed->verifyDKIM($signed->getHeader("DKIM-Signature", ["field" => true]), $dns)["result"];
        echo MailMessage::String("To: x\\r\\n\\r\\n")->signDKIM("s", "example.com", $key, $options);
    """
    assert output_of(KEY + script) == ["0", "pass", "none"]


# Queueing and sending ask the host


class Post:
    """A host that notes what it is asked to queue and to send."""

    def __init__(self) -> None:
        self.queued: list[tuple[bytes, Value, Value, bytes, Array | None]] = []
        self.sent: list[tuple[bytes, Value, Array, Value]] = []

    async def queue_mail(
        self, message: bytes, sender: Value, recipient: Value, transportid: bytes, options: Array | None
    ) -> Array:
        self.queued.append((message, sender, recipient, transportid, options))
        return Array.record({b"transaction": b"t", b"queue": 7.0})

    async def send_mail(self, message: bytes, sender: Value, recipients: Array, server: Value) -> Array:
        self.sent.append((message, sender, recipients, server))
        return Array.record({b"result": Array.record({b"code": 250.0})})


@pytest.mark.asyncio
async def test_queue_and_send() -> None:
    host, lines = Post(), list[bytes]()
    script = """
        $mail = MailMessage::String("Subject: x\\r\\n\\r\\n");
        $mail->addHeader("X", "y");
        echo $mail->queue("a@b", ["localpart" => "c", "domain" => "d"], "out", ["delay" => 5, "jobid" => "j"])["queue"];
        echo MIME()->setBody("x")->queue("", "c@d", "out")["transaction"];
        echo $mail->send("", ["c@d"], ["host" => "192.0.2.1"])["result"]["code"];
        echo MIME()->send("", ["c@d"], "out")["result"]["code"];
    """
    await Run(load(script), host=host, output=lines.append).execute_async()
    assert lines == [b"7\n", b"t\n", b"250\n", b"250\n"]
    assert host.queued[0][0] == b"X: y\r\nSubject: x\r\n\r\n"
    assert host.queued[0][1] == b"a@b"
    options = host.queued[0][4]
    assert options is not None
    assert dict(options.pairs()) == {b"delay": 5.0, b"jobid": b"j", b"hold": False}
    assert host.sent[0][2] == Array.of([b"c@d"])
    assert host.sent[1][0].startswith(b"MIME-Version: 1.0\r\n")


def test_only_messages_make_messages() -> None:
    for name in ("MIMEPart", "MailMessage"):
        with pytest.raises(Exception, match=name):
            output_of(f"{name}();")
    assert MIME.builtin_class.creatable
    assert not MailMessage.builtin_class.creatable


HEADERS = [
    ("", "=?utf-8?Q?Gr=C3=BC=C3=9Fe?="),
    (', ["encoding" => "quoted-printable"]', "=?utf-8?Q?Gr=C3=BC=C3=9Fe?="),
    (', ["encoding" => "base64"]', "=?utf-8?B?R3LDvMOfZQ==?="),
]


@pytest.mark.parametrize(("options", "wanted"), HEADERS)
def test_how_headers_are_encoded(options: str, wanted: str) -> None:
    written = output_of(f"""
        echo MIME()->addHeader("X-A", "Gr\u00fc\u00dfe"{options})->toString();
        $mail = MailMessage::String("A: b\\r\\n\\r\\n");
        $mail->addHeader("X-B", "Gr\u00fc\u00dfe"{options});
        $mail->setHeader("A", "Gr\u00fc\u00dfe"{options});
        echo $mail->toString();
    """)
    for name in ("X-A", "X-B", "A"):
        assert any(line.startswith(f"{name}: {wanted}") for text in written for line in text.split("\r\n"))


def test_an_unknown_encoding_of_headers() -> None:
    with pytest.raises(ScriptError, match="option encoding: wanted quoted-printable or base64, got rot13"):
        output_of('MIME()->addHeader("A", "b", ["encoding" => "rot13"]);')
