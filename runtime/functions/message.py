"""The message at the end of data: actions and their arguments, headers, scanners.

Reference 2015 "DATA", 2019 "Per recipient".
"""

from __future__ import annotations

from typing import NoReturn

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.run import Run
from hsl.runtime.context import DataContext, string, text
from hsl.runtime.data import Destination, act
from hsl.runtime.functions.arguments import (
    host,
    metadata_array,
    read_address,
    reason_lines,
    refuse,
    reply_codes,
    show_address,
    want_address,
    want_delay,
    want_ip,
    want_metadata,
    want_transport,
)
from hsl.runtime.verdict import Verdict, VerdictReached
from hsl.values import Array, Value

actions = Chapter("Actions on a message", stages=["data"])
arguments = Chapter("Arguments of a message", stages=["data"])
headers = Chapter("Headers", stages=["data"])
scanners = Chapter("Scanners", stages=["data"])


class QueueOptions(Options):
    """What Deliver() and Quarantine() share."""

    recipient: bytes | Array | None = option(None, "The recipient: an address, or its `localpart` and `domain`.")
    transportid: bytes | None = option(None, "The transport.")
    metadata: Array | None = option(None, "Metadata in addition to SetMetaData().")
    jobid: bytes | None = option(None, "A job id for the queue entry.")
    done: bool = option(True, "End the script; false goes on, for a further action.")
    reason: bytes | None = option(None, "The text of the reply.")
    reply_codes: Array | None = option(None, "The reply's `code` (number) and `enhanced` (array of three numbers).")
    quotas: Array | None = option(None, "Not supported in this version.")


class DeliverOptions(QueueOptions):
    """The options of Deliver()."""

    delay: float | None = option(None, "Wait before the first attempt.", unit="seconds")
    queue: bool = option(True, "Deliver through the queue; false is not supported in this version.")
    disconnect: bool = option(False, "Close the connection after the reply.")


class QuarantineOptions(QueueOptions):
    """The options of Quarantine()."""

    reject: bool = option(True, "Answer 5xx; false answers 2xx.")
    final_action: bool = option(True, "The older name of `done`.")


def destination(
    run: Run, function: str, options: QueueOptions, delay: float | None = None, quarantine: str = ""
) -> Destination:
    """What the options say about the entry to be queued."""
    refuse(function, options, "quotas")
    recipient, transport, metadata = options.recipient, options.transportid, options.metadata
    return Destination(
        recipient=None if recipient is None else want_address(function, "option recipient", recipient),
        transportid=None if transport is None else want_transport(run, function, transport),
        metadata=None if metadata is None else want_metadata(function, "option metadata", metadata),
        jobid=options.jobid or b"",
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
    """Queue the message and answer 250. Takes recipient and transport (2015), or an options array (2019)."""
    options = recipient if isinstance(recipient, DeliverOptions) else DeliverOptions(recipient=recipient)
    if transportid is not None:
        options.transportid = transportid
    if not options.queue:
        raise ScriptError("Deliver(): option queue: delivery past the queue is not supported in this version")
    code, enhanced = reply_codes("Deliver", options.reply_codes, 2)
    verdict = Verdict(
        "deliver",
        reason=reason_lines("Deliver", options.reason),
        code=code,
        enhanced=enhanced,
        disconnect=options.disconnect,
    )
    finish(run, "deliver", verdict, destination(run, "Deliver", options, options.delay), options.done)


@actions.function("CopyMail")
def copy_mail(run: Run, recipient: bytes | None = None, transportid: bytes | None = None) -> None:
    """Queue a copy of the message as it is now, and go on. It is kept even if the message is rejected."""
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
    """Answer 250 and drop the message for this recipient."""
    verdict = Verdict("delete")
    finish(run, "delete", verdict, None, done=True)
    raise VerdictReached(verdict)


@actions.function("Done", aliases=["Abort"], halts=True)
def done() -> NoReturn:
    """End the script for this recipient without a further action; without any action the message is deferred."""
    raise VerdictReached(Verdict("done"))


@arguments.function("SetRecipient")
def set_recipient(run: Run, recipient: bytes | Array) -> bytes | None:
    """Change this recipient: an address, or its `localpart` and `domain`. Gives the address, or none if it is none."""
    address = read_address(recipient)
    if address is None:
        return None
    host(run, DataContext).recipient = address
    return show_address(run, "recipient", address)


@arguments.function("SetSender")
def set_sender(run: Run, sender: bytes | Array) -> bytes | None:
    """Change the sender for this and all later recipients. Gives the address, or none if it is not one."""
    address = read_address(sender, null=True)
    if address is None:
        return None
    host(run, DataContext).state.sender = address
    return show_address(run, "sender", address)


@arguments.function("SetMailTransport")
def set_mail_transport(run: Run, transportid: bytes) -> None:
    """Change this recipient's transport."""
    host(run, DataContext).transportid = want_transport(run, "SetMailTransport", transportid)
    run.set_variable("transportid", transportid)


@arguments.function("SetDelayedDeliver")
def set_delayed_deliver(run: Run, delay: float) -> None:
    """Let this recipient's first delivery attempt wait for so many seconds."""
    host(run, DataContext).delay = want_delay("SetDelayedDeliver", "parameter 1 (delay)", delay)


@arguments.function("SetSenderIP")
def set_sender_ip(run: Run, ip: bytes) -> bytes:
    """Change the client's IP address for this and all later recipients."""
    address = want_ip("SetSenderIP", text(ip))
    host(run, DataContext).state.senderip = address
    run.set_variable("senderip", string(address))
    return string(address)


@arguments.function("SetSenderHELO")
def set_sender_helo(run: Run, hostname: bytes) -> bytes:
    """Change the client's HELO name for this and all later recipients."""
    host(run, DataContext).state.senderhelo = hostname
    run.set_variable("senderhelo", hostname)
    return hostname


@arguments.function("SetMetaData")
def set_metadata(run: Run, metadata: Array) -> None:
    """Replace the metadata of this and all later recipients. Keys and values are strings."""
    host(run, DataContext).state.metadata = want_metadata("SetMetaData", "parameter 1 (metadata)", metadata)


@arguments.function("GetMetaData")
def get_metadata(run: Run) -> Array:
    """The metadata set so far; an empty array without any."""
    return metadata_array(host(run, DataContext).state.metadata)


@headers.function("GetHeader")
def get_header(run: Run, name: bytes, decode: bool = True) -> bytes | None:
    """The value of the first header of that name (in any case), or none. `decode` false leaves encoded words."""
    return host(run, DataContext).state.message.get(name, decode)


@headers.function("GetHeaders")
def get_headers(run: Run, name: bytes | bool, decode: bool = True) -> Array:
    """The values of all headers of that name; `true` gives all headers, each as `Name: value`."""
    if name is False:
        raise ScriptError("GetHeaders(): parameter 1 (name): wanted a name or true, got false")
    return Array.of(host(run, DataContext).state.message.get_all(None if name is True else bytes(name), decode))


@headers.function("AddHeader")
def add_header(run: Run, name: bytes, value: bytes, refold: bool = True) -> None:
    """Add a header on top. `refold` folds it at 78 characters per line."""
    host(run, DataContext).state.message.add(name, value, refold)


@headers.function("SetHeader")
def set_header(run: Run, name: bytes, value: bytes, refold: bool = True) -> float:
    """Overwrite all headers of that name, or add one. Gives the number of headers written."""
    return float(host(run, DataContext).state.message.set(name, value, refold))


@headers.function("PrependHeader")
def prepend_header(run: Run, name: bytes, value: bytes, refold: bool = True) -> float:
    """Put a text in front of all headers of that name, or add one. Gives the number of headers written."""
    return float(host(run, DataContext).state.message.prepend(name, value, refold))


@headers.function("AppendHeader")
def append_header(run: Run, name: bytes, value: bytes, refold: bool = True) -> float:
    """Put a text behind all headers of that name, or add one. Gives the number of headers written."""
    return float(host(run, DataContext).state.message.append(name, value, refold))


@headers.function("DelHeader")
def del_header(run: Run, name: bytes) -> float:
    """Delete all headers of that name. Gives the number of headers deleted."""
    return float(host(run, DataContext).state.message.delete(name))


class SpamOptions(Options):
    """The options of ScanSA()."""

    rules: bool = option(False, "Give the rules that matched with their scores, instead of the score.")
    extended_result: bool = option(False, "Not supported in this version.")


class OutbreakOptions(Options):
    """The options of ScanRPD()."""

    refid: bool = option(False, "Give the reference id, instead of the score.")
    extended_result: bool = option(False, "Not supported in this version.")
    outbound: bool = option(False, "Outbound mode; the scanners of this version know no difference.")
    senderip: Value = option(None, "Not supported in this version.")
    mailfrom: Value = option(None, "Not supported in this version.")
    senderid: Value = option(None, "Not supported in this version.")
    rcptcount: Value = option(None, "Not supported in this version.")


@scanners.function("ScanSA")
def scan_sa(run: Run, options: SpamOptions | None = None) -> float | Array:
    """SpamAssassin's score of the message, or its rules. A message is scanned once, until a header is edited."""
    options = options or SpamOptions()
    refuse("ScanSA", options, "extended_result")
    context = host(run, DataContext)
    state, version = context.state, context.state.message.version()
    if state.spam is None or state.spam[0] != version.serial:
        state.spam = version.serial, run.wait(context.services.spam.scan(version, state.envelope()))
    found = state.spam[1]
    if options.rules:
        return Array.from_pairs((string(name), float(score)) for name, score in found.rules.items())
    return float(found.score)


@scanners.function("ScanRPD")
def scan_rpd(run: Run, options: OutbreakOptions | None = None) -> float | bytes:
    """How the message spreads: 0 unknown, 10 suspect, 40 valid bulk, 50 bulk, 100 spam; or the reference id."""
    options = options or OutbreakOptions()
    refuse("ScanRPD", options, "extended_result", "senderip", "mailfrom", "senderid", "rcptcount")
    context = host(run, DataContext)
    state, version = context.state, context.state.message.version()
    if state.outbreak is None or state.outbreak[0] != version.serial:
        state.outbreak = version.serial, run.wait(context.services.outbreak.classify(version, state.envelope()))
    score, refid = state.outbreak[1]
    return string(refid) if options.refid else float(score)
