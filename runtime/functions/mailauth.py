"""DKIM and DMARC at the end of data: a message and its envelope in, words for its author's domain and signers out.

Reference 2015 "DATA" (DKIM), 2019 "Per recipient" (DKIM).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.library import dkim
from hsl.library.dateandtime import now
from hsl.library.dkim import SIGNATURE, Signature, Unverified, verify
from hsl.library.dkimtext import MAX_SIGNATURES, SignOptions, breather, key_record, sign
from hsl.library.dmarc import NoAnswer, Policies, Record, author_domain, to_ascii
from hsl.library.mailauth import Questions, check_spf
from hsl.library.taglists import TagError, parse_tags
from hsl.run import Run
from hsl.runtime.context import DataContext, MessageContext, string
from hsl.runtime.data import Act, Destination, MessageState, make_entry
from hsl.runtime.functions.arguments import MESSAGE_STAGES, host
from hsl.runtime.message import Field, Version
from hsl.runtime.verdict import Verdict, VerdictReached
from hsl.values import Array, Value

chapter = Chapter("DKIM", stages=MESSAGE_STAGES)

BEST_FIRST = ("pass", "temperror", "fail", "permerror", "none")
MAX_LIMIT = 100  # signatures that DKIMSDID() may be told to verify
ADSP = {b"unknown": "unknown", b"all": "fail", b"discardable": "discard"}


class DMARCOptions(Options):
    """The options of ScanDMARC()."""

    ip: bytes | None = option(None, "The client's address for SPF, instead of the real one.")
    helo: bytes | None = option(None, "Its HELO name for SPF.")
    domain: bytes | None = option(None, "The sender's domain for SPF.")


@chapter.function("ScanDMARC")
def scan_dmarc(run: Run, options: DMARCOptions | None = None) -> Array | bytes:
    """Return what the domain in the From header asks to do with the message, by DMARC (RFC 9989), as [domain => word].

    - `pass`: SPF or DKIM passed for the domain, or for one of the same organization
    - `none`, `quarantine`, `reject`: neither passed, and this is the domain's policy (of a test, `t=y`, one step less)
    - `policy_absent`: the domain has no policy
    - `temperror`: the DNS did not answer

    Without exactly one domain in the From header the result is the string `permerror`. At most 10 signatures are looked
    at, and all questions to the DNS take 20 seconds at most. The message is taken as it is now, edits included.

    Example:
        $dmarc = ScanDMARC();
        if (is_array($dmarc) and array_includes("reject", $dmarc)) Reject("DMARC");
    """
    options = options or DMARCOptions()
    state = host(run, MessageContext).state
    check = DMARCCheck(run, state, options)
    author = author_domain(check.message)
    if author is None:
        return b"permerror"
    return Array.from_pairs([(author.encode(), check.result(author).encode())])


class DMARCCheck:
    """One evaluation of DMARC."""

    def __init__(self, run: Run, state: MessageState, options: DMARCOptions) -> None:
        self.ip = string(state.senderip) if options.ip is None else options.ip
        self.helo = state.senderhelo if options.helo is None else options.helo
        self.sender = b"" if not state.sender.domain else state.sender.path
        if options.domain is not None:
            self.sender = options.domain
        self.message = read_message(run, state)
        self.questions = Questions(run, "ScanDMARC")
        self.policies = Policies(self.questions.ask)
        self.time = now(run)

    def result(self, author: str) -> str:
        try:
            record = self.policies.applied(author)
            if record is None:
                return "policy_absent"
            return self.judge(author, record)
        except NoAnswer:
            return "temperror"

    def judge(self, author: str, record: Record) -> str:
        """pass as soon as anything passes; else what was in doubt; else the policy."""
        doubt = False
        for word in self.words(author, record):
            if word == "pass":
                return word
            doubt = doubt or word == "temperror"
        return "temperror" if doubt else self.policies.policy(record, author)

    def words(self, author: str, record: Record) -> Iterator[str]:
        """SPF's result, then each signature's; of domains that do not speak for the author's, none."""
        domain = (self.sender or self.helo).rpartition(b"@")[2]
        if (doubt := self.apart(author, domain, record.strict("aspf"))) is not None:
            yield doubt
        else:
            yield check_spf(self.questions, self.ip, self.helo, self.sender)
        for field in self.message.named(SIGNATURE)[:MAX_SIGNATURES]:
            try:
                domain = Signature(field).domain
            except Unverified:
                continue
            doubt = self.apart(author, domain, record.strict("adkim"))
            yield signature_word(self.message, field, self.questions, self.time) if doubt is None else doubt

    def apart(self, author: str, domain: bytes, strict: bool) -> str | None:
        """Why a domain does not count: `none` if it is not aligned, `temperror` if that is unknown; None if it does."""
        name = to_ascii(domain)
        try:
            return None if name is not None and self.policies.aligned(author, name, strict) else "none"
        except NoAnswer:
            return "temperror"


def read_message(run: Run, state: MessageState) -> dkim.Message:
    """The message as it is now."""
    return dkim.Message(b"".join(state.message.version().chunks()), breather(run))


def signature_word(message: dkim.Message, field: Field, questions: Questions, time: float) -> str:
    """What is to be said of a signature (RFC 8601 section 2.7.1): pass, fail, permerror, temperror."""

    def find_key(name: bytes) -> bytes:
        return key_record(questions.ask(name.decode("utf-8", "surrogateescape"), "TXT"))

    try:
        verify(message, Signature(field), find_key, time)
    except Unverified as error:
        return error.result
    return "pass"


class SDIDOptions(Options):
    """The options of DKIMSDID()."""

    signature_limit: int = option(5, f"How many signatures are verified, at most {MAX_LIMIT}.")


@chapter.function("DKIMSDID")
def dkim_sdid(run: Run, explicitdomains: Array | None = None, options: SDIDOptions | None = None) -> Array:
    """Return the domains that signed the message (SDID, `d=`) and how it went, as [domain => word].

    The words are those of RFC 8601: pass, fail (message or signature was changed), permerror (it cannot be verified),
    temperror (the DNS did not answer); of several signatures of a domain the best. With a list of domains only theirs
    are verified; `none` is for those that did not sign.

    Example:
        if (DKIMSDID(["example.com"])["example.com"] == "pass") AddHeader("X-Signed-By", "example.com");
    """
    limit = (options or SDIDOptions()).signature_limit
    if not 0 <= limit <= MAX_LIMIT:
        raise ScriptError(f"DKIMSDID(): option signature_limit: wanted 0 to {MAX_LIMIT}, got {limit}")
    found: dict[bytes, str] = {}
    for domain in explicitdomains.values() if explicitdomains is not None else ():
        if not isinstance(domain, bytes):
            raise ScriptError("DKIMSDID(): parameter 1 (explicitdomains): wanted strings")
        found[domain.lower()] = "none"
    explicit = bool(found)
    message = read_message(run, host(run, MessageContext).state)
    questions = Questions(run, "DKIMSDID")
    for field in message.named(SIGNATURE):
        domain = signer(field)
        if not domain or (explicit and domain not in found):
            continue
        if limit <= 0:
            break
        limit -= 1
        word = signature_word(message, field, questions, now(run))
        found[domain] = min(word, found.get(domain, "none"), key=BEST_FIRST.index)
    return Array.from_pairs((domain, word.encode()) for domain, word in found.items())


def signer(field: Field) -> bytes:
    """The domain of a signature, empty when it cannot be read."""
    try:
        return Signature(field).domain
    except Unverified:
        return b""


@chapter.function("DKIMADSP")
def dkim_adsp(run: Run) -> Array:
    """Return what the domain in the From header says of unsigned mail, by ADSP (RFC 5617), as [domain => word].

    - `none`: it says nothing
    - `pass`: the message has a valid signature of the domain itself
    - `unknown`, `fail`, `discard`: it has none, and the domain says `unknown`, `all`, `discardable`
    - `nxdomain`: the domain does not exist
    - `temperror`: the DNS did not answer
    - `permerror`: the answer cannot be used

    Without exactly one domain in the From header the array is empty. ADSP is historic since 2013: use ScanDMARC().

    Example:
        $discard = array_includes("discard", DKIMADSP());
    """
    message = read_message(run, host(run, MessageContext).state)
    author = author_domain(message)
    if author is None:
        return Array()
    return Array.from_pairs([(author.encode(), adsp_word(run, message, author).encode())])


def adsp_word(run: Run, message: dkim.Message, author: str) -> str:
    questions = Questions(run, "DKIMADSP")
    own = [field for field in message.named(SIGNATURE) if signer(field) == author.encode()]
    for field in own[:MAX_SIGNATURES]:
        if signature_word(message, field, questions, now(run)) == "pass":
            return "pass"
    exists = questions.ask(author, "MX").status
    if exists == "NXDOMAIN":
        return "nxdomain"
    practices = questions.ask(f"_adsp._domainkey.{author}", "TXT")
    for status in (exists, practices.status):
        if status not in ("NOERROR", "NXDOMAIN"):
            return "permerror" if status == "FORMERR" else "temperror"
    return published(practices.records)


def published(records: tuple[bytes, ...]) -> str:
    """The practices in a domain's ADSP records (RFC 5617 section 4.2.1); a word unknown to it means `unknown`."""
    found = [record for record in records if record.lstrip().startswith(b"dkim")]
    if len(found) > 1:
        return "permerror"
    try:
        tags = parse_tags(found[0]) if found else {}
    except TagError:
        return "none"
    return ADSP.get(tags[b"dkim"], "unknown") if b"dkim" in tags else "none"


class DeliverOptions(Options):
    """The options of DeliverWithDKIM()."""

    canonicalization_header: bytes = option(b"simple", "`simple` or `relaxed`.")
    canonicalization_body: bytes = option(b"simple", "`simple` or `relaxed`.")
    algorithm: bytes = option(b"sha256", "`sha256`, or `sha1`, which nobody should trust.")
    additional_headers: Array | None = option(None, "Names of headers to sign besides those that `headers` says.")
    headers: Array | None = option(None, "Names of headers to sign, instead of those that the RFC recommends.")
    discard_changes: bool = option(False, "Sign and deliver the message as it was received, without any edit.")


@chapter.function("DeliverWithDKIM", stages=["data"], halts=True)
def deliver_with_dkim(
    run: Run, selector: bytes, domain: bytes, key: Value, options: DeliverOptions | None = None
) -> NoReturn:
    """Sign the message by DKIM (RFC 6376), queue it for this recipient, and answer 250.

    `key` is an RSA private key: its PEM text, or a key resource. The signature is in this recipient's message only. The
    From header is always signed, and no further one can be added without breaking the signature.

    Raises an error for a message without a From header, and for a key that cannot be read (the product's `pki:X` too).

    Example:
        DeliverWithDKIM("mail", "example.com", file_get_contents("dkim.pem"), ["canonicalization_header" => "relaxed"]);
    """
    options = options or DeliverOptions()
    context = host(run, DataContext)
    if options.algorithm not in (b"sha256", b"sha1"):
        raise ScriptError("DeliverWithDKIM(): option algorithm: wanted sha256 or sha1")
    chosen = SignOptions(
        canonicalization_header=options.canonicalization_header,
        canonicalization_body=options.canonicalization_body,
        algorithm=b"rsa-" + options.algorithm,
        additional_headers=options.additional_headers,
        headers=options.headers,
    )
    model = context.state.message.mail
    before, model.owned = model.state, False  # what comes now is noted elsewhere
    try:
        if options.discard_changes:
            model.reset()
        data = b"".join(model.version().chunks())
        signature = sign(run, "DeliverWithDKIM", data, selector, domain, key, chosen)
        field = Field(b"dkim-signature", signature.replace(b"\r\n", model.newline))
        model.put_fields(model.root, (field, *model.current(model.root)))
        deliver_version(context, model.version())
    finally:
        model.take(before)


def deliver_version(context: DataContext, version: Version) -> NoReturn:
    """Note the delivery of a version; equal ones are stored once, whoever they are for."""
    state = context.state
    earlier = (item.version for item in state.acts if item.version is not None)
    version = next((other for other in earlier if other.pieces == version.pieces), version)
    verdict = Verdict("deliver")
    state.acts.append(Act("deliver", verdict, make_entry(context, version, Destination()), version))
    state.actionid += 1
    raise VerdictReached(verdict)
