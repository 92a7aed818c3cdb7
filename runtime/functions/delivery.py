"""The queue's stages: before an attempt (predelivery) and after it (postdelivery), reference 2015 and 2019.

What Try() and the Set functions change is written to the context's plan and holds for one attempt; what the queue has
to do travels in the verdict's options: delay (seconds), hold, increment_retry, reset_retry, transportid, priority,
recipient.
"""

from __future__ import annotations

from typing import NoReturn

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.library.dkimtext import Signer, SignOptions
from hsl.run import Run
from hsl.runtime.context import PostDeliveryContext, PreDeliveryContext, QueueContext, string, text
from hsl.runtime.functions.arguments import (
    QUEUE_STAGES,
    FingerprintOptions,
    host,
    metadata_array,
    read_address,
    reason_lines,
    show_address,
    tls_report,
    want_address,
    want_delay,
    want_metadata,
    want_parameters,
    want_priority,
    want_quotas,
    want_transport,
)
from hsl.runtime.functions.servers import (
    ServerOptions,
    TLSOptions,
    apply_server,
    apply_tls,
    choose_sources,
    find_source,
    want_host,
    want_port,
    want_protocol,
)
from hsl.runtime.functions.state import want_name
from hsl.runtime.model import DSNPlan
from hsl.runtime.verdict import Verdict, VerdictReached
from hsl.values import Array, Value, to_string

both = Chapter("Queue", stages=QUEUE_STAGES)
before = Chapter("Pre-delivery", stages=["predelivery"])
after = Chapter("Post-delivery", stages=["postdelivery"])

MAX_CONNECTIONS = 1_000_000


class TryOptions(ServerOptions):
    """The options of Try()."""

    sender: bytes | Array | None = option(None, "The sender: an address, or its `localpart`, `domain` and `params`.")
    recipient: bytes | Array | None = option(
        None, "The recipient: an address, or its `localpart`, `domain` and `params`."
    )
    jobid: bytes | None = option(None, "A job id for the queue entry.")
    pooling: bool = option(True, "Take an idle connection to the host, and keep it for others; false: one of its own.")
    sourceip_random: bool = option(True, "Take any of several source addresses; false takes the first.")


class DSNOptions(Options):
    """What a script says about the notification that may come of this attempt."""

    transportid: bytes | None = option(None, "The transport that it takes.")
    recipient: bytes | Array | None = option(None, "Who gets it, instead of the sender.")
    metadata: Array | None = option(None, "Metadata for its queue entry.")
    from_: bytes | Array | None = option(None, "The address in its From header.", name="from")
    from_name: bytes | None = option(None, "The name in its From header.")
    jobid: bytes | None = option(None, "A job id for its queue entry.")
    dkim: Array | None = option(
        None, "Sign it by DKIM: `selector`, `domain`, `key` (as signDKIM() takes them), and the options of signDKIM()."
    )


class DKIMOptions(SignOptions):
    """How a notification is signed."""

    selector: bytes | None = option(None, "The selector.")
    domain: bytes | None = option(None, "The signing domain.")
    key: Value = option(None, "The private key: PEM text or a key resource.")


class RescheduleOptions(Options):
    """The options of Reschedule()."""

    reason: bytes | None = option(None, "A reason for the log.")
    increment_retry: bool = option(True, "Count this as a retry.")
    reset_retry: bool = option(False, "Start counting retries from zero.")
    transportid: bytes | None = option(None, "The transport from now on.")
    priority: int | None = option(None, "From now on: 1 goes before the other mail of its domain, 0 in its turn.")


class RetryOptions(RescheduleOptions):
    """The options of Retry()."""

    delay: float | None = option(None, "When to try again; default: the transport's interval.", unit="seconds")


class QueueOptions(RetryOptions):
    """The options of Queue()."""

    hold: bool = option(False, "Put the entry on hold.")
    quotas: Array | None = option(None, "Names of quotas that the entry counts for from now on.")
    dsn: Array | None = option(None, "What SetDSN() takes.")


class DeleteOptions(Options):
    """The options of Delete()."""

    reason: bytes | None = option(None, "A reason for the log.")


class BounceOptions(Options):
    """The options of Bounce()."""

    dsn: Array | None = option(None, "What SetDSN() takes.")


class SourceOptions(Options):
    """The options of SetSourceIP()."""

    nonlocal_source: bool = option(False, "`netaddr` is an IP address, configured on this machine or not.")


def requeue(run: Run, function: str, options: RescheduleOptions, delay: float | None, **more: object) -> NoReturn:
    """End with the entry back in the queue."""
    transport, priority = options.transportid, options.priority
    given = {
        "delay": delay,
        "increment_retry": options.increment_retry,
        "reset_retry": options.reset_retry,
        "transportid": None if transport is None else want_transport(run, function, transport),
        "priority": None if priority is None else want_priority(function, priority),
        **more,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    raise VerdictReached(Verdict("queue", reason=reason_lines(function, options.reason), options=chosen))


def undelivered(run: Run, function: str) -> None:
    """Refuses what makes no sense after a delivery (2019, "Post-delivery")."""
    if isinstance(run.host, PostDeliveryContext) and run.host.delivered:
        raise ScriptError(f"{function}(): the message was delivered")


@both.function("Queue", halts=True)
def queue(run: Run, options: QueueOptions | None = None) -> NoReturn:
    """Keep the message and retry later; beyond the last retry it is bounced or deleted as the transport says.

    After a delivery this is an error.

    Example:
        Queue(["delay" => 300, "reason" => "the quota is used up", "increment_retry" => false]);
    """
    undelivered(run, "Queue")
    options = options or QueueOptions()
    if options.dsn is not None:
        keep_dsn(run, "Queue", DSNOptions.read("Queue", options.dsn))
    delay = want_optional_delay("Queue", options.delay)
    quotas = None if options.quotas is None else want_quotas("Queue", options.quotas)
    requeue(run, "Queue", options, delay, hold=options.hold, quotas=quotas)


def want_optional_delay(function: str, delay: float | None) -> float | None:
    return None if delay is None else want_delay(function, "option delay", delay)


@both.function("Delete", halts=True)
def delete(run: Run, options: DeleteOptions | None = None) -> NoReturn:
    """Remove the message from the queue without a bounce. After a delivery this is an error.

    Example:
        if ($sender == "") Delete();
    """
    undelivered(run, "Delete")
    reason = None if options is None else reason_lines("Delete", options.reason)
    raise VerdictReached(Verdict("delete", reason=reason))


@both.function("Bounce", aliases=["GenerateDSN"], halts=True)
def bounce(run: Run, options: BounceOptions | None = None) -> NoReturn:
    """Remove the message from the queue and send a bounce (RFC 3464) to its sender; none to the null sender.

    After a delivery this is an error.

    Example:
        if ($retry > 3) Bounce(["dsn" => ["from_name" => "Mail service"]]);
    """
    undelivered(run, "Bounce")
    if options is not None and options.dsn is not None:
        keep_dsn(run, "Bounce", DSNOptions.read("Bounce", options.dsn))
    raise VerdictReached(Verdict("bounce"))


@both.function("SetMetaData")
def set_metadata(run: Run, metadata: Array) -> None:
    """Replace the entry's metadata; later retries see it too. Keys and values are strings, 64 KiB in all.

    Example:
        SetMetaData(GetMetaData() + ["attempts" => "$retry"]);
    """
    host(run, QueueContext).entry.metadata = want_metadata("SetMetaData", "parameter 1 (metadata)", metadata)


@both.function("GetMetaData")
def get_metadata(run: Run) -> Array:
    """Return the entry's metadata; an empty array without any.

    Example:
        echo GetMetaData()["customer"] ?? "nobody";
    """
    return metadata_array(host(run, QueueContext).entry.metadata)


@both.function("SetDSN")
def set_dsn(run: Run, options: DSNOptions) -> None:
    """Say how a notification looks that comes of this attempt: a bounce, or news of a delay.

    It holds for this attempt. A signature that the configuration's `dsn.dkim` asks for is replaced by that of the
    option `dkim`.

    Example:
        SetDSN(["from" => "postmaster@example.com", "from_name" => "Example mail", "transportid" => "bounces"]);
    """
    keep_dsn(run, "SetDSN", options)


def keep_dsn(run: Run, function: str, options: DSNOptions) -> None:
    transport, recipient, origin = options.transportid, options.recipient, options.from_
    host(run, QueueContext).dsn = DSNPlan(
        transportid=None if transport is None else want_transport(run, function, transport),
        recipient=None if recipient is None else want_address(function, "option recipient", recipient),
        metadata={} if options.metadata is None else want_metadata(function, "option metadata", options.metadata),
        from_address=None if origin is None else want_address(function, "option from", origin),
        from_name=options.from_name,
        jobid=options.jobid or b"",
        signer=None if options.dkim is None else read_signer(run, function, options.dkim),
    )


def read_signer(run: Run, function: str, given: Array) -> Signer:
    """How a notification is to be signed, checked: when there is one, no script is there to hear of mistakes."""
    options = DKIMOptions.read(function, given)
    if options.selector is None or options.domain is None or options.key is None:
        raise ScriptError(f"{function}(): option dkim: wanted selector, domain and key")
    signer = Signer(function, options.selector, options.domain, options.key, options)
    try:
        signer.check(host(run, QueueContext).services.clock.time())
    except ScriptError as error:
        raise ScriptError(f"{function}(): option dkim: {error.message.removeprefix(f'{function}(): ')}") from None
    return signer


@before.function("Try", halts=True)
def try_(run: Run, options: TryOptions | None = None) -> NoReturn:
    """Attempt the delivery now; the options hold for this attempt and go over what the transport says.

    Of several source addresses the first one is taken that is of the mail host's family (IPv4, IPv6) and that no
    suspension or policy holds back: in random order, or as they are listed with `sourceip_random` false. A HELO name
    that stands with an address goes before the option `helo`, and that before the address's own.

    Example:
        Try(["host" => "mx.example.net", "port" => 2525, "tls" => "require"]);
    """
    if options is not None:
        context = host(run, PreDeliveryContext)
        apply_server(context.services, "Try", options, context.plan, shuffled=options.sourceip_random)
        apply_envelope(context, options)
    raise VerdictReached(Verdict("try"))


def apply_envelope(context: PreDeliveryContext, options: TryOptions) -> None:
    """Sender, recipient and job id of the attempt."""
    plan = context.plan
    if options.sender is not None:
        plan.sender = want_address("Try", "option sender", options.sender, null=True)
        plan.senderparams |= read_params("option sender", options.sender)
    if options.recipient is not None:
        plan.recipient = want_address("Try", "option recipient", options.recipient)
        plan.recipientparams |= read_params("option recipient", options.recipient)
    plan.pooling = options.pooling
    if options.jobid is not None:
        context.entry.jobid = options.jobid


def read_params(where: str, address: bytes | Array) -> dict[str, str]:
    params = address.get(b"params") if isinstance(address, Array) else None
    return want_parameters("Try", where, params) if isinstance(params, Array) else {}


@before.function("Reschedule", halts=True)
def reschedule(run: Run, delay: float, options: RescheduleOptions | None = None) -> NoReturn:
    """Put the message back for so many seconds.

    Example:
        if (CurrentConnections("to-domain", $recipientdomain, 3) == false)
            Reschedule(rand(1, 30), ["reason" => "too many connections", "increment_retry" => false]);
    """
    delay = want_delay("Reschedule", "parameter 1 (delay)", delay)
    requeue(run, "Reschedule", options or RescheduleOptions(), delay)


@before.function("SetSourceIP")
def set_source_ip(run: Run, netaddr: bytes | Array, options: SourceOptions | None = None) -> None:
    """Let this attempt leave from an address of the configuration, `netaddr:ID`; its hostname is the HELO name.

    An array of ids takes one that no queue_suspend() holds back. With the option `nonlocal_source` the text may be an
    IP address.

    Example:
        SetSourceIP("netaddr:4");
    """
    context = host(run, PreDeliveryContext)
    nonlocal_source = options is not None and options.nonlocal_source
    if isinstance(netaddr, Array):
        context.plan.sources = choose_sources(context.services, "SetSourceIP", netaddr, nonlocal_source, shuffled=True)
    elif netaddr in {string(item) for item in context.services.addresses}:
        name = "netaddr:" + text(netaddr)
        context.plan.sources = [find_source(context.services, "SetSourceIP", name, nonlocal_source=False)]
    else:
        context.plan.sources = [find_source(context.services, "SetSourceIP", text(netaddr), nonlocal_source)]
    run.set_variable("sourceip", string(context.plan.sources[0].address))


@before.function("SetDestination")
def set_destination(run: Run, host_: bytes, port: int | None = None) -> None:
    """Let this attempt go to a host (a name or an IP address) and port.

    Example:
        SetDestination("10.2.0.1", 2525);
    """
    plan = host(run, PreDeliveryContext).plan
    plan.host = want_host("SetDestination", "parameter 1 (host)", host_)
    run.set_variable("destination", host_)
    if port is not None:
        plan.port = want_port("SetDestination", "parameter 2 (port)", port)
        run.set_variable("destinationport", float(port))


@before.function("SetHELO")
def set_helo(run: Run, hostname: bytes) -> None:
    """Say HELO with this name in this attempt.

    Example:
        SetHELO("mail4.example.com");
    """
    host(run, PreDeliveryContext).plan.helo = want_host("SetHELO", "parameter 1 (hostname)", hostname)


@before.function("SetSASL")
def set_sasl(run: Run, username: bytes, password: bytes) -> None:
    """Log in at the destination in this attempt (AUTH PLAIN, LOGIN or CRAM-MD5).

    Example:
        SetSASL("customer", "secret");
    """
    plan = host(run, PreDeliveryContext).plan
    plan.username, plan.password = username, password


@before.function("SetTLS")
def set_tls(run: Run, options: TLSOptions) -> None:
    """Set the TLS mode of this attempt (disabled, optional, optional_verify, require, require_verify) and its options.

    The `_verify` modes want a certificate that an authority of this system has signed, for the mail host's name; or for
    one of `tls_verify_name`. With `optional` mail goes out without TLS when the handshake fails.

    Example:
        SetTLS(["tls" => "require", "tls_protocols" => "TLSv1.2,TLSv1.3"]);
    """
    apply_tls("SetTLS", options, host(run, PreDeliveryContext).plan)


@before.function("SetXCLIENT")
def set_xclient(run: Run, attributes: Array) -> None:
    """Send an XCLIENT command with these attributes (name to value) in this attempt, once it is connected.

    A next hop that does not offer XCLIENT is a temporary failure.

    Example:
        SetXCLIENT(["ADDR" => $senderip, "HELO" => $senderhelo]);
    """
    host(run, PreDeliveryContext).plan.xclient = want_parameters("SetXCLIENT", "parameter 1 (attributes)", attributes)


@before.function("SetProtocol")
def set_protocol(run: Run, protocol: bytes) -> None:
    """Set the protocol of this attempt: `smtp`, or `lmtp` (RFC 2033).

    Example:
        SetProtocol("lmtp");
    """
    host(run, PreDeliveryContext).plan.protocol = want_protocol("SetProtocol", protocol)


@before.function("SetSender")
def set_sender(run: Run, sender: bytes | Array) -> bytes | None:
    """Change MAIL FROM in this attempt. Returns the address, or none if it is not one.

    Example:
        SetSender("bounces@example.com");
    """
    address = read_address(sender, null=True)
    if address is None:
        return None
    host(run, PreDeliveryContext).plan.sender = address
    return show_address(run, "sender", address)


@before.function("SetSenderParams")
def set_sender_params(run: Run, params: Array) -> None:
    """Set parameters of MAIL FROM in this attempt, name to value; an empty value is the keyword alone.

    RET and ENVID are left out where the next hop does not offer DSN (RFC 3461). SIZE, BODY and SMTPUTF8 are ours.

    Example:
        SetSenderParams(["RET" => "HDRS", "ENVID" => $messageid]);
    """
    plan = host(run, PreDeliveryContext).plan
    plan.senderparams = want_parameters("SetSenderParams", "parameter 1 (params)", params)


@before.function("SetRecipient")
def set_recipient(run: Run, recipient: bytes | Array) -> bytes | None:
    """Change RCPT TO in this attempt. Returns the address, or none if it is not one.

    Example:
        SetRecipient("archive@example.com");
    """
    address = read_address(recipient)
    if address is None:
        return None
    host(run, PreDeliveryContext).plan.recipient = address
    return show_address(run, "recipient", address)


@before.function("SetRecipientParams")
def set_recipient_params(run: Run, params: Array) -> None:
    """Set parameters of RCPT TO in this attempt, name to value; an empty value is the keyword alone.

    NOTIFY and ORCPT are left out where the next hop does not offer DSN (RFC 3461).

    Example:
        SetRecipientParams(["NOTIFY" => "NEVER"]);
    """
    plan = host(run, PreDeliveryContext).plan
    plan.recipientparams = want_parameters("SetRecipientParams", "parameter 1 (params)", params)


@before.function("CurrentConnections")
async def current_connections(run: Run, namespace: bytes, entry: bytes | float, maximum: int) -> bool:
    """Take one of `maximum` connection slots for this attempt, and return true; false if all are taken.

    Slots are counted by namespace and entry; the end of the attempt frees them.

    Example:
        if (CurrentConnections("to-domain", $recipientdomain, 3) == false) Reschedule(10);
    """
    if not 0 <= maximum <= MAX_CONNECTIONS:
        raise ScriptError(f"CurrentConnections(): parameter 3 (max): wanted 0 to {MAX_CONNECTIONS}, got {maximum}")
    context = host(run, PreDeliveryContext)
    names = want_name("CurrentConnections", 1, namespace), want_name("CurrentConnections", 2, to_string(entry))
    taken = await context.services.slots.take(*names, maximum, context.holder)
    context.took_slot = context.took_slot or taken
    return taken


@after.function("Retry", halts=True)
def retry(run: Run, options: RetryOptions | None = None) -> NoReturn:
    """Retry later, as the transport says or after `delay` (2015; the default unless the error is permanent).

    After a delivery this is an error.

    Example:
        if ($errorcode == 450) Retry(["delay" => 60, "reason" => "greylisted"]);
    """
    undelivered(run, "Retry")
    if options is None:
        raise VerdictReached(Verdict("queue"))
    requeue(run, "Retry", options, want_optional_delay("Retry", options.delay))


@after.function("Deliver", halts=True)
def deliver(run: Run, recipient: bytes | Array, transport: bytes) -> NoReturn:
    """Queue the message at once for a new recipient and transport, its retry count reset.

    Example:
        Deliver("archive@example.com", "outbound");
    """
    address = want_address("Deliver", "parameter 1 (recipient)", recipient)
    transportid = want_transport(run, "Deliver", transport)
    raise VerdictReached(Verdict("deliver", options={"recipient": address, "transportid": transportid}))


@after.function("Default", halts=True)
def default() -> NoReturn:
    """Do what would happen without a script.

    Example:
        Default();
    """
    raise VerdictReached(Verdict("default"))


@after.function("GetTLS")
def get_tls(run: Run, options: FingerprintOptions | None = None) -> Array:
    """Return how the attempt was encrypted: `started`, and if so `protocol`, `cipher` (older: `ciphers`), `keysize`.

    `peer_cert` is the next hop's certificate (`subject`, `issuer`, `subject_alt_name`, `version`, `serial_number`,
    `not_valid_before`, `not_valid_after`, and with the option its `fingerprint`), `peer_cert_error` 0 where it was
    verified.

    Example:
        if (GetTLS()["started"]) echo "over TLS";
    """
    return tls_report("GetTLS", host(run, PostDeliveryContext).outcome.tls, options)
