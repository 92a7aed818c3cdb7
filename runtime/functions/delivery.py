"""The queue's stages: before an attempt (predelivery) and after it (postdelivery), reference 2015 and 2019.

What Try() and the Set functions change is written to the context's plan and holds for one attempt; what the queue has
to do travels in the verdict's options: delay (seconds), hold, increment_retry, reset_retry, transportid, recipient.
"""

from __future__ import annotations

import random
import re
from typing import NoReturn

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError, near
from hsl.run import Run
from hsl.runtime.context import PostDeliveryContext, PreDeliveryContext, QueueContext, string, text
from hsl.runtime.functions.arguments import (
    QUEUE_STAGES,
    host,
    metadata_array,
    read_address,
    reason_lines,
    refuse,
    show_address,
    want_address,
    want_delay,
    want_ip,
    want_known,
    want_metadata,
    want_transport,
)
from hsl.runtime.functions.state import want_name
from hsl.runtime.model import SourceIP
from hsl.runtime.verdict import Verdict, VerdictReached
from hsl.values import Array, Value, to_string

both = Chapter("Queue", stages=QUEUE_STAGES)
before = Chapter("Pre-delivery", stages=["predelivery"])
after = Chapter("Post-delivery", stages=["postdelivery"])

TLS_MODES = ("disabled", "optional", "optional_verify", "require", "require_verify")
HOSTNAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?\Z|\[[0-9A-Fa-f:.A-Za-z]{1,60}\]\Z")
MAX_CONNECTIONS = 1_000_000
UNSUPPORTED_TRY = (
    "tls_sni", "tls_protocols", "tls_ciphers", "tls_verify_host", "tls_verify_name", "tls_default_ca",
    "tls_client_cert", "xclient", "mx_include", "mx_exclude", "timeout",
)  # fmt: skip


class TryOptions(Options):
    """The options of Try()."""

    host: bytes | None = option(None, "The host or IP address to connect to, or `lookup-mx`.")
    port: int | None = option(None, "The TCP port.")
    helo: bytes | None = option(None, "The HELO name.")
    sourceip: bytes | Array | None = option(
        None, "Source addresses, one is used: ids, or arrays of `id` or `address` and `helo`."
    )
    nonlocal_source: bool = option(False, "Allow source addresses that are not configured on this machine.")
    sender: bytes | Array | None = option(None, "The sender: an address, or its `localpart` and `domain`.")
    recipient: bytes | Array | None = option(None, "The recipient: an address, or its `localpart` and `domain`.")
    saslusername: bytes | None = option(None, "Log in with this user name.")
    saslpassword: bytes | None = option(None, "The password to log in with.")
    tls: bytes | None = option(None, f"One of {', '.join(TLS_MODES)}.")
    protocol: bytes | None = option(None, "`smtp`; `lmtp` is not supported in this version.")
    jobid: bytes | None = option(None, "A job id for the queue entry.")
    connect_timeout: float | None = option(None, "How long connecting may take.", unit="seconds")
    tls_sni: Value = option(None, "Not supported in this version.")
    tls_protocols: Value = option(None, "Not supported in this version.")
    tls_ciphers: Value = option(None, "Not supported in this version.")
    tls_verify_host: Value = option(None, "Not supported in this version.")
    tls_verify_name: Value = option(None, "Not supported in this version.")
    tls_default_ca: Value = option(None, "Not supported in this version.")
    tls_client_cert: Value = option(None, "Not supported in this version.")
    xclient: Value = option(None, "Not supported in this version.")
    mx_include: Value = option(None, "Not supported in this version.")
    mx_exclude: Value = option(None, "Not supported in this version.")
    timeout: Value = option(None, "Not supported in this version.")


class RescheduleOptions(Options):
    """The options of Reschedule()."""

    reason: bytes | None = option(None, "A reason for the log.")
    increment_retry: bool = option(True, "Count this as a retry.")


class QueueOptions(RescheduleOptions):
    """The options of Queue()."""

    hold: bool = option(False, "Put the entry on hold.")
    delay: float | None = option(None, "When to try again; default: the transport's interval.", unit="seconds")
    reset_retry: bool = option(False, "Start counting retries from zero.")
    transportid: bytes | None = option(None, "The transport from now on.")


class SourceOptions(Options):
    """The options of SetSourceIP()."""

    nonlocal_source: bool = option(False, "`netaddr` is an IP address, configured on this machine or not.")


def requeue(function: str, options: RescheduleOptions, **more: object) -> NoReturn:
    """End with the entry back in the queue."""
    given = {name: value for name, value in more.items() if value is not None}
    given["increment_retry"] = options.increment_retry
    raise VerdictReached(Verdict("queue", reason=reason_lines(function, options.reason), options=given))


def undelivered(run: Run, function: str) -> None:
    """Refuses what makes no sense after a delivery (2019, "Post-delivery")."""
    if isinstance(run.host, PostDeliveryContext) and run.host.delivered:
        raise ScriptError(f"{function}(): the message was delivered")


@both.function("Queue", halts=True)
def queue(run: Run, options: QueueOptions | None = None) -> NoReturn:
    """Keep the message and retry later; beyond the last retry it is bounced or deleted as the transport says."""
    undelivered(run, "Queue")
    options = options or QueueOptions()
    delay, transport = options.delay, options.transportid
    requeue(
        "Queue",
        options,
        delay=None if delay is None else want_delay("Queue", "option delay", delay),
        hold=options.hold,
        reset_retry=options.reset_retry,
        transportid=None if transport is None else want_transport(run, "Queue", transport),
    )


@both.function("Delete", halts=True)
def delete(run: Run) -> NoReturn:
    """Remove the message from the queue without a bounce."""
    undelivered(run, "Delete")
    raise VerdictReached(Verdict("delete"))


@both.function("Bounce", aliases=["GenerateDSN"], halts=True)
def bounce(run: Run) -> NoReturn:
    """Remove the message from the queue and send a bounce (RFC 3464) to its sender."""
    undelivered(run, "Bounce")
    raise VerdictReached(Verdict("bounce"))


@both.function("SetMetaData")
def set_metadata(run: Run, metadata: Array) -> None:
    """Replace the entry's metadata; later retries see it too. Keys and values are strings."""
    host(run, QueueContext).entry.metadata = want_metadata("SetMetaData", "parameter 1 (metadata)", metadata)


@both.function("GetMetaData")
def get_metadata(run: Run) -> Array:
    """The entry's metadata; an empty array without any."""
    return metadata_array(host(run, QueueContext).entry.metadata)


@both.function("SetDSN", halts=True)
def set_dsn(options: Array) -> NoReturn:
    """Not supported in this version: changes to the bounce by script."""
    raise ScriptError("SetDSN() is not supported in this version; the transport group's dsn section is what there is")


@before.function("Try", halts=True)
def try_(run: Run, options: TryOptions | None = None) -> NoReturn:
    """Attempt the delivery now; the options hold for this attempt."""
    if options is not None:
        refuse("Try", options, *UNSUPPORTED_TRY)
        apply_route(run, options)
        apply_envelope(run, options)
    raise VerdictReached(Verdict("try"))


def apply_route(run: Run, options: TryOptions) -> None:
    """Where the attempt goes, and how it connects."""
    plan = host(run, PreDeliveryContext).plan
    if options.host is not None:
        plan.host = want_host("Try", "option host", options.host)
    if options.port is not None:
        plan.port = want_port("Try", "option port", options.port)
    if options.helo is not None:
        plan.helo = want_host("Try", "option helo", options.helo)
    if options.sourceip is not None:
        plan.source = choose_source(run, options.sourceip, options.nonlocal_source)
    if options.tls is not None:
        plan.tls = want_tls(text(options.tls))
    if options.protocol is not None:
        plan.protocol = want_protocol("Try", options.protocol)
    if options.connect_timeout is not None:
        if not 0 < options.connect_timeout <= 3600:
            raise ScriptError(
                f"Try(): option connect_timeout: wanted seconds up to 3600, got {options.connect_timeout:g}"
            )
        plan.connect_timeout = options.connect_timeout


def apply_envelope(run: Run, options: TryOptions) -> None:
    """Sender, recipient, login and job id of the attempt."""
    context = host(run, PreDeliveryContext)
    plan = context.plan
    if options.sender is not None:
        plan.sender = want_address("Try", "option sender", options.sender, null=True)
    if options.recipient is not None:
        plan.recipient = want_address("Try", "option recipient", options.recipient)
    if options.saslusername is not None:
        plan.username = options.saslusername
    if options.saslpassword is not None:
        plan.password = options.saslpassword
    if options.jobid is not None:
        context.entry.jobid = options.jobid


@before.function("Reschedule", halts=True)
def reschedule(delay: float, options: RescheduleOptions | None = None) -> NoReturn:
    """Put the message back for so many seconds."""
    requeue(
        "Reschedule",
        options or RescheduleOptions(),
        delay=want_delay("Reschedule", "parameter 1 (delay)", delay),
    )


@before.function("SetSourceIP")
def set_source_ip(run: Run, netaddr: bytes, options: SourceOptions | None = None) -> None:
    """Let this attempt leave from `netaddr:ID`, an address of the configuration; its hostname is the HELO name."""
    nonlocal_source = options is not None and options.nonlocal_source
    context = host(run, PreDeliveryContext)
    context.plan.source = find_source(run, "SetSourceIP", text(netaddr), nonlocal_source)
    run.set_variable("sourceip", string(context.plan.source.address))


@before.function("SetDestination")
def set_destination(run: Run, host_: bytes, port: int | None = None) -> None:
    """Let this attempt go to a host (a name or an IP address) and port."""
    plan = host(run, PreDeliveryContext).plan
    plan.host = want_host("SetDestination", "parameter 1 (host)", host_)
    run.set_variable("destination", host_)
    if port is not None:
        plan.port = want_port("SetDestination", "parameter 2 (port)", port)
        run.set_variable("destinationport", float(port))


@before.function("SetHELO")
def set_helo(run: Run, hostname: bytes) -> None:
    """Say HELO with this name in this attempt."""
    host(run, PreDeliveryContext).plan.helo = want_host("SetHELO", "parameter 1 (hostname)", hostname)


@before.function("SetSASL")
def set_sasl(run: Run, username: bytes, password: bytes) -> None:
    """Log in at the destination in this attempt."""
    plan = host(run, PreDeliveryContext).plan
    plan.username, plan.password = username, password


@before.function("SetProtocol")
def set_protocol(run: Run, protocol: bytes) -> None:
    """The protocol of this attempt: `smtp`; `lmtp` is not supported in this version."""
    host(run, PreDeliveryContext).plan.protocol = want_protocol("SetProtocol", protocol)


@before.function("SetSender")
def set_sender(run: Run, sender: bytes | Array) -> bytes | None:
    """Change MAIL FROM in this attempt. Gives the address, or none if it is not one."""
    address = read_address(sender, null=True)
    if address is None:
        return None
    host(run, PreDeliveryContext).plan.sender = address
    return show_address(run, "sender", address)


@before.function("SetRecipient")
def set_recipient(run: Run, recipient: bytes | Array) -> bytes | None:
    """Change RCPT TO in this attempt. Gives the address, or none if it is not one."""
    address = read_address(recipient)
    if address is None:
        return None
    host(run, PreDeliveryContext).plan.recipient = address
    return show_address(run, "recipient", address)


@before.function("CurrentConnections")
async def current_connections(run: Run, namespace: bytes, entry: bytes | float, maximum: int) -> bool:
    """Take one of `maximum` connection slots for this attempt; false if all are taken."""
    if not 0 <= maximum <= MAX_CONNECTIONS:
        raise ScriptError(f"CurrentConnections(): parameter 3 (max): wanted 0 to {MAX_CONNECTIONS}, got {maximum}")
    context = host(run, PreDeliveryContext)
    names = want_name("CurrentConnections", 1, namespace), want_name("CurrentConnections", 2, to_string(entry))
    return await context.services.slots.take(*names, maximum, context.holder)


@after.function("Retry", halts=True)
def retry(run: Run) -> NoReturn:
    """Retry later, as the transport says (2015; the default unless the error is permanent)."""
    undelivered(run, "Retry")
    raise VerdictReached(Verdict("queue"))


@after.function("Deliver", halts=True)
def deliver(run: Run, recipient: bytes | Array, transport: bytes) -> NoReturn:
    """Queue the message at once for a new recipient and transport, its retry count reset."""
    address = want_address("Deliver", "parameter 1 (recipient)", recipient)
    transportid = want_transport(run, "Deliver", transport)
    raise VerdictReached(Verdict("deliver", options={"recipient": address, "transportid": transportid}))


@after.function("Default", halts=True)
def default() -> NoReturn:
    """Do what would happen without a script."""
    raise VerdictReached(Verdict("default"))


def find_source(run: Run, function: str, name: str, nonlocal_source: bool) -> SourceIP:
    """The source address of `netaddr:ID` or, with nonlocal_source, of a literal IP address."""
    addresses = host(run, PreDeliveryContext).services.addresses
    if name.startswith("netaddr:"):
        found = addresses[want_known(function, "address", name.removeprefix("netaddr:"), addresses)]
        return SourceIP(found.address, found.hostname, found.id)
    if not nonlocal_source:
        raise ScriptError(
            f"{function}(): wanted netaddr:ID, got {name!r}", hint="an IP address needs the option nonlocal_source"
        )
    return SourceIP(want_ip(function, name), None, None, nonlocal_source=True)


def choose_source(run: Run, given: bytes | Array, nonlocal_source: bool) -> SourceIP:
    """One of the sources of Try()'s option, at random."""
    items: list[Value] = list(given.values()) if isinstance(given, Array) else [given]
    if isinstance(given, Array) and (given.has(b"id") or given.has(b"address")):
        items = [given]
    if not items:
        raise ScriptError("Try(): option sourceip: wanted at least one address")
    return read_source(run, random.choice(items), nonlocal_source)


def read_source(run: Run, item: Value, nonlocal_source: bool) -> SourceIP:
    """A source by id (`4` or `netaddr:4`), or an array of `id` or `address` and `helo`."""
    if isinstance(item, Array):
        helo = item.get(b"helo")
        name = item.get(b"id")
        if name is None:
            address = want_ip("Try", text(to_string(item.get(b"address"))))
            source = SourceIP(address, None, None, nonlocal_source)
        else:
            source = read_source(run, name, nonlocal_source)
        if isinstance(helo, bytes):
            source.helo = want_host("Try", "option sourceip", helo)
        return source
    netaddr = "netaddr:" + text(to_string(item)).removeprefix("netaddr:")
    return find_source(run, "Try", netaddr, nonlocal_source=False)


def want_host(function: str, where: str, name: bytes) -> str:
    """A host name or an IP address; nothing that could end a line or start another command."""
    shown = text(name)
    if HOSTNAME.match(shown):
        return shown
    try:
        return want_ip(function, shown)
    except ScriptError:
        raise ScriptError(f"{function}(): {where}: wanted a host name or an IP address, got {shown!r}") from None


def want_port(function: str, where: str, port: int) -> int:
    if not 1 <= port <= 65535:
        raise ScriptError(f"{function}(): {where}: wanted 1 to 65535, got {port}")
    return port


def want_tls(mode: str) -> str:
    if mode in ("dane", "dane_require"):
        raise ScriptError(f"Try(): option tls: {mode} is not supported in this version")
    if mode not in TLS_MODES:
        raise ScriptError(
            f"Try(): option tls: wanted one of {', '.join(TLS_MODES)}, got {mode}", hint=near(mode, TLS_MODES)
        )
    return mode


def want_protocol(function: str, protocol: bytes) -> str:
    if protocol == b"lmtp":
        raise ScriptError(f"{function}(): lmtp is not supported in this version")
    if protocol != b"smtp":
        raise ScriptError(f"{function}(): wanted smtp, got {text(protocol)}")
    return "smtp"
