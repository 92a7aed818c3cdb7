"""Chapter "MIME": the builder MIME and the class MailMessage (its parts: hsl.library.mimeparts)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hsl.builtins import NativeObject, Options, method, option, static_method
from hsl.errors import ScriptError
from hsl.library.dateandtime import now
from hsl.library.dkimtext import DKIMError, MailSignOptions, SignOptions, VerifyOptions, sign, verify_all, verify_field
from hsl.library.files import File, read_pieces
from hsl.library.host import HasMail, QueuesMail
from hsl.library.mimeparts import EncodeOptions, MIMEPart, chapter, encoded, find_part, part_bytes, shown
from hsl.mime.build import BOUNDARY, TOKEN, TYPE, Builder
from hsl.mime.mail import MailModel
from hsl.mime.source import BytesBody
from hsl.mime.stream import open_version
from hsl.values import Array, Object, Resource

if TYPE_CHECKING:
    from hsl.run import Run

__all__ = ["MIME", "MailMessage", "chapter"]

MAX_CHILDREN: Final = 1_000


class QueueOptions(Options):
    """The options of queue()."""

    metadata: Array | None = option(None, "Metadata for the queue entry: string keys and values.")
    jobid: bytes | None = option(None, "A job id for the queue entry.")
    tenantid: bytes | None = option(None, "Whose mail it is: a name for policies of the queue.")
    priority: int | None = option(None, "1 goes before the other mail of its domain; none: the default.")
    quotas: Array | None = option(None, "Names of quotas that the entry counts for.")
    hold: bool = option(False, "Put the entry on hold.")
    delay: float = option(0.0, "Wait before the first attempt.", unit="seconds")

    def as_array(self) -> Array:
        given: list[tuple[str, Any]] = [(name, getattr(self, name)) for name in self.declared()]
        return Array.from_pairs(
            (name.encode(), float(value) if type(value) is int else value) for name, value in given if value is not None
        )


def queue(
    run: Run,
    function: str,
    message: bytes,
    envelope: tuple[bytes | Array, bytes | Array, bytes],
    options: QueueOptions | None,
) -> Array:
    """Put a message into the host's queue."""
    host = mailer(run, function)
    return run.wait(host.queue_mail(message, *envelope, (options or QueueOptions()).as_array()))


def send(
    run: Run, function: str, message: bytes, sender: bytes | Array, recipients: Array, server: bytes | Array
) -> Array:
    """Send a message at once."""
    return run.wait(mailer(run, function).send_mail(message, sender, recipients, server))


def mailer(run: Run, function: str) -> QueuesMail:
    if not isinstance(run.host, QueuesMail):
        raise ScriptError(f"{function}(): there is no mail queue here; scripts of a mail gateway have one")
    return run.host


@chapter.object("MIME")
class MIME(NativeObject):
    """Return an empty part or message under construction; its methods return it, so that calls can be chained.

    With the id of a part (stage data) it is that part of the received message, as GetMailMessage()->getByID() gives it.

    Limits: 1,000 headers and 1,000 parts of one part; 10,000 parts, 100 levels and 64 MiB in all.

    Example:
        $part = MIME()->setType("multipart/alternative")->setBoundary("b");
        $part->appendPart(MIME()->setBody("*Hello World*"));
        $part->appendPart(MIME()->setType("text/html")->setBody("<strong>Hello World</strong>"));
        echo length(MailMessage::String($part->toString())->getParts());  // expect: 2
    """

    builder: Builder

    def __new__(cls, run: Run, partid: bytes | None = None) -> Any:
        return super().__new__(cls) if partid is None else received_part(run, partid)

    def __init__(self, run: Run, partid: bytes | None = None) -> None:
        super().__init__()
        self.builder = Builder()

    def rendered(self) -> bytes:
        """As a part of another message."""
        return self.builder.part()

    @method("addHeader")
    def add_header(self, name: bytes, value: bytes, options: EncodeOptions | None = None) -> Object:
        """Add a header below those added before, and return the object.

        The value is bytes, taken as UTF-8 (or Latin-1 if it is not): words that are not ASCII are encoded by RFC 2047.
        No value can start another header. With a Content-Type, setType() has no effect; with a
        Content-Transfer-Encoding the body is taken as it is given.

        Example:
            $mime = MIME()->addHeader("Subject", "Hello")->setBody("Hello World");
            echo str_find($mime->toString(), "Subject: Hello");  // expect: 0
        """
        options = options or EncodeOptions()
        self.builder.add_field(name, encoded("MIME->addHeader", value, options), options.encode)
        return self

    @method("appendPart")
    def append_part(self, part: Object) -> Object:
        """Add a part (a MIME object, or a part of a message), and return the object.

        setType() has to say which multipart it is; the boundary is made. What a MIME object has when this one is
        written counts.

        Example:
            $mime = MIME()->setType("multipart/mixed")->appendPart(MIME()->setBody("Hello"));
            echo MailMessage::String($mime->toString())->getParts()[0]->getBody();  // expect: Hello
        """
        if len(self.builder.children) >= MAX_CHILDREN:
            raise ScriptError(f"MIME->appendPart(): more than {MAX_CHILDREN} parts")
        child = part.builder if isinstance(part, MIME) else part_bytes("MIME->appendPart", part)
        self.builder.children.append(child)
        return self

    @method("setBody")
    def set_body(self, body: bytes) -> Object:
        """Set the content, and return the object. It is written as base64, or as the preamble if there are parts.

        With a header Content-Transfer-Encoding it is taken as it is.

        Example:
            echo str_find(MIME()->setBody("Hello World")->toString(), "SGVsbG8gV29ybGQ=") > 0;  // expect: true
        """
        self.builder.content = body
        return self

    @method("setType")
    def set_type(self, type: bytes) -> Object:
        """Set the type of the Content-Type header, and return the object. Without it, it is text/plain.

        The charset of text types is utf-8, if the type says none.

        Example:
            $mime = MIME()->setType("text/html")->setBody("<p>Hello</p>");
            echo MailMessage::String($mime->toString())->getTypeParameter("charset");  // expect: utf-8
        """
        if not TYPE.match(type):
            raise ScriptError(f"MIME->setType(): parameter 1 (type): wanted type/subtype, got {shown(type)}")
        self.builder.type = type
        return self

    @method("setBoundary")
    def set_boundary(self, boundary: bytes) -> Object:
        """Set the boundary of a multipart (1 to 70 characters, RFC 2046), and return the object.

        Without it, a new one is made. Parts that have the boundary in them raise an error when the object is written.

        Example:
            $mime = MIME()->setType("multipart/mixed")->setBoundary("simple")->appendPart(MIME());
            echo MailMessage::String($mime->toString())->getTypeParameter("boundary");  // expect: simple
        """
        if not BOUNDARY.match(boundary):
            raise ScriptError("MIME->setBoundary(): parameter 1 (boundary): wanted 1 to 70 characters of RFC 2046's")
        self.builder.boundary = boundary
        return self

    @method("setDate")
    def set_date(self, run: Run, timestamp: float | None = None) -> Object:
        """Set the Date header to a time (seconds since 1970), now if none is given, and return the object.

        Example:
            $mime = MIME()->setDate(0);
            echo MailMessage::String($mime->toString())->getHeader("Date");  // expect: Thu, 01 Jan 1970 00:00:00 -0000
        """
        self.builder.set_date(now(run) if timestamp is None else timestamp)
        return self

    @method("setFileName")
    def set_file_name(self, filename: bytes) -> Object:
        """Set the file name (UTF-8) in Content-Disposition, and return the object.

        The disposition is attachment if setDisposition() says nothing else.

        Example:
            $mime = MIME()->setFileName("café.txt");
            echo MailMessage::String($mime->toString())->getFileName();  // expect: café.txt
        """
        self.builder.filename = filename
        return self

    @method("setDisposition")
    def set_disposition(self, type: bytes) -> Object:
        """Set the Content-Disposition, such as inline or attachment, and return the object.

        Example:
            $mime = MIME()->setDisposition("inline");
            echo MailMessage::String($mime->toString())->getHeader("Content-Disposition");  // expect: inline
        """
        if not TOKEN.match(type):
            raise ScriptError(f"MIME->setDisposition(): parameter 1 (type): wanted a word, got {shown(type)}")
        self.builder.disposition = type
        return self

    @method("signDKIM")
    def sign_dkim(
        self,
        run: Run,
        selector: bytes,
        domain: bytes,
        key: bytes | Resource | Object,
        options: SignOptions | None = None,
    ) -> Object:
        """Sign the message as it is now by DKIM (RFC 6376), put the signature on top, and return the object.

        `key` is the PEM text of an RSA private key or a key resource, for ed25519-sha256 also the Base64 of the key's
        32 bytes. What is changed afterwards is not signed. A message without a From header, and a key that does not do,
        raise an error.

        Example:
            $mime = MIME()->addHeader("From", "a@example.com")->setBody("Hello");
            $mime->signDKIM("mail", "example.com", File::read("dkim.pem") ?? "");
        """
        message = self.builder.message()
        field = sign(run, "MIME->signDKIM", message, selector, domain, key, options or SignOptions())
        self.builder.add_first(field)
        return self

    @method("toString")
    def to_string(self) -> bytes:
        """Return the message with CRLF line ends: the headers in the order in which they were added, then the others.

        MIME-Version is added. Over 64 MiB raises an error.

        Example:
            $lines = str_split(MIME()->addHeader("Subject", "Hello")->setBody("Hello World")->toString(), "\\r\\n");
            echo $lines[0];  // expect: Subject: Hello
            echo $lines[5];  // expect: SGVsbG8gV29ybGQ=
        """
        return self.builder.message()

    @method("toFile")
    def to_file(self) -> Object:
        """Return the message of toString() as a File in memory.

        Example:
            echo MIME()->addHeader("Subject", "Hello")->toFile()->readline();  // expect: Subject: Hello
        """
        return File.of(self.builder.message())

    @method("queue")
    def queue_message(
        self,
        run: Run,
        sender: bytes | Array,
        recipient: bytes | Array,
        transportid: bytes,
        options: QueueOptions | None = None,
    ) -> Array:
        """Put the message into the queue for one recipient, and return its ids: `transaction` and `queue`.

        Addresses are strings, or arrays of `localpart` and `domain`; an empty sender is the null sender. It is on disk
        when the function returns. Only scripts of a mail gateway can queue.

        Example:
            $message = MIME()->addHeader("Subject", "Hello")->setBody("Hi, how are you?");
            $message->queue("", ["localpart" => "info", "domain" => "example.com"], "outbound");
        """
        return queue(run, "MIME->queue", self.builder.message(), (sender, recipient, transportid), options)

    @method("send")
    def send_message(self, run: Run, sender: bytes | Array, recipients: Array, server: bytes | Array) -> Array:
        """Send the message to a server at once, and return its `result`, or the `error`.

        Sender and recipients are strings, or arrays of `localpart`, `domain` and `params`. `server` is an array of
        settings (`host` …), or a transport's id. Only scripts of a mail gateway can send.

        Example:
            $message = MIME()->addHeader("Subject", "Hello")->setBody("Hi, how are you?");
            $message->send("", ["info@example.com"], ["host" => "192.0.2.1"]);
        """
        return send(run, "MIME->send", self.builder.message(), sender, recipients, server)


def received_part(run: Run, partid: bytes) -> MIMEPart:
    """A part of the message that the run is about."""
    if not isinstance(run.host, HasMail):
        raise ScriptError("MIME(): there is no received message here; without an argument it is a new part")
    mail = run.host.mail
    part = find_part(mail.split(run.tick), partid)
    if part is None:
        raise ScriptError("MIME(): parameter 1 (partid): the message has no part of this id")
    return MIMEPart(mail, part)


@chapter.object("MailMessage", creatable=False)
class MailMessage(MIMEPart):
    """A message, and at the same time its outermost part: all methods of MIMEPart are its own too.

    Example:
        $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nHello");
        $mail->addHeader("X-Checked", "yes");
        echo $mail->toString() === "X-Checked: yes\\r\\nSubject: Hi\\r\\n\\r\\nHello";  // expect: true
    """

    def __init__(self, mail: MailModel) -> None:
        super().__init__(mail, mail.root)

    @classmethod
    def of_bytes(cls, data: bytes) -> MailMessage:
        return cls(MailModel(BytesBody(data)))

    @staticmethod
    @static_method("String")
    def from_string(data: bytes) -> Object | None:
        """Return the message that these bytes are. Any bytes are a message, if perhaps one without headers.

        Example:
            echo MailMessage::String("Subject: Hi\\r\\n\\r\\nHello")->getBody();  // expect: Hello
        """
        return MailMessage.of_bytes(data)

    @staticmethod
    @static_method("File")
    def from_file(run: Run, file: Object) -> Object | None:
        """Return the message that a File holds, from its current position on; none if it is closed or cannot be read.

        A file over 64 MiB raises an error.

        Example:
            echo MailMessage::File(File::String("Subject: Hi\\r\\n\\r\\n"))->getHeader("Subject");  // expect: Hi
        """
        if not isinstance(file, File):
            raise ScriptError("MailMessage::File(): parameter 1 (file): wanted File")
        if file.stream is None:
            return None
        try:
            return MailMessage.of_bytes(read_pieces(run, file.stream, None))
        except OSError:
            return None

    @method("reset")
    def undo_all(self) -> float:
        """Undo all edits of the message and its parts, and return how many there were.

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nHello");
            $mail->delHeader("Subject");
            echo $mail->reset();  // expect: 1
        """
        return float(self.mail.reset())

    @method("snapshot")
    def keep_state(self) -> float:
        """Keep the state of the message for restore(), and return its id. A message has at most 1,000 snapshots.

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nHello");
            $id = $mail->snapshot();
            $mail->delHeader("Subject");
            echo $mail->restore($id);  // expect: true
        """
        return float(self.mail.snapshot())

    @method("restore")
    def restore_state(self, id: int) -> bool:
        """Go back to the state of a snapshot, and return whether there is one of that id. Snapshots stay.

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nHello");
            echo $mail->restore(1);  // expect: false
        """
        return self.mail.restore(id)

    @method("modifyContent")
    def modify_content(self, start: int, count: int, data: bytes) -> Object:
        """Put data in the place of `count` bytes of the received message from the offset `start` on; return the object.

        Offsets are those of the message as it was received, whatever was edited since. An offset outside of it, and
        bytes that are replaced already, raise an error; 1,000 places can be replaced. In a header that is edited
        otherwise too, that edit counts.

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nHello");
            echo str_find($mail->modifyContent(15, 5, "Goodbye")->toString(), "Goodbye");  // expect: 15
        """
        self.mail.splice(start, count, data)
        return self

    @method("toFile")
    def to_file(self) -> Object:
        """Return the message as it would leave now, as a File. Later edits do not show in it.

        It is read from where the message lies, however large it is, and only while the message is there.

        Example:
            echo MailMessage::String("Subject: Hi\\r\\n\\r\\nHello")->toFile()->readline();  // expect: Subject: Hi
        """
        return File.over(open_version(self.mail.bare_version()))

    @method("toString")
    def to_string(self) -> bytes:
        """Return the message as it would leave now, byte for byte as it came but for the edits.

        Over 64 MiB raises an error.

        Example:
            echo length(MailMessage::String("Subject: Hi\\r\\n\\r\\nHello")->toString());  // expect: 20
        """
        return self.mail.current_bytes()

    @method("signDKIM")
    def sign_dkim(
        self,
        run: Run,
        selector: bytes,
        domain: bytes,
        key: bytes | Resource | Object,
        options: MailSignOptions | None = None,
    ) -> Object | bytes | None:
        """Sign the message as it would leave now by DKIM (RFC 6376), put the signature on top, and return the message.

        `key` is the PEM text of an RSA private key or a key resource, for ed25519-sha256 also the Base64 of the key's
        32 bytes. With `return_header` the value of the signature is returned instead, to be added with `encode` false.
        It is none for a message without a From header and for a key that does not do.

        Example:
            $mail = MailMessage::String("From: a@example.com\\r\\n\\r\\nHello");
            echo $mail->signDKIM("mail", "example.com", "no key");  // expect: none
        """
        options = options or MailSignOptions()
        try:
            field = sign(run, "MailMessage->signDKIM", self.mail.current_bytes(), selector, domain, key, options)
        except DKIMError:
            return None
        if options.return_header:
            return field.partition(b":")[2].strip()
        self.mail.add_raw(self.part, field)
        return self

    @method("verifyDKIM")
    def verify_dkim(self, run: Run, headerfield: bytes | None = None, options: VerifyOptions | None = None) -> Array:
        """Return whether the message's DKIM signatures stand (RFC 6376): an array per signature, from the top.

        Each has a `result`: pass, permerror or temperror, with errors an `error`, and the `tags` of the signature. With
        a header field (name and value as they came: DKIM-Signature or ARC-Message-Signature) it is one such array,
        about this field. At most 10 signatures are looked at; edits of the message count.

        Example:
            echo MailMessage::String("From: a@example.com\\r\\n\\r\\nHello")->verifyDKIM();  // expect: []
        """
        options = options or VerifyOptions()
        message = self.mail.current_bytes()
        if headerfield is None:
            return verify_all(run, "MailMessage->verifyDKIM", message, options)
        return verify_field(run, "MailMessage->verifyDKIM", message, headerfield, options)

    @method("queue")
    def queue_message(
        self,
        run: Run,
        sender: bytes | Array,
        recipient: bytes | Array,
        transportid: bytes,
        options: QueueOptions | None = None,
    ) -> Array:
        """Put the message as it would leave now into the queue for one recipient; return `transaction` and `queue`.

        See MIME->queue(). Only scripts of a mail gateway can queue.

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nHello");
            $mail->queue("", ["localpart" => "info", "domain" => "example.com"], "outbound", ["delay" => 60]);
        """
        message = self.mail.current_bytes()
        return queue(run, "MailMessage->queue", message, (sender, recipient, transportid), options)

    @method("send")
    def send_message(self, run: Run, sender: bytes | Array, recipients: Array, server: bytes | Array) -> Array:
        """Send the message as it would leave now to a server, and return its `result`, or the `error`.

        See MIME->send(). Only scripts of a mail gateway can send.

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nHello");
            $mail->send("", ["info@example.com"], ["host" => "192.0.2.1"]);
        """
        return send(run, "MailMessage->send", self.mail.current_bytes(), sender, recipients, server)
