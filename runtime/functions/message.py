"""The message at the end of data: actions and their arguments, headers, scanners.

Reference 2015 "DATA", 2019 "Per recipient".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.run import Run
from hsl.runtime.attempts import attempt_facts
from hsl.runtime.context import DataContext, MessageContext, string, text
from hsl.runtime.data import Destination, act
from hsl.runtime.dsnrequest import SENDER_PARAMS
from hsl.runtime.functions.arguments import (
    MESSAGE_STAGES,
    host,
    is_helo,
    metadata_array,
    read_address,
    read_ip,
    reason_lines,
    reply_codes,
    show_address,
    want_address,
    want_delay,
    want_metadata,
    want_priority,
    want_quotas,
    want_transport,
)
from hsl.runtime.model import Attempt
from hsl.runtime.protocols import BackendUnavailable
from hsl.runtime.reports import Report, read_report
from hsl.runtime.routes import HOP, SHORT_HOP, read_received
from hsl.runtime.verdict import Verdict, VerdictReached
from hsl.values import Array, Value

actions = Chapter("Actions on a message", stages=["data"])
arguments = Chapter("Arguments of a message", stages=["data"])
headers = Chapter("Headers", stages=MESSAGE_STAGES)
scanners = Chapter("Scanners", stages=MESSAGE_STAGES)


HISTORY = ("REJECT", "DELETE", "DELIVER", "DEFER", "ERROR")


class QueueOptions(Options):
    """What Deliver() and Quarantine() share."""

    recipient: bytes | Array | None = option(None, "The recipient: an address, or its `localpart` and `domain`.")
    transportid: bytes | None = option(None, "The transport.")
    metadata: Array | None = option(None, "Metadata in addition to SetMetaData().")
    jobid: bytes | None = option(None, "A job id for the queue entry.")
    tenantid: bytes | None = option(None, "Whose mail it is: a name for policies of the queue.")
    priority: int | None = option(None, "1 goes before the other mail of its domain; the default is the session's.")
    done: bool = option(True, "End the script; false goes on, for a further action.")
    reason: bytes | Array | None = option(None, "The text of the reply; an array has its lines.")
    reply_codes: Array | None = option(None, "The reply's `code` (number) and `enhanced` (array of three numbers).")
    quotas: Array | None = option(None, "Names of quotas that the queue entry counts for.")


class DeliverOptions(QueueOptions):
    """The options of Deliver()."""

    delay: float | None = option(None, "Wait before the first attempt.", unit="seconds")
    queue: bool = option(True, "Deliver through the queue; false delivers now, as DirectDeliver() does.")
    disconnect: bool = option(False, "Close the connection after the reply.")


class QuarantineOptions(QueueOptions):
    """The options of Quarantine()."""

    reject: bool = option(True, "Answer 5xx; false answers 2xx.")
    final_action: bool = option(True, "The older name of `done`.")


def destination(
    run: Run, function: str, options: QueueOptions, delay: float | None = None, quarantine: str = ""
) -> Destination:
    """What the options say about the entry to be queued."""
    recipient, transport, metadata = options.recipient, options.transportid, options.metadata
    return Destination(
        recipient=None if recipient is None else want_address(function, "option recipient", recipient),
        transportid=None if transport is None else want_transport(run, function, transport),
        metadata=None if metadata is None else want_metadata(function, "option metadata", metadata),
        jobid=options.jobid or b"",
        tenantid=options.tenantid or b"",
        priority=None if options.priority is None else want_priority(function, options.priority),
        quotas=want_quotas(function, options.quotas),
        delay=None if delay is None else want_delay(function, "option delay", delay),
        quarantine=quarantine,
    )


def finish(run: Run, kind: str, verdict: Verdict, target: Destination | None, done: bool) -> None:
    """Note the action; end the script if it is the last one, else `$actionid` counts on."""
    context = host(run, DataContext)
    act(context, kind, verdict, target)
    if done:
        raise VerdictReached(verdict)
    run.set_variable("actionid", float(context.state.actionid))


@actions.function("Deliver", halts=True)
def deliver(run: Run, recipient: bytes | DeliverOptions | None = None, transportid: bytes | None = None) -> None:
    """Queue the message and answer 250. Takes recipient and transport (2015), or an options array (2019).

    The 250 is sent when the message is on disk. With `done` false the script goes on, for a further action; with
    `queue` false the message is delivered while the client waits, as by DirectDeliver().

    Example:
        Deliver(["recipient" => "archive@example.com", "metadata" => ["spam" => "no"], "quotas" => ["archive"]]);
    """
    options = recipient if isinstance(recipient, DeliverOptions) else DeliverOptions(recipient=recipient)
    if transportid is not None:
        options.transportid = transportid
    if not options.queue:
        deliver_now(run, "Deliver", options)
    code, enhanced = reply_codes("Deliver", options.reply_codes, 2)
    verdict = Verdict(
        "deliver",
        reason=reason_lines("Deliver", options.reason),
        code=code,
        enhanced=enhanced,
        disconnect=options.disconnect,
    )
    finish(run, "deliver", verdict, destination(run, "Deliver", options, options.delay), options.done)


@actions.function("DirectDeliver", halts=True)
def direct_deliver(run: Run, recipient: bytes | None = None, transportid: bytes | None = None) -> NoReturn:
    """Deliver the message to its next hop while the client waits: the next hop's reply becomes ours (2015).

    Nothing is queued. A next hop that cannot be reached is a temporary refusal (4xx). The script's time limits the
    delivery; a client that gets no answer in time will send again.

    Example:
        DirectDeliver($recipient, "inbound");
    """
    deliver_now(run, "DirectDeliver", DeliverOptions(recipient=recipient, transportid=transportid))


def deliver_now(run: Run, function: str, options: DeliverOptions) -> NoReturn:
    """One attempt at once, and its outcome as this recipient's."""
    context = host(run, DataContext)
    client = context.services.client
    if client is None:
        raise ScriptError(f"{function}(): delivery past the queue is not available here")
    target = destination(run, function, options)
    recipient = target.recipient or context.recipient
    plan = client.plan(target.transportid or context.transportid, context.state.sender, recipient)
    plan.senderparams = {name: value for name, value in context.senderparams.items() if name in SENDER_PARAMS}
    people = [(recipient, context.original.params)]
    attempt = run.wait(client.send(plan, people, context.state.message.version()))
    verdict = attempt_verdict(attempt)
    context.services.log.info(
        "direct-delivery", id=context.message_id, recipient=text(recipient.path), action=verdict.action,
        **attempt_facts(attempt, plan),
    )  # fmt: skip
    act(context, verdict.action, verdict)
    raise VerdictReached(verdict)


def attempt_verdict(attempt: Attempt) -> Verdict:
    """What a next hop said as our own verdict; its code only where it answered the message itself."""
    result = attempt.result
    action = "deliver" if attempt.delivered else "reject" if attempt.permanent else "defer"
    if result is None:
        return Verdict(action)
    final = result.state == "EOD"
    return Verdict(
        action,
        reason=tuple(result.lines),
        code=result.code if final else None,
        enhanced=result.enhanced if final else None,
    )


@actions.function("CopyMail")
def copy_mail(run: Run, recipient: bytes | None = None, transportid: bytes | None = None) -> None:
    """Queue a copy of the message as it is now, and go on. It is kept even if the message is rejected.

    Example:
        CopyMail("archive@example.com", "archive");
    """
    options = DeliverOptions(recipient=recipient, transportid=transportid)
    finish(run, "copy", Verdict("deliver"), destination(run, "CopyMail", options), done=False)


@actions.function("Quarantine")
def quarantine(
    run: Run,
    quarantineid: bytes,
    recipient: bytes | QuarantineOptions | None = None,
    transportid: bytes | None = None,
    options: QuarantineOptions | None = None,
) -> None:
    """Put the message on hold under a quarantine id, and refuse it (5xx) unless `reject` is false.

    Takes id, recipient, transport, options (2015), or id and options (2019).

    Example:
        if (ScanSA() > 10) Quarantine("spam", ["reject" => false]);
    """
    if not quarantineid:
        raise ScriptError("Quarantine(): parameter 1 (quarantineid): wanted a name, got an empty string")
    chosen = recipient if isinstance(recipient, QuarantineOptions) else options or QuarantineOptions()
    if isinstance(recipient, bytes):
        chosen.recipient = recipient
    if transportid is not None:
        chosen.transportid = transportid
    code, enhanced = reply_codes("Quarantine", chosen.reply_codes, 5 if chosen.reject else 2)
    verdict = Verdict(
        "quarantine",
        reason=reason_lines("Quarantine", chosen.reason),
        code=code,
        enhanced=enhanced,
        options={"quarantineid": text(quarantineid), "reject": chosen.reject},
    )
    target = destination(run, "Quarantine", chosen, quarantine=text(quarantineid))
    finish(run, "quarantine", verdict, target, chosen.done and chosen.final_action)


@actions.function("Delete", halts=True)
def delete(run: Run) -> NoReturn:
    """Answer 250 and drop the message for this recipient.

    Example:
        if ($recipient == "null@example.com") Delete();
    """
    verdict = Verdict("delete")
    finish(run, "delete", verdict, None, done=True)
    raise VerdictReached(verdict)


@actions.function("Done", aliases=["Abort"], halts=True)
def done() -> NoReturn:
    """End the script for this recipient without a further action; without any action the message is deferred.

    Example:
        CopyMail("archive@example.com");
        Done();
    """
    raise VerdictReached(Verdict("done"))


class HistoryOptions(Options):
    """The options of History()."""

    sender: bytes | Array | None = option(None, "The sender; the default is the message's.")
    metadata: Array | None = option(None, "Metadata: string keys and values.")
    transportid: bytes | None = option(None, "The transport's id.")
    reason: bytes | None = option(None, "A reason.")


@actions.function("History", stages=MESSAGE_STAGES)
def history(run: Run, action: bytes, recipient: bytes | Array, options: HistoryOptions | None = None) -> bool:
    """Write a line `history` to the log, and return true: what a script decided about a recipient (2019).

    Actions: REJECT, DELETE, DELIVER, DEFER, ERROR. There is no database of them: collect the log.

    Example:
        History("DELIVER", $recipient, ["reason" => "on the list", "metadata" => ["list" => "friends"]]);
    """
    name = text(action)
    if name not in HISTORY:
        raise ScriptError(f"History(): parameter 1 (action): wanted one of {', '.join(HISTORY)}, got {name[:60]!r}")
    options = options or HistoryOptions()
    context = host(run, MessageContext)
    sender = context.state.sender
    if options.sender is not None:
        sender = want_address("History", "option sender", options.sender, null=True)
    metadata = want_metadata("History", "option metadata", options.metadata) if options.metadata else {}
    context.services.log.info(
        "history", id=context.message_id, action=name.lower(), sender=f"<{text(sender.path)}>",
        recipient=f"<{text(want_address('History', 'parameter 2 (recipient)', recipient).path)}>",
        transport=None if options.transportid is None else text(options.transportid),
        reason=None if options.reason is None else text(options.reason),
        metadata=",".join(f"{text(key)}={text(value)}" for key, value in metadata.items()) or None,
    )  # fmt: skip
    return True


@arguments.function("SetRecipient")
def set_recipient(run: Run, recipient: bytes | Array) -> bytes | None:
    """Change this recipient: an address, or its `localpart` and `domain`. Gives the address, or none if it is none.

    Example:
        SetRecipient("team@example.com");
    """
    address = read_address(recipient)
    if address is None:
        return None
    host(run, DataContext).recipient = address
    return show_address(run, "recipient", address)


@arguments.function("SetSender")
def set_sender(run: Run, sender: bytes | Array) -> bytes | None:
    """Change the sender for this and all later recipients. Gives the address, or none if it is not one.

    Example:
        SetSender("bounces@example.com");
    """
    address = read_address(sender, null=True)
    if address is None:
        return None
    host(run, DataContext).state.sender = address
    return show_address(run, "sender", address)


@arguments.function("SetMailTransport")
def set_mail_transport(run: Run, transportid: bytes) -> None:
    """Change this recipient's transport.

    Example:
        SetMailTransport("outbound");
    """
    host(run, DataContext).transportid = want_transport(run, "SetMailTransport", transportid)
    run.set_variable("transportid", transportid)


@arguments.function("SetDelayedDeliver")
def set_delayed_deliver(run: Run, delay: float) -> None:
    """Let this recipient's first delivery attempt wait for so many seconds.

    Example:
        SetDelayedDeliver(60);
    """
    host(run, DataContext).delay = want_delay("SetDelayedDeliver", "parameter 1 (delay)", delay)


@arguments.function("SetSenderIP")
def set_sender_ip(run: Run, ip: bytes) -> bytes | None:
    """Change the client's IP address for this and all later recipients. Returns it, or none if it is no IP address.

    Example:
        SetSenderIP("192.0.2.1");
    """
    address = read_ip(text(ip))
    if address is None:
        return None
    host(run, DataContext).state.senderip = address
    run.set_variable("senderip", string(address))
    return string(address)


@arguments.function("SetSenderHELO")
def set_sender_helo(run: Run, hostname: bytes) -> bytes | None:
    """Change the client's HELO name for this and all later recipients. Returns it, or none if it is no host name.

    Example:
        SetSenderHELO("client.example.com");
    """
    if not is_helo(hostname):
        return None
    host(run, DataContext).state.senderhelo = hostname
    run.set_variable("senderhelo", hostname)
    return hostname


@arguments.function("SetMetaData")
def set_metadata(run: Run, metadata: Array) -> None:
    """Replace the metadata of this and all later recipients. Keys and values are strings.

    Example:
        SetMetaData(["customer" => $saslusername, "rules" => json_encode(["A", "B"])]);
    """
    host(run, DataContext).state.metadata = want_metadata("SetMetaData", "parameter 1 (metadata)", metadata)


@arguments.function("GetMetaData")
def get_metadata(run: Run) -> Array:
    """The metadata set so far; an empty array without any.

    Example:
        echo GetMetaData()["customer"] ?? "nobody";
    """
    return metadata_array(host(run, DataContext).state.metadata)


@headers.function("GetHeader")
def get_header(run: Run, name: bytes, decode: bool = True) -> bytes | None:
    """The value of the first header of that name (in any case), or none. `decode` false leaves encoded words.

    Example:
        echo GetHeader("subject");
    """
    return host(run, MessageContext).state.message.get(name, decode)


@headers.function("GetHeaders")
def get_headers(run: Run, name: bytes | bool, decode: bool = True) -> Array:
    """The values of all headers of that name; `true` gives all headers, each as `Name: value`.

    Example:
        echo length(GetHeaders("received"));
    """
    if name is False:
        raise ScriptError("GetHeaders(): parameter 1 (name): wanted a name or true, got false")
    return Array.of(host(run, MessageContext).state.message.get_all(None if name is True else bytes(name), decode))


@headers.function("AddHeader")
def add_header(run: Run, name: bytes, value: bytes, refold: bool = True) -> None:
    """Add a header on top. `refold` folds it at 78 characters per line.

    Example:
        AddHeader("X-Spam", "no");
    """
    host(run, MessageContext).state.message.add(name, value, refold)


@headers.function("SetHeader")
def set_header(run: Run, name: bytes, value: bytes, refold: bool = True) -> float:
    """Overwrite all headers of that name, or add one. Gives the number of headers written.

    Example:
        SetHeader("Subject", "[list] " . GetHeader("Subject"));
    """
    return float(host(run, MessageContext).state.message.set(name, value, refold))


@headers.function("PrependHeader")
def prepend_header(run: Run, name: bytes, value: bytes, refold: bool = True) -> float:
    """Put a text in front of all headers of that name, or add one. Gives the number of headers written.

    Example:
        PrependHeader("Subject", "[list] ");
    """
    return float(host(run, MessageContext).state.message.prepend(name, value, refold))


@headers.function("AppendHeader")
def append_header(run: Run, name: bytes, value: bytes, refold: bool = True) -> float:
    """Put a text behind all headers of that name, or add one. Gives the number of headers written.

    Example:
        AppendHeader("Subject", " (checked)");
    """
    return float(host(run, MessageContext).state.message.append(name, value, refold))


@headers.function("DelHeader")
def del_header(run: Run, name: bytes) -> float:
    """Delete all headers of that name. Gives the number of headers deleted.

    Example:
        DelHeader("X-Spam");
    """
    return float(host(run, MessageContext).state.message.delete(name))


@headers.function("GetRoute")
def get_route(run: Run, extended_result: bool = False) -> Array:
    """Return the message's Received headers, the latest first, each as an array (2015; deprecated in 2019).

    What the header tells of: `from` (the name that the client gave), `ip`, `by`; with `extended_result` also `ptr`,
    `with`, `id`, `for` and `time` (Unix time). Our own header is not among them.

    Example:
        foreach (GetRoute() as $hop) echo $hop["ip"] ?? "unknown";
    """
    values = host(run, MessageContext).state.message.get_all(b"received", decode=False)
    return Array.of(record_of(read_received(value), HOP if extended_result else SHORT_HOP) for value in values)


def record_of(hop: dict[str, bytes | float], names: tuple[str, ...]) -> Array:
    return Array.record({name.encode(): hop[name] for name in names if name in hop})


@headers.function("GetDSN")
def get_dsn(run: Run) -> Array | bool:
    """Return what a delivery status notification (RFC 3464) says, or false if the message is none.

    `message` has the fields about the message, name (lower case) to value; `recipients` the same for each recipient.
    `recipient`, `action`, `status` and `diagnostic` are those of the first one, without their types.

    Example:
        $dsn = GetDSN();
        if ($dsn and $dsn["action"] == "failed") echo $dsn["recipient"];
    """
    report = dsn_report(run)
    if report is None:
        return False
    fields = [report.message, *report.recipients]
    message, *recipients = [Array.from_pairs((name, value) for name, value in item.items()) for item in fields]
    summary: dict[Value, Value] = {name.encode(): value for name, value in report.summary().items()}
    return Array.record({b"message": message, b"recipients": Array.of(recipients), **summary})


@headers.function("GetDSNHeader")
def get_dsn_header(run: Run, name: bytes, skip_decode: bool = False) -> bytes | None:
    """Return a header of the message that a delivery status notification is about, or none.

    Example:
        echo GetDSNHeader("Subject") ?? "no DSN";
    """
    report = dsn_report(run)
    return None if report is None else report.original.get(name, decode=not skip_decode)


def dsn_report(run: Run) -> Report | None:
    state = host(run, MessageContext).state
    version = state.message.version()
    if state.report is None or state.report[0] != version.serial:
        state.report = version.serial, read_report(version, run.tick)
    return state.report[1]


class SpamOptions(Options):
    """The options of ScanSA()."""

    rules: bool = option(False, "Give the rules that matched with their scores, instead of the score.")
    extended_result: bool = option(False, "Give an array: `rules`, or `error` when the scanner does not answer.")


class OutbreakOptions(Options):
    """The options of ScanRPD()."""

    refid: bool = option(False, "Give the reference id, instead of the score.")
    extended_result: bool = option(False, "Give an array: scores, classes and `refid`, or `error`.")
    outbound: bool = option(False, "Outbound mode; the scanners of this version know no difference.")
    senderip: bytes | None = option(None, "The client's IP address, as the scanner is told.")
    mailfrom: bytes | None = option(None, "The sender, as the scanner is told.")
    senderid: bytes | None = option(None, "Who sends; the scanners of this version do not ask.")
    rcptcount: float | None = option(None, "How many recipients; the scanners of this version do not ask.")


class VirusOptions(Options):
    """The options of ScanCLAM() and ScanKAV()."""

    extended_result: bool = option(False, "Give an array: `rules`, or `error` when the scanner does not answer.")
    signature_exclude: Array | None = option(None, "Names that do not count.")


FAILED = Array.record({b"error": True})
SPAM_CLASSES = {0: b"unknown", 10: b"suspect", 40: b"valid-bulk", 50: b"bulk", 100: b"spam"}


@scanners.function("ScanSA")
def scan_sa(run: Run, options: SpamOptions | None = None) -> float | Array:
    """Return SpamAssassin's score of the message, or its rules: name to score.

    A message is scanned once, until a header is edited. A scanner that does not answer is a script error, so that the
    message is deferred; with `extended_result` it is `["error" => true]`. Messages over the configured size are not
    scanned: rule NOT_SCANNED_TOO_BIG, score 0.

    Example:
        if (ScanSA() > 5) SetHeader("X-Spam", "yes");
    """
    options = options or SpamOptions()
    context = host(run, MessageContext)
    state, version = context.state, context.state.message.version()
    try:
        if state.spam is None or state.spam[0] != version.serial:
            state.spam = version.serial, run.wait(context.services.spam.scan(version, state.envelope()))
    except BackendUnavailable:
        if options.extended_result:
            return FAILED
        raise
    found = state.spam[1]
    if not (options.rules or options.extended_result):
        return float(found.score)
    rules = Array.from_pairs((string(name), float(score)) for name, score in found.rules.items())
    return Array.record({b"rules": rules, b"score": float(found.score)}) if options.extended_result else rules


@scanners.function("ScanRPD")
def scan_rpd(run: Run, options: OutbreakOptions | None = None) -> float | bytes | Array:
    """Return how the message spreads: 0 unknown, 10 suspect, 40 valid bulk, 50 bulk, 100 spam; or the reference id.

    This version knows test strings only (`hsl serve` says so at start).

    Example:
        if (ScanRPD() == 100) Reject("Spam");
    """
    options = options or OutbreakOptions()
    state = host(run, MessageContext).state
    asked = state.message.version().serial, options.senderip, options.mailfrom
    try:
        if state.outbreak is None or state.outbreak[0] != asked:
            state.outbreak = asked, classify(run, options)
    except BackendUnavailable:
        if options.extended_result:
            return FAILED
        raise
    score, refid = state.outbreak[1]
    if options.extended_result:
        return Array.record(
            {
                b"refid": string(refid),
                b"rules": Array(),
                b"spam_score": float(score),
                b"spam_class": SPAM_CLASSES.get(score, b"unknown"),
                **outbreak_virus(run),
            }
        )
    return string(refid) if options.refid else float(score)


def classify(run: Run, options: OutbreakOptions) -> tuple[int, str]:
    """Ask the outbreak scanner."""
    context = host(run, MessageContext)
    envelope = context.state.envelope()
    if options.senderip is not None:
        envelope = replace(envelope, remoteip=text(options.senderip))
    if options.mailfrom is not None:
        envelope = replace(envelope, sender=text(options.mailfrom))
    return run.wait(context.services.outbreak.classify(context.state.message.version(), envelope))


def outbreak_virus(run: Run) -> dict[Value, Value]:
    score = 100.0 if find_viruses(run) else 0.0
    return {b"virus_score": score, b"virus_class": b"high" if score else b"unknown"}


@scanners.function("ScanRPDAV")
def scan_rpd_av(run: Run) -> float:
    """Return how probably the message spreads a virus: 0 unknown, 50 medium, 100 high (2015).

    This version asks the virus scanner of ScanCLAM(): 100 for what it finds, else 0.

    Example:
        if (ScanRPDAV() >= 50) Reject("Virus");
    """
    return 100.0 if find_viruses(run) else 0.0


@scanners.function("ScanCLAM")
def scan_clam(run: Run, options: VirusOptions | None = None) -> Array:
    """Return the names of the viruses that ClamAV finds; an empty array for none.

    Without `scanners.clamav` in the configuration only the EICAR test file is known. The whole message is given to
    clamd, which takes it apart. A scanner that does not answer is a script error, so that the message is deferred; with
    `extended_result` it is `["error" => true]`.

    Example:
        if (ScanCLAM() != []) Reject("Virus");
    """
    return scan_viruses(run, options or VirusOptions())


@scanners.function("ScanKAV")
def scan_kav(run: Run, options: VirusOptions | None = None) -> Array:
    """Return the names of the viruses that are found; an empty array for none.

    The products that this name stood for (Kaspersky, Sophos) have no open client: it asks the scanner of ScanCLAM().

    Example:
        if (ScanKAV() != []) Reject("Virus");
    """
    return scan_viruses(run, options or VirusOptions())


def scan_viruses(run: Run, options: VirusOptions) -> Array:
    excluded = set(options.signature_exclude.values()) if options.signature_exclude else set()
    try:
        found = find_viruses(run)
    except BackendUnavailable:
        if options.extended_result:
            return FAILED
        raise
    rules = Array.of(name for name in map(string, found) if name not in excluded)
    return Array.record({b"rules": rules}) if options.extended_result else rules


def find_viruses(run: Run) -> Sequence[str]:
    """What the virus scanner says of the message as it is now; asked once."""
    context = host(run, MessageContext)
    state, version = context.state, context.state.message.version()
    if state.viruses is None or state.viruses[0] != version.serial:
        state.viruses = version.serial, run.wait(context.services.viruses.scan_viruses(version))
    return state.viruses[1]
