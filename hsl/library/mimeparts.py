"""Chapter "MIME", the class MIMEPart: a part of a message that was received, read and edited where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from hsl.builtins import Chapter, NativeObject, Options, method, option
from hsl.errors import ScriptError
from hsl.library.dateandtime import now
from hsl.library.regularexpression import pattern_of
from hsl.mime import parameters, words
from hsl.mime.coding import to_utf8
from hsl.mime.fields import BREAK, CONTROL, Field
from hsl.mime.mail import MailModel, places
from hsl.mime.tree import Part
from hsl.values import Array, Object, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hsl.regex import Pattern
    from hsl.run import Run

chapter = Chapter("MIME")

KINDS: Final = b"multipart/"


@runtime_checkable
class Renders(Protocol):
    """What can be put into a message as a part: the objects of MIME, MIMEPart and MailMessage."""

    def rendered(self) -> bytes: ...


def part_bytes(function: str, part: Object) -> bytes:
    if not isinstance(part, Renders):
        raise ScriptError(f"{function}(): parameter 1 (part): wanted MIME or MIMEPart, got {type_name(part)}")
    return part.rendered()


class HeaderOptions(Options):
    """The options of getHeader()."""

    index: int = option(0, "Which header of that name, from the top, starting at zero.")
    field: bool = option(False, "Return the whole field as it came: name, folding, encoded words.")


class HeadersOptions(Options):
    """The options of getHeaders()."""

    field: bool = option(False, "Return whole fields as they came: name, folding, encoded words.")


class EncodeOptions(Options):
    """The options of addHeader()."""

    encode: bool = option(True, "Fold the value at 78 characters; false keeps the line breaks that it has.")
    encoding: bytes = option(b"quoted-printable", "How words that are not ASCII are encoded; or base64.")


def encoded(function: str, value: bytes, options: EncodeOptions) -> bytes:
    """A header's value with its words encoded as the options want it. Raises ScriptError for an unknown encoding."""
    if options.encoding not in (b"quoted-printable", b"base64"):
        got = options.encoding[:40].decode("utf-8", "replace")
        raise ScriptError(f"{function}(): option encoding: wanted quoted-printable or base64, got {got}")
    if not options.encode or options.encoding == b"base64":
        return value  # encoded where the field is made
    return words.encode(BREAK.sub(b" ", CONTROL.sub(b"", value)), quoted=True)


class SetHeaderOptions(EncodeOptions):
    """The options of setHeader()."""

    index: int | None = option(None, "Overwrite only this header of that name, from the top, starting at zero.")


class DeleteHeaderOptions(Options):
    """The options of delHeader()."""

    index: int | None = option(None, "Delete only this header of that name, from the top, starting at zero.")


class BodyOptions(Options):
    """The options of getBody()."""

    decode: bool = option(True, "Decode the body by the Content-Transfer-Encoding header.")


class SetBodyOptions(Options):
    """The options of setBody()."""

    encode: bool = option(True, "Choose a transfer encoding and encode; false stores the body as it is given.")


class MultipartOptions(Options):
    """The options of prependPart() and appendPart()."""

    type: bytes = option(b"multipart/mixed", "The multipart type that the new part and this one stand in.")


def multipart_type(function: str, options: MultipartOptions) -> bytes:
    kind = parameters.parse_type(options.type).word
    if not kind.startswith(KINDS) or kind != options.type.lower():
        raise ScriptError(f"{function}(): option type: wanted multipart/…, got {shown(options.type)}")
    return kind


@chapter.object("MIMEPart", creatable=False)
class MIMEPart(NativeObject):
    """A part of a message: the message itself, or what getParts(), getByID() and the find functions return.

    What is read is always what was received: edits do not show in later calls of the get and find functions, but in
    toString(), toFile(), and the message that is queued. An edit changes nothing but what it is about; everything else
    stays as it came, byte for byte. An edit of a part that was removed or replaced changes nothing.

    Limits: a header of 1 MiB and 10,000 fields (more raises an error), 10,000 parts and 100 levels (what lies beyond is
    not split; getErrors() says so), 1,000 parts and 64 MiB put in.

    Example:
        $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nHello");
        echo $mail->getHeader("Subject");  // expect: Hi
    """

    def __init__(self, mail: MailModel, part: Part) -> None:
        super().__init__()
        self.mail = mail
        self.part = part
        self.kinds: list[parameters.Structured | None] = []  # the Content-Type, once it was read

    def rendered(self) -> bytes:
        """The part as it would leave now."""
        self.mail.read_head()
        return self.mail.render(self.part)

    def tree(self, run: Run) -> Part:
        """The part, once the message is split. Others get their turns meanwhile."""
        self.mail.split(run.tick)
        return self.part

    def of(self, part: Part) -> MIMEPart:
        return MIMEPart(self.mail, part)

    def structured(self, name: bytes, parse: Callable[[bytes], parameters.Structured]) -> parameters.Structured | None:
        """The first field of a name, parsed; None if there is none."""
        for field in self.mail.fields(self.part):
            if field.name == name:
                return parse(field.value)
        return None

    def content_type(self) -> parameters.Structured | None:
        if not self.kinds:
            self.kinds.append(self.structured(b"content-type", parameters.parse_type))
        return self.kinds[0]

    def filename(self) -> bytes | None:
        disposition = self.structured(b"content-disposition", parameters.parse_disposition)
        found = disposition.parameters.get(b"filename") if disposition else None
        if found is None and (kind := self.content_type()) is not None:
            found = kind.parameters.get(b"name")
        return found

    def text(self, field: Field) -> bytes:
        """A field's value as scripts see it: unfolded, decoded, UTF-8 in any case."""
        value = field.value
        if not value.isascii():
            kind = self.content_type()
            value = to_utf8(value, kind.parameters.get(b"charset") if kind else None)
        return words.decode(value)

    def matching(self, run: Run, pattern: Pattern, subject: Callable[[MIMEPart], bytes | None]) -> Array:
        """The parts below this one whose subject a pattern matches."""
        found: list[Object] = []
        for candidate in self.below(run):
            text = subject(candidate)
            if text is not None and pattern.matches(text):
                found.append(candidate)
        return Array.of(found)

    def below(self, run: Run) -> Iterator[MIMEPart]:
        """The parts below this one, at any depth. Others get their turns: each may have a header of 10,000 fields."""
        for part in self.tree(run).walk():
            run.give_turn()
            if part is not self.part:
                yield self.of(part)

    # What was received

    @method("getID")
    def get_id(self) -> bytes:
        """Return the part's id, for getByID().

        The message is `0`, its parts are `1`, `2` …, and those of part 2 are `2.1`, `2.2` …. A message inside a
        message (`message/rfc822`) is the first part of the part that holds it.

        Example:
            $parts = MIME()->setType("multipart/mixed")->appendPart(MIME()->setBody("Hi"));
            $mail = MailMessage::String($parts->toString());
            echo $mail->getID();  // expect: 0
            echo $mail->getParts()[0]->getID();  // expect: 1
        """
        return self.part.id

    @method("getSize")
    def get_size(self, run: Run) -> float:
        """Return the part's size in bytes as it was received: header and encoded body; of a message all of it.

        Example:
            echo MailMessage::String("Subject: Hi\\r\\n\\r\\nHello")->getSize();  // expect: 20
        """
        if self.part.parent is None:
            return float(self.mail.source.size)
        return float(self.part.end - self.part.start)

    @method("getFileName")
    def get_file_name(self) -> bytes | None:
        """Return the part's file name as UTF-8; none if it has none.

        It is the `filename` of Content-Disposition, or else the `name` of Content-Type, decoded by RFC 2231 and, as
        many senders write it, RFC 2047.

        Example:
            $mail = MailMessage::String("Content-Disposition: attachment; filename*=utf-8''caf%C3%A9.txt\\r\\n\\r\\n");
            echo $mail->getFileName();  // expect: café.txt
        """
        return self.filename()

    @method("getType")
    def get_type(self) -> bytes | None:
        """Return the type of the part's Content-Type, such as `text/plain`, in lower case.

        It is none if there is no such header, or no type in it.

        Example:
            $mail = MailMessage::String("Content-Type: Text/HTML; charset=utf-8\\r\\n\\r\\n<p>Hi</p>");
            echo $mail->getType();  // expect: text/html
        """
        kind = self.content_type()
        return kind.word or None if kind else None

    @method("getTypeParameter")
    def get_type_parameter(self, name: bytes) -> bytes | None:
        """Return a parameter of the part's Content-Type as UTF-8; none if there is none. The name is in any case.

        Example:
            $mail = MailMessage::String("Content-Type: text/html; charset=utf-8\\r\\n\\r\\n<p>Hi</p>");
            echo $mail->getTypeParameter("Charset");  // expect: utf-8
        """
        kind = self.content_type()
        return kind.parameters.get(name.lower()) if kind else None

    @method("getHeader")
    def get_header(self, name: bytes, options: HeaderOptions | None = None) -> bytes | None:
        """Return the value of a header as UTF-8; none if there is none. The name is in any case.

        The value is unfolded, its encoded words (RFC 2047) are decoded. Bytes over 127 that are not UTF-8 are read in
        the part's charset, or else as Windows-1252.

        Example:
            $mail = MailMessage::String("Subject: =?utf-8?Q?caf=C3=A9?=\\r\\n\\r\\n");
            echo $mail->getHeader("subject");  // expect: café
            echo $mail->getHeader("subject", ["field" => true]);  // expect: Subject: =?utf-8?Q?caf=C3=A9?=
        """
        options = options or HeaderOptions()
        fields = self.mail.fields(self.part)
        for place in places(fields, name, options.index):
            return bare(fields[place]) if options.field else self.text(fields[place])
        return None

    @method("getHeaders")
    def get_headers(self, name: bytes, options: HeadersOptions | None = None) -> Array:
        """Return the values of all headers of a name, from the top; an empty array if there are none.

        They are decoded as those of getHeader().

        Example:
            $mail = MailMessage::String("Received: one\\r\\nReceived: two\\r\\n\\r\\n");
            echo $mail->getHeaders("Received");  // expect: [0=>"one",1=>"two"]
        """
        whole = options is not None and options.field
        wanted = name.lower()
        fields = (field for field in self.mail.fields(self.part) if field.name == wanted)
        return Array.of(bare(field) if whole else self.text(field) for field in fields)

    @method("getHeaderNames")
    def get_header_names(self) -> Array:
        """Return the names of all headers in lower case, from the top, each as often as it is there.

        Example:
            $mail = MailMessage::String("From: a\\r\\nTo: b\\r\\n\\r\\n");
            echo $mail->getHeaderNames();  // expect: [0=>"from",1=>"to"]
        """
        return Array.of(field.name for field in self.mail.fields(self.part))

    @method("getBody")
    def get_body(self, run: Run, options: BodyOptions | None = None) -> bytes | None:
        """Return the content of the part, decoded by its Content-Transfer-Encoding.

        The charset is not converted (see Iconv). base64 passes over what is not of its alphabet; an unknown encoding
        leaves the content as it is. The body of a multipart, or of a part that holds a message, is the text that it
        consists of. A body over 64 MiB raises an error.

        Example:
            $mail = MailMessage::String("Content-Transfer-Encoding: base64\\r\\n\\r\\nSGVsbG8=\\r\\n");
            echo $mail->getBody();  // expect: Hello
        """
        return self.mail.content(self.tree(run), options is None or options.decode)

    @method("getPreamble")
    def get_preamble(self, run: Run) -> bytes | None:
        """Return the text before the first part of a multipart, as it came; none if there are no parts.

        Example:
            $parts = MIME()->setType("multipart/mixed")->setBody("first")->appendPart(MIME()->setBody("Hi"));
            $mail = MailMessage::String($parts->toString());
            echo $mail->getPreamble();  // expect: first
        """
        return self.mail.preamble(self.tree(run))

    @method("getEpilogue")
    def get_epilogue(self, run: Run) -> bytes | None:
        """Return the text behind the last part of a multipart, as it came; none if its end is missing.

        Example:
            $parts = MIME()->setType("multipart/mixed")->appendPart(MIME()->setBody("Hi"));
            $mail = MailMessage::String($parts->toString() . "last");
            echo $mail->getEpilogue();  // expect: last
        """
        return self.mail.epilogue(self.tree(run))

    @method("getParts")
    def get_parts(self, run: Run) -> Array:
        """Return the parts of a multipart, or the message in a `message/rfc822`; an empty array if there are none.

        Example:
            $parts = MIME()->setType("multipart/mixed")->appendPart(MIME()->setBody("Hi"));
            $mail = MailMessage::String($parts->toString());
            foreach ($mail->getParts() as $part)
                echo $part->getBody();  // expect: Hi
        """
        return Array.of(self.of(child) for child in self.tree(run).children)

    @method("getByID")
    def get_by_id(self, run: Run, id: bytes) -> Object | None:
        """Return the part of an id (see getID()), in this part or below it; none if there is none.

        Example:
            $parts = MIME()->setType("multipart/mixed")->appendPart(MIME()->setBody("Hi"));
            $mail = MailMessage::String($parts->toString());
            echo $mail->getByID("1")->getBody();  // expect: Hi
            echo $mail->getByID("2");  // expect: none
        """
        found = find_part(self.mail.split(run.tick), id)
        above = found
        while above is not None and above is not self.part:
            above = above.parent
        return None if above is None or found is None else self.of(found)

    @method("findByType")
    def find_by_type(self, run: Run, type: bytes | Object) -> Array:
        """Return the parts below this one, at any depth, whose type (see getType()) a regular expression matches.

        Example:
            $parts = MIME()->setType("multipart/mixed")->appendPart(MIME()->setBody("Hi"));
            $mail = MailMessage::String($parts->toString());
            echo length($mail->findByType("^image/"));  // expect: 0
        """
        return self.matching(run, pattern_of("MIMEPart->findByType", 1, type), MIMEPart.get_type)

    @method("findByFileName")
    def find_by_file_name(self, run: Run, filename: bytes | Object) -> Array:
        """Return the parts below this one, at any depth, whose file name a regular expression matches.

        Example:
            $mail = MailMessage::String("Subject: no parts\\r\\n\\r\\n");
            echo $mail->findByFileName("/\\\\.exe$/i");  // expect: []
        """
        return self.matching(run, pattern_of("MIMEPart->findByFileName", 1, filename), MIMEPart.filename)

    @method("getErrors")
    def get_errors(self, run: Run) -> Array:
        """Return what is wrong with the structure of this part and of those below it, as texts with the part's id.

        Such as: a missing boundary, a multipart without its end, a limit that was reached. An empty array means that
        all is well.

        Example:
            $mail = MailMessage::String("Content-Type: multipart/mixed\\r\\n\\r\\nHi");
            echo $mail->getErrors()[0];  // expect: 0: a multipart without a boundary
        """
        return Array.of(part.id + b": " + text.encode() for part in self.tree(run).walk() for text in part.errors)

    # Edits

    @method("setHeader")
    def set_header(self, name: bytes, value: bytes, options: SetHeaderOptions | None = None) -> float:
        """Overwrite all headers of a name, or add one on top, and return the number of headers written.

        With `index` only that header is overwritten, and none is added. The value is bytes, taken as UTF-8 (or Latin-1
        if it is not): words that are not ASCII are encoded by RFC 2047. No value can start another header.

        Example:
            $mail = MailMessage::String("Subject: one\\r\\n\\r\\n");
            echo $mail->setHeader("Subject", "two");  // expect: 1
            echo str_find($mail->toString(), "Subject: two");  // expect: 0
        """
        options = options or SetHeaderOptions()
        value = encoded("MIMEPart->setHeader", value, options)
        return float(self.mail.set_field(self.part, name, value, options.encode, options.index))

    @method("addHeader")
    def add_header(self, name: bytes, value: bytes, options: EncodeOptions | None = None) -> None:
        """Add a header on top. The value is encoded as that of setHeader().

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\n");
            $mail->addHeader("X-Spam", "no");
            echo str_find($mail->toString(), "X-Spam: no");  // expect: 0
        """
        options = options or EncodeOptions()
        self.mail.add_field(self.part, name, encoded("MIMEPart->addHeader", value, options), options.encode)

    @method("delHeader")
    def del_header(self, name: bytes, options: DeleteHeaderOptions | None = None) -> float:
        """Delete all headers of a name, or only that of `index`, and return how many were deleted.

        Example:
            $mail = MailMessage::String("X-A: 1\\r\\nX-A: 2\\r\\n\\r\\n");
            echo $mail->delHeader("x-a", ["index" => 0]);  // expect: 1
            echo str_find($mail->toString(), "X-A: 2");  // expect: 0
        """
        return float(self.mail.delete_field(self.part, name, None if options is None else options.index))

    @method("renameHeader")
    def rename_header(self, name: bytes, newname: bytes) -> float:
        """Give all headers of a name another name, and return how many were renamed. Their values stay as they came.

        Example:
            $mail = MailMessage::String("Subject:  =?utf-8?Q?Hi?=\\r\\n\\r\\n");
            echo $mail->renameHeader("Subject", "X-Subject");  // expect: 1
            echo str_find($mail->toString(), "X-Subject:  =?utf-8?Q?Hi?=");  // expect: 0
        """
        return float(self.mail.rename_field(self.part, name, newname))

    @method("setDateLater")
    def set_date_later(self, run: Run) -> float:
        """Have the Date header set to the time at which the message is written out, and return how many there will be.

        It is written out by toString(), toFile(), a signature, and when it is queued or sent.

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\n");
            echo $mail->setDateLater();  // expect: 1
        """
        return float(self.mail.set_date_later(self.part, lambda: now(run)))

    @method("setBody")
    def set_body(self, run: Run, data: bytes, options: SetBodyOptions | None = None) -> Object | None:
        """Give the part another content, and return the part; none if it is over 1 MiB, or if the part has parts.

        The most readable of 7bit, quoted-printable and base64 that keeps the content is used, and the header
        Content-Transfer-Encoding says so. Line ends of a text part become those of the message.

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nold");
            $mail->setBody("new");
            echo $mail->toString() === "Subject: Hi\\r\\n\\r\\nnew";  // expect: true
        """
        encode = options is None or options.encode
        return self if self.mail.set_content(self.tree(run), data, encode) else None

    @method("setPreamble")
    def set_preamble(self, run: Run, data: bytes) -> Object | None:
        """Set the text before the first part of a multipart, and return the part; none if there are no parts.

        It is none, too, for a text that has the boundary in it.

        Example:
            $parts = MIME()->setType("multipart/mixed")->appendPart(MIME()->setBody("Hi"));
            $mail = MailMessage::String($parts->toString());
            $mail->setPreamble("This message has several parts.");
        """
        return self if self.mail.set_preamble(self.tree(run), data) else None

    @method("setEpilogue")
    def set_epilogue(self, run: Run, data: bytes) -> Object | None:
        """Set the text behind the last part of a multipart, and return the part; none if its end is missing.

        It is none, too, for a text that has the boundary of a part around it in it.

        Example:
            $parts = MIME()->setType("multipart/mixed")->appendPart(MIME()->setBody("Hi"));
            $mail = MailMessage::String($parts->toString());
            $mail->setEpilogue("");
        """
        return self if self.mail.set_epilogue(self.tree(run), data) else None

    @method("prependPart")
    def prepend_part(self, run: Run, part: Object, options: MultipartOptions | None = None) -> Object | None:
        """Add a part (a MIME object, or a part of a message) before this one, and return this one.

        If this part stands in a multipart of the `type` asked for, the new part goes there; if it is one, it becomes
        its first part. Else a new multipart is put around both; a message then keeps its header, but for what
        describes its content.

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nHello");
            $mail->prependPart(MIME()->setBody("Be careful."));
        """
        return self.put(run, "prependPart", part, options, after=False)

    @method("appendPart")
    def append_part(self, run: Run, part: Object, options: MultipartOptions | None = None) -> Object | None:
        """Add a part (a MIME object, or a part of a message) after this one, and return this one.

        Where it goes: see prependPart(). Several parts that are appended stand in the order of the calls.

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nHello");
            $mail->appendPart(MIME()->setType("text/plain")->setBody("A footer"));
            echo length(MailMessage::String($mail->toString())->getParts());  // expect: 2
        """
        return self.put(run, "appendPart", part, options, after=True)

    def put(self, run: Run, name: str, part: Object, options: MultipartOptions | None, *, after: bool) -> Object:
        function = f"{self.class_name}->{name}"
        kind = multipart_type(function, options or MultipartOptions())
        self.mail.insert(self.tree(run), part_bytes(function, part), kind, after=after)
        return self

    @method("replacePart")
    def replace_part(self, run: Run, part: Object) -> None:
        """Put another part (a MIME object, or a part of a message) in the place of this one.

        A message keeps its header, but for what describes its content and the headers that the new part has.

        Example:
            $mail = MailMessage::String("Subject: Hi\\r\\n\\r\\nHello");
            $mail->replacePart(MIME()->setType("text/html")->setBody("<p>Hello</p>"));
            echo MailMessage::String($mail->toString())->getBody();  // expect: <p>Hello</p>
        """
        self.mail.replace_part(self.tree(run), part_bytes(f"{self.class_name}->replacePart", part))

    @method("remove")
    def remove_part(self, run: Run) -> None:
        """Remove this part from the message. The message itself cannot be removed: that raises an error.

        A multipart whose last part is removed gets an empty one.

        Example:
            $parts = MIME()->setType("multipart/mixed")->appendPart(MIME()->setBody("Hi"));
            $mail = MailMessage::String($parts->toString());
            foreach ($mail->findByFileName("/\\\\.exe$/i") as $part)
                $part->remove();
        """
        self.mail.remove(self.tree(run))


def shown(text: bytes) -> str:
    """A script's text for an error message."""
    return repr(text[:100].decode("utf-8", "replace"))


def bare(field: Field) -> bytes:
    """A field as it came, without its last line break."""
    return field.raw.removesuffix(b"\n").removesuffix(b"\r")


def find_part(root: Part, id: bytes) -> Part | None:
    """The part of an id, found by its numbers."""
    part = root
    if id == root.id:
        return root
    for number in id.split(b"."):
        index = int(number) - 1 if number.isdigit() and len(number) < 9 else -1
        if not 0 <= index < len(part.children):
            return None
        part = part.children[index]
    return part if part.id == id else None
