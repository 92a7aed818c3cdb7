"""DKIM signatures (RFC 6376, 8301, 8463), and ARC's of messages (RFC 8617): whole messages in, fields and verdicts out.

The RSA and Ed25519 steps are cryptography's. Messages are hostile input: every step is linear in their length, and a
body is hashed in pieces, with a `pause` after each in which a host serves others.

dkimpy was tried: its relaxed body takes quadratic time (80 kB of spaces: 7.6 s), its RSA is Python.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from hsl.library.taglists import TagError, parse_tags, solid, without_value
from hsl.mime.coding import BREAK
from hsl.mime.fields import FIELD, Field

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    PrivateKey = RSAPrivateKey | Ed25519PrivateKey
    PublicKey = RSAPublicKey | Ed25519PublicKey

CHUNK: Final = 256 * 1024  # bytes of a body between two pauses
MANY: Final = 10_000  # fields between two pauses
MIN_BITS: Final = 1024  # of an RSA key (RFC 8301 section 3.2)
MAX_BITS: Final = 8192
MAX_INSTANCE: Final = 50  # of ARC (RFC 8617 section 4.2.1)
DIGESTS: Final = {b"rsa-sha1": "sha1", b"rsa-sha256": "sha256", b"ed25519-sha256": "sha256"}
SIGNATURE: Final = b"dkim-signature"
ARC: Final = b"arc-message-signature"

SPACES: Final = re.compile(rb"[ \t]{2,}+|\t")
CUT: Final = re.compile(rb"\n|(?=[^ \t\r\n])")  # behind a line, or before a visible character
DIGITS: Final = re.compile(rb"\d{1,15}\Z")
DOMAIN: Final = re.compile(rb"[A-Za-z0-9_\x80-\xff](?:[A-Za-z0-9_.\x80-\xff-]{0,251}[A-Za-z0-9_\x80-\xff])?\Z")


class Unverified(Exception):
    """A signature that does not stand. `result` is a word of RFC 8601: fail, permerror, temperror."""

    def __init__(self, result: str, reason: str) -> None:
        super().__init__(reason)
        self.result = result


class Message:
    """A message with CRLF as its line end everywhere, as it goes over the wire. Body digests are kept."""

    def __init__(self, data: bytes, pause: Callable[[], None] = lambda: None) -> None:
        if not data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r"):
            data = BREAK.sub(b"\r\n", data)
        self.fields, start = split_fields(data, pause)
        self.body = data[start:]
        self.pause = pause
        self.by_name: dict[bytes, list[Field]] = {}
        for field in self.fields:
            self.by_name.setdefault(field.name, []).append(field)
        self.digests: dict[tuple[str, bool, int | None], tuple[bytes, int]] = {}

    def named(self, name: bytes) -> list[Field]:
        return list(self.by_name.get(name, ()))

    def body_digest(self, algorithm: str, relaxed: bool, limit: int | None = None) -> tuple[bytes, int]:
        """The digest of the canonical body (of its first `limit` bytes), and how many bytes went into it."""
        import hashlib

        key = algorithm, relaxed, limit
        if key not in self.digests:
            digest = hashlib.new(algorithm, usedforsecurity=False)
            size = 0
            for piece in canonical_body(self.body, relaxed):
                piece = piece if limit is None else piece[: limit - size]
                digest.update(piece)
                size += len(piece)
                self.pause()
            self.digests[key] = digest.digest(), size
        return self.digests[key]

    def header_digest(self, algorithm: str, relaxed: bool, names: Sequence[bytes], signature: Field) -> bytes:
        """The digest of the named fields, each name's last field first, and of the signature without its `b=`.

        The signature itself is not one of the fields; a name without a (further) field counts for nothing.
        """
        import hashlib

        left = {name: self.named(name) for name in {*names, signature.name}}
        if signature in left[signature.name]:
            left[signature.name].remove(signature)
        digest = hashlib.new(algorithm, usedforsecurity=False)
        for name in names:
            if left[name]:
                digest.update(canonical_field(left[name].pop().raw, relaxed))
        digest.update(canonical_field(without_value(signature.raw, b"b"), relaxed).removesuffix(b"\r\n"))
        self.pause()
        return digest.digest()


def split_fields(data: bytes, pause: Callable[[], None] = lambda: None) -> tuple[list[Field], int]:
    """The header fields of a message, and where its body begins. What is neither field nor empty line ends them."""
    fields: list[Field] = []
    position = 0
    while match := FIELD.match(data, position):
        fields.append(Field(match[1].lower(), match[0]))
        position = match.end()
        if len(fields) % MANY == 0:
            pause()
    return fields, position + 2 * data.startswith(b"\r\n", position)


def read_field(text: bytes) -> Field | None:
    """One whole field, with or without its last line end."""
    text = BREAK.sub(b"\r\n", text).rstrip(b"\r\n") + b"\r\n"
    match = FIELD.fullmatch(text)
    return None if match is None else Field(match[1].lower(), text)


def canonical_field(raw: bytes, relaxed: bool) -> bytes:
    """A field by RFC 6376 section 3.4.1 (simple: as it is) or 3.4.2."""
    if not relaxed:
        return raw
    name, _, value = raw.partition(b":")
    value = SPACES.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")
    return name.rstrip(b" \t").lower() + b":" + value + b"\r\n"


def canonical_body(body: bytes, relaxed: bool) -> Iterator[bytes]:
    """A body by RFC 6376 section 3.4.3 (simple) or 3.4.4, in pieces."""
    body = body.rstrip(b" \t\r\n" if relaxed else b"\r\n")
    for piece in pieces(body):
        yield SPACES.sub(b" ", piece).replace(b" \r\n", b"\r\n") if relaxed else piece
    if body or not relaxed:
        yield b"\r\n"


def pieces(body: bytes) -> Iterator[bytes]:
    """A body cut where no line end and no row of spaces is."""
    start = 0
    while start < len(body):
        found = CUT.search(body, start + CHUNK)
        end = found.end() if found else len(body)
        yield body[start:end]
        start = end


class Signature:
    """A DKIM-Signature or ARC-Message-Signature field, read. Raises Unverified (permerror) for what is none."""

    def __init__(self, field: Field) -> None:
        if field.name not in (SIGNATURE, ARC):
            raise Unverified("permerror", "this is neither a DKIM-Signature nor an ARC-Message-Signature")
        self.field = field
        try:
            self.tags = parse_tags(field.raw.partition(b":")[2])
        except TagError as error:
            raise Unverified("permerror", f"the signature cannot be read: {error}") from None

    @property
    def domain(self) -> bytes:
        """`d=` in lower case, empty without it."""
        return solid(self.tags.get(b"d", b"")).lower()

    def read(self) -> None:
        """Check and read the tags. Raises Unverified (permerror)."""
        self.check_required()
        self.algorithm = solid(self.tags[b"a"]).lower()
        if self.algorithm not in DIGESTS:
            raise Unverified("permerror", "the algorithm is unknown")
        if self.algorithm == b"rsa-sha1":
            raise Unverified("permerror", "rsa-sha1 is not to be trusted (RFC 8301)")
        self.value = read_base64(self.tags[b"b"], "b=")
        self.body_digest = read_base64(self.tags[b"bh"], "bh=")
        self.selector = solid(self.tags[b"s"])
        if not DOMAIN.match(self.domain) or not DOMAIN.match(self.selector):
            raise Unverified("permerror", "d= or s= is no name")
        self.relaxed_header, self.relaxed_body = read_canonicalization(self.tags.get(b"c", b"simple"))
        self.names = [name.lower() for name in solid(self.tags[b"h"]).split(b":")]
        if b"from" not in self.names:
            raise Unverified("permerror", "the field From is not signed")
        self.limit = None if b"l" not in self.tags else self.number(b"l")
        self.check_identity()
        if b"dns/txt" not in solid(self.tags.get(b"q", b"dns/txt")).lower().split(b":"):
            raise Unverified("permerror", "the key is not to be had from the DNS")

    def check_required(self) -> None:
        arc = self.field.name == ARC
        for name in (b"i" if arc else b"v", b"a", b"b", b"bh", b"d", b"h", b"s"):
            if not self.tags.get(name):
                raise Unverified("permerror", f"the tag {name.decode()}= is missing")
        if not arc and self.tags[b"v"] != b"1":
            raise Unverified("permerror", "the version is not 1")

    def check_identity(self) -> None:
        if self.field.name == ARC:
            if not 1 <= self.number(b"i") <= MAX_INSTANCE:
                raise Unverified("permerror", "i= is no instance of ARC")
        elif not (self.agent == self.domain or self.agent.endswith(b"." + self.domain)):
            raise Unverified("permerror", "i= is not of the domain d=")

    @property
    def agent(self) -> bytes:
        """The domain of `i=`; without it, of `d=`."""
        identity = solid(self.tags.get(b"i", b"@" + self.domain))
        return identity.rpartition(b"@")[2].lower() if b"@" in identity else b""

    def number(self, name: bytes) -> int:
        if not DIGITS.match(self.tags[name]):
            raise Unverified("permerror", f"{name.decode()}= is no number")
        return int(self.tags[name])

    def check_time(self, now: float) -> None:
        """Raises Unverified (permerror) for a signature that has expired."""
        created = self.number(b"t") if b"t" in self.tags else None
        if b"x" not in self.tags:
            return
        expires = self.number(b"x")
        if created is not None and expires <= created:
            raise Unverified("permerror", "x= is not later than t=")
        if now > expires:
            raise Unverified("permerror", "the signature has expired")

    @property
    def key_name(self) -> bytes:
        """Where its key is in the DNS."""
        return self.selector + b"._domainkey." + self.domain


def verify(message: Message, signature: Signature, find_key: Callable[[bytes], bytes], now: float) -> None:
    """Returns if the signature stands. `find_key` gives the record at a name. Raises Unverified."""
    signature.read()
    signature.check_time(now)
    key = read_key(find_key(signature.key_name), signature)
    algorithm = DIGESTS[signature.algorithm]
    digest, size = message.body_digest(algorithm, signature.relaxed_body, signature.limit)
    if signature.limit is not None and size < signature.limit:
        raise Unverified("permerror", "l= is more than the body has")
    if digest != signature.body_digest:
        raise Unverified("fail", "the body was changed")
    digest = message.header_digest(algorithm, signature.relaxed_header, signature.names, signature.field)
    check_signature(key, signature.value, digest)


def check_signature(key: PublicKey, value: bytes, digest: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(value, digest)
        else:
            key.verify(value, digest, PKCS1v15(), Prehashed(SHA256()))
    except InvalidSignature:
        raise Unverified("fail", "the signature does not match the header and the key") from None


def read_key(record: bytes, signature: Signature) -> PublicKey:
    """The public key in a key record (RFC 6376 section 3.6.1) that is meant for this signature."""
    try:
        tags = parse_tags(record)
    except TagError as error:
        raise Unverified("permerror", f"the key record cannot be read: {error}") from None
    if b"v" in tags and (next(iter(tags)) != b"v" or tags[b"v"] != b"DKIM1"):
        raise Unverified("permerror", "the key record's version is not DKIM1")
    if b"p" not in tags:
        raise Unverified("permerror", "the key record has no key")
    if not tags[b"p"]:
        raise Unverified("permerror", "the key is revoked")
    kind, hashed = signature.algorithm.split(b"-")
    if solid(tags.get(b"k", b"rsa")).lower() != kind:
        raise Unverified("permerror", "the key is of another kind than the signature")
    if hashed not in solid(tags.get(b"h", hashed)).lower().split(b":"):
        raise Unverified("permerror", "the key record does not allow the hash algorithm")
    if not {b"*", b"email"}.intersection(solid(tags.get(b"s", b"*")).lower().split(b":")):
        raise Unverified("permerror", "the key is not for mail")
    strict = b"s" in solid(tags.get(b"t", b"")).lower().split(b":")
    if strict and signature.field.name == SIGNATURE and signature.agent != signature.domain:
        raise Unverified("permerror", "the key does not allow i= below the domain d=")
    return load_key(kind, read_base64(tags[b"p"], "p="))


def load_key(kind: bytes, data: bytes) -> PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = Ed25519PublicKey.from_public_bytes(data) if kind == b"ed25519" else load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise Unverified("permerror", "the key in the key record cannot be read") from None
    if isinstance(key, RSAPublicKey) and not MIN_BITS <= key.key_size <= MAX_BITS:
        raise Unverified("permerror", f"the key has {key.key_size} bits, wanted {MIN_BITS} to {MAX_BITS}")
    if not isinstance(key, RSAPublicKey | Ed25519PublicKey):
        raise Unverified("permerror", "the key is of another kind than the signature")
    return key


def read_base64(text: bytes, name: str) -> bytes:
    try:
        return b64decode(solid(text), validate=True)
    except ValueError:
        raise Unverified("permerror", f"{name} is not Base64") from None


def read_canonicalization(text: bytes) -> tuple[bool, bool]:
    """`c=`: whether header and body are relaxed."""
    header, _, body = solid(text).lower().partition(b"/")
    words = {b"simple": False, b"relaxed": True}
    body = body or b"simple"
    if header not in words or body not in words:
        raise Unverified("permerror", "c= is unknown")
    return words[header], words[body]


class Plan(NamedTuple):
    """How to sign. `names` may hold a name more often than there are fields, which forbids to add one."""

    algorithm: bytes
    relaxed_header: bool
    relaxed_body: bool
    names: Sequence[bytes]
    tags: Sequence[tuple[bytes, bytes]]  # between `c=` and `h=`: domain, selector, times, identity
    arc_instance: int | None = None


def sign(message: Message, key: PrivateKey, plan: Plan) -> bytes:
    """A signature's header field, folded, with its CRLF."""
    digest = DIGESTS[plan.algorithm]
    words = [b"relaxed" if relaxed else b"simple" for relaxed in (plan.relaxed_header, plan.relaxed_body)]
    body, _ = message.body_digest(digest, plan.relaxed_body)
    arc = plan.arc_instance is not None
    name = b"ARC-Message-Signature" if arc else b"DKIM-Signature"
    first = (b"i", b"%d" % plan.arc_instance) if plan.arc_instance is not None else (b"v", b"1")
    tags = [first, (b"a", plan.algorithm), (b"c", b"/".join(words)), *plan.tags]
    value = write_tags(name, tags, plan.names, b64encode(body))
    field = Field(name.lower(), value + b"\r\n")
    signature = make_signature(key, digest, message.header_digest(digest, plan.relaxed_header, plan.names, field))
    return value + fold(b64encode(signature), len(b" b=")) + b"\r\n"


def make_signature(key: PrivateKey, algorithm: str, digest: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256

    if isinstance(key, Ed25519PrivateKey):
        return key.sign(digest)
    return key.sign(digest, PKCS1v15(), Prehashed(SHA1() if algorithm == "sha1" else SHA256()))


WIDTH: Final = 76


def write_tags(name: bytes, tags: Sequence[tuple[bytes, bytes]], names: Sequence[bytes], digest: bytes) -> bytes:
    """The field up to `b=`: as many tags as fit on each line, then `h=`, `bh=` and `b=`, each on its own."""
    lines = [name + b":"]
    for part in (tag + b"=" + value + b";" for tag, value in tags):
        if len(lines[-1]) + 1 + len(part) > WIDTH:
            lines.append(b"")
        lines[-1] += b" " + part
    lines.append(b" h=")
    for index, item in enumerate(names):
        part = item + (b":" if index + 1 < len(names) else b";")
        if len(lines[-1]) + len(part) > WIDTH:
            lines.append(b" ")
        lines[-1] += part
    return b"\r\n".join([*lines, b" bh=" + digest + b";", b" b="])


def fold(text: bytes, lead: int) -> bytes:
    """Base64 over lines of WIDTH; the first has `lead` characters already."""
    first = WIDTH - lead
    lines = [text[:first], *(text[start : start + WIDTH - 1] for start in range(first, len(text), WIDTH - 1))]
    return b"\r\n ".join(lines)
