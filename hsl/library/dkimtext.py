"""DKIM for scripts: what signDKIM and verifyDKIM take and give, the keys, the questions for key records.

Comes in: a whole message as bytes, a script's options. Goes out: a header field, or the arrays of the reference.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from hsl import bridge
from hsl.builtins import Options, option
from hsl.errors import ScriptError
from hsl.library.dateandtime import now
from hsl.library.dkim import (
    DIGESTS,
    DOMAIN,
    MAX_INSTANCE,
    MIN_BITS,
    SIGNATURE,
    Message,
    Plan,
    Signature,
    Unverified,
    read_field,
    verify,
)
from hsl.library.dkim import sign as sign_message
from hsl.library.network import DNSAnswer
from hsl.mime.fields import Field
from hsl.values import Array, Function, Resource, Value, type_name

if TYPE_CHECKING:
    from hsl.library.dkim import PrivateKey
    from hsl.run import Run

MAX_SIGNATURES: Final = 10  # of one message that are verified
MAX_NAMES: Final = 1_000  # header names of a list
SECRET_SIZE: Final = 32  # bytes of an Ed25519 key as Base64 (RFC 8463)
HEADER: Final = re.compile(rb"[!-9<-~]{1,200}\Z")  # a field name (RFC 5322 section 3.6.8), but for `;`
PLAIN: Final = frozenset(b"!\"#$%&'()*+,-./0123456789:<>?@[\\]^_`{|}~").union(range(65, 91), range(97, 123))

# RFC 6376 section 5.4.1, RFC 4871 section 5.5 (which has more), RFC 8058 section 4
RECOMMENDED: Final = tuple(
    b"from sender reply-to subject date message-id to cc mime-version content-type content-transfer-encoding "
    b"content-id content-description resent-date resent-from resent-sender resent-to resent-cc resent-message-id "
    b"in-reply-to references list-id list-help list-unsubscribe list-unsubscribe-post list-subscribe list-post "
    b"list-owner list-archive".split()
)


class DKIMError(ScriptError):
    """A message that cannot be signed, or a key that cannot sign it: where the reference says none on error."""


class SignOptions(Options):
    """The options of MIME->signDKIM()."""

    canonicalization_header: bytes = option(b"relaxed", "`simple` or `relaxed`.")
    canonicalization_body: bytes = option(b"relaxed", "`simple` or `relaxed`.")
    algorithm: bytes = option(
        b"rsa-sha256", "`rsa-sha256`, `ed25519-sha256`, or `rsa-sha1`, which nobody should trust."
    )
    additional_headers: Array | None = option(None, "Names of headers to sign besides those that `headers` says.")
    oversign_headers: Array | None = option(
        None, "Names of headers of which no further one may be added; `from` by default."
    )
    timestamp: bool | float = option(False, "Add the tag `t`: true for now, or a number.", unit="seconds since 1970")
    expiration: float | None = option(None, "Add the tag `x`.", unit="seconds since 1970")
    expiration_relative: float | None = option(
        None, "Add the tag `x`, counted from the timestamp, or from now.", unit="seconds"
    )
    identity: bytes | None = option(None, "Add the tag `i`: an address of the domain or of one below it.")
    headers: Array | None = option(None, "Names of headers to sign, instead of those that the RFC recommends.")
    id: bool = option(False, "Not supported: the key has to be its text or a key resource, not `pki:X`.")


class MailSignOptions(SignOptions):
    """The options of MailMessage->signDKIM()."""

    return_header: bool = option(False, "Return the signature (the value of the header) instead of adding it.")
    arc: bool = option(
        False, "Make an ARC-Message-Signature; `identity` is then its instance, a number from 1 to 50 as a string."
    )


class VerifyOptions(Options):
    """The options of MailMessage->verifyDKIM()."""

    timeout: float = option(5.0, "How long each question to the DNS may take.", unit="seconds")
    dns_function: Function | None = option(
        None, "Called with the name of a key record; gives an array of `result` (a string) or `error`."
    )


class Signer(NamedTuple):
    """How a script, or a configuration, wants messages signed. `function` stands in what its mistakes are told by."""

    function: str
    selector: bytes
    domain: bytes
    key: Value
    options: SignOptions

    def field(self, message: bytes, now: float, pause: Callable[[], None] = lambda: None) -> bytes:
        """The complete header field `DKIM-Signature: …`, folded, with its final CRLF.

        Line ends of the message that are not CRLF are signed as CRLF, which they become on the wire. Raises DKIMError
        for a message or key that does not do, ScriptError for wrong options.
        """
        parsed = Message(message, pause)
        plan = self.plan(parsed, now)
        return sign_message(parsed, private_key(self.function, self.key, plan.algorithm), plan)

    def check(self, now: float) -> None:
        """Raises what signing a message with a From header would raise."""
        private_key(self.function, self.key, self.plan(Message(b"From: a@example.com\r\n\r\n"), now).algorithm)

    def plan(self, message: Message, now: float) -> Plan:
        function, options = self.function, self.options
        algorithm = options.algorithm.lower()
        if algorithm not in DIGESTS:
            raise ScriptError(f"{function}(): option algorithm: wanted rsa-sha256, ed25519-sha256 or rsa-sha1")
        instance = arc_instance(function, options) if getattr(options, "arc", False) else None
        if options.id:
            raise ScriptError(f"{function}(): option id: {NO_PROFILES}")
        tags = [
            (b"d", want_name(function, "parameter 2 (domain)", self.domain)),
            (b"s", want_name(function, "parameter 1 (selector)", self.selector)),
        ]
        tags += time_tags(function, options, now)
        if options.identity is not None and instance is None:
            tags.append((b"i", identity(function, options.identity, self.domain)))
        return Plan(
            algorithm=algorithm,
            relaxed_header=is_relaxed(function, "canonicalization_header", options.canonicalization_header),
            relaxed_body=is_relaxed(function, "canonicalization_body", options.canonicalization_body),
            names=signed_names(function, message, options),
            tags=tags,
            arc_instance=instance,
        )


def sign(
    run: Run, function: str, message: bytes, selector: bytes, domain: bytes, key: Value, options: SignOptions
) -> bytes:
    """The header field of a message's signature; others have their turns while a long one is hashed. See Signer."""
    return Signer(function, selector, domain, key, options).field(message, now(run), breather(run))


def breather(run: Run) -> Callable[[], None]:
    """What gives others their turn while a long message is hashed."""

    def breathe() -> None:
        if bridge.bridged():
            run.wait(run.shared.rest())

    return breathe


def is_relaxed(function: str, name: str, word: bytes) -> bool:
    if word not in (b"simple", b"relaxed"):
        raise ScriptError(f"{function}(): option {name}: wanted simple or relaxed")
    return word == b"relaxed"


def want_name(function: str, where: str, name: bytes) -> bytes:
    """A selector or domain, its UTF-8 labels encoded (RFC 8616)."""
    from hsl.library.dns import idna_encode

    encoded = name if name.isascii() else idna_encode(name)
    if encoded is None or not DOMAIN.match(encoded):
        raise ScriptError(f"{function}(): {where}: wanted a domain name")
    return encoded


def arc_instance(function: str, options: SignOptions) -> int:
    given = options.identity or b""
    if not re.match(rb"[1-9]\d?\Z", given) or int(given) > MAX_INSTANCE:
        raise ScriptError(f"{function}(): option identity: wanted the instance of ARC, 1 to {MAX_INSTANCE}")
    return int(given)


def time_tags(function: str, options: SignOptions, current: float) -> list[tuple[bytes, bytes]]:
    """`t=` and `x=`."""
    tags: list[tuple[bytes, bytes]] = []
    created = current
    if not isinstance(options.timestamp, bool):
        created = want_time(function, "timestamp", options.timestamp)
    if options.timestamp is not False:
        tags.append((b"t", b"%d" % created))
    expires = options.expiration
    if options.expiration_relative is not None:
        expires = created + want_time(function, "expiration_relative", options.expiration_relative)
    if expires is not None:
        if want_time(function, "expiration", expires) < int(created) + 1:
            raise ScriptError(f"{function}(): option expiration: wanted a time after the timestamp")
        tags.append((b"x", b"%d" % expires))
    return tags


def want_time(function: str, name: str, seconds: float) -> float:
    if not 0 <= seconds < 1e12:
        raise ScriptError(f"{function}(): option {name}: wanted seconds, got {seconds:g}")
    return seconds


def identity(function: str, given: bytes, domain: bytes) -> bytes:
    """`i=`, its local part as DKIM-Quoted-Printable (RFC 6376 section 2.11)."""
    local, at, host = given.rpartition(b"@")
    if not at or not (host.lower() == domain.lower() or host.lower().endswith(b"." + domain.lower())):
        raise ScriptError(f"{function}(): option identity: wanted an address of the domain or of one below it")
    quoted = b"".join(b"%c" % byte if byte in PLAIN else b"=%02X" % byte for byte in local)
    return quoted + b"@" + want_name(function, "option identity", host)


def signed_names(function: str, message: Message, options: SignOptions) -> list[bytes]:
    """The names for `h=`: one for each field that is signed, and once more those that are oversigned."""
    extra = header_names(function, "additional_headers", options.additional_headers)
    closed = header_names(function, "oversign_headers", options.oversign_headers)
    if options.oversign_headers is None:
        closed = [b"from"]
    chosen = header_names(function, "headers", options.headers)
    wanted = {*(RECOMMENDED if options.headers is None else chosen), *extra, *closed}
    names = [field.name for field in message.fields if field.name in wanted]
    if b"from" not in names:
        what = "has no From header" if b"from" in wanted else "is to be signed without its From header"
        raise DKIMError(f"{function}(): the message {what} (RFC 6376 section 5.4)")
    return names + list(dict.fromkeys(closed))


def header_names(function: str, where: str, given: Array | None) -> list[bytes]:
    names = [] if given is None else given.values()
    found: list[bytes] = []
    for name in names:
        if not isinstance(name, bytes) or not HEADER.match(name):
            raise ScriptError(f"{function}(): option {where}: wanted names of headers")
        found.append(name.lower())
    if len(found) > MAX_NAMES:
        raise ScriptError(f"{function}(): option {where}: wanted at most {MAX_NAMES} names")
    return found


NO_PROFILES: Final = "keys of the product's configuration (pki:X) do not exist here; pass the key's PEM text"


def private_key(function: str, key: Value, algorithm: bytes) -> PrivateKey:
    """The key to sign with, of the algorithm's kind. Raises DKIMError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    wanted = "Ed25519" if algorithm.startswith(b"ed25519") else "RSA"
    if isinstance(key, bytes):
        if key.startswith(b"pki:"):
            raise ScriptError(f"{function}(): parameter 3 (key): {NO_PROFILES}")
        found = read_private_key(key)
    elif isinstance(key, Resource):
        found = getattr(key, "key", None)
    else:
        raise ScriptError(f"{function}(): parameter 3 (key): wanted resource or string, got {type_name(key)}")
    if isinstance(found, Ed25519PrivateKey) and wanted == "Ed25519":
        return found
    if isinstance(found, RSAPrivateKey) and wanted == "RSA":
        if found.key_size < MIN_BITS:
            raise DKIMError(f"{function}(): parameter 3 (key): the key has less than {MIN_BITS} bits (RFC 8301)")
        return found
    raise DKIMError(f"{function}(): parameter 3 (key): wanted an {wanted} private key")


@lru_cache(maxsize=32)
def read_private_key(text: bytes) -> object:
    """A key from its PEM text, or from the Base64 of an Ed25519 key's 32 bytes; None when it cannot be read.

    Kept, for scripts sign many messages with one key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        if b"-----BEGIN" in text:
            # A check of an RSA key's primes takes 27 ms; a wrong key gives a signature that does not verify.
            return load_pem_private_key(text, None, unsafe_skip_rsa_key_validation=True)
        secret = b64decode(text.strip(), validate=True)
        return Ed25519PrivateKey.from_private_bytes(secret) if len(secret) == SECRET_SIZE else None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


Finder = Callable[[bytes], bytes]


def verify_field(run: Run, function: str, message: bytes, headerfield: bytes, options: VerifyOptions) -> Array:
    """What verifyDKIM gives for one DKIM-Signature or ARC-Message-Signature field (name and value, unchanged).

    `result` is pass, permerror (which also says that message or signature was changed) or temperror; `error` says why;
    `tags` are the signature's, if it could be read.
    """
    field = read_field(headerfield)
    if field is None:
        return outcome("permerror", "this is no header field", None)
    return verify_parsed(Message(message, breather(run)), field, finder(run, function, options), now(run))


def verify_all(run: Run, function: str, message: bytes, options: VerifyOptions) -> Array:
    """The same for each DKIM-Signature of the message in order, at most MAX_SIGNATURES, as a list."""
    parsed = Message(message, breather(run))
    find = finder(run, function, options)
    return Array.of(verify_parsed(parsed, field, find, now(run)) for field in parsed.named(SIGNATURE)[:MAX_SIGNATURES])


def verify_parsed(message: Message, field: Field, find: Finder, current: float) -> Array:
    signature = None
    try:
        signature = Signature(field)
        verify(message, signature, find, current)
    except Unverified as error:
        result = "temperror" if error.result == "temperror" else "permerror"
        return outcome(result, str(error), signature)
    return outcome("pass", "", signature)


def outcome(result: str, error: str, signature: Signature | None) -> Array:
    entries: list[tuple[Value, Value]] = [(b"result", result.encode())]
    if error:
        entries.append((b"error", error.encode()))
    if signature is not None:
        entries.append((b"tags", tags_array(signature.tags)))
    return Array.from_pairs(entries)


def tags_array(tags: dict[bytes, bytes]) -> Array:
    return Array.from_pairs((name, value) for name, value in tags.items())


def finder(run: Run, function: str, options: VerifyOptions) -> Finder:
    """Where key records come from: the script's own function, or the DNS."""
    own = options.dns_function
    if own is not None:
        return lambda name: ask_script(run, function, own, name)
    return lambda name: ask_dns(run, function, name, options.timeout)


def ask_script(run: Run, function: str, own: Function, name: bytes) -> bytes:
    answer = own.call(run, [name])
    found, error = (answer.get(b"result"), answer.get(b"error")) if isinstance(answer, Array) else (None, None)
    if error in (b"permerror", b"temperror"):
        assert isinstance(error, bytes)
        raise Unverified(error.decode(), "the key record could not be had")
    if not isinstance(found, bytes):
        raise ScriptError(
            f"{function}(): option dns_function: wanted an array with a result (a string) or an error "
            "(permerror or temperror) from it"
        )
    return found


def ask_dns(run: Run, function: str, name: bytes, timeout: float) -> bytes:
    """The one key record at a name. Raises Unverified."""
    from hsl.library.dns import ask

    return key_record(run.wait(ask(run, function, name, b"txt", None, timeout)))


def key_record(answer: DNSAnswer) -> bytes:
    """The one key record of an answer. Raises Unverified."""
    if answer.status not in ("NOERROR", "NXDOMAIN", "FORMERR"):
        raise Unverified("temperror", f"the key record could not be had: {answer.status}")
    if not answer.records:
        raise Unverified("permerror", "there is no key record")
    keys = [record for record in answer.records if b"p=" in record] or answer.records
    if len(keys) > 1:
        raise Unverified("permerror", "there are several key records")
    return keys[0]
