"""Chapter "Mail": messages of a script's own."""

from __future__ import annotations

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.run import Run
from hsl.runtime.context import Context, string, text
from hsl.runtime.functions.arguments import (
    ALL_STAGES,
    host,
    refuse,
    want_address,
    want_metadata,
    want_priority,
    want_quotas,
    want_transport,
)
from hsl.runtime.model import QueueEntry, new_id
from hsl.runtime.outgoing import compose, read_headers, store
from hsl.values import Array

chapter = Chapter("Mail", stages=ALL_STAGES)


class MailOptions(Options):
    """The options of mail()."""

    sender_name: bytes = option(b"", "The sender's name in the From header.")
    recipient_name: bytes = option(b"", "The recipient's name in the To header.")
    headers: Array | None = option(None, "Headers, name to value; they replace those of that name.")
    metadata: Array | None = option(None, "Metadata for the queue entry: string keys and values.")
    jobid: bytes | None = option(None, "A job id for the queue entry.")
    tenantid: bytes | None = option(None, "Whose mail it is: a name for policies of the queue.")
    priority: int = option(0, "1 goes before the other mail of its domain, 0 in its turn.")
    quotas: Array | None = option(None, "Names of quotas that the entry counts for.")
    transportid: bytes | None = option(None, "The transport (the form without a transport parameter).")
    serverid: bytes | None = option(None, "The server that stands in the queue entry (2015).")
    plaintext: bool | None = option(None, "The body is plain text (2015, where HTML is the default).")
    rawbody: bool | None = option(None, "The body is plain text, without a template (2015).")
    variables: Array | None = option(None, "Not supported in this version: templates.")
    template: Array | bytes | None = option(None, "Not supported in this version: templates.")
    templatefile: Array | bytes | None = option(None, "Not supported in this version: templates.")


@chapter.function("mail")
async def mail(
    run: Run,
    sender: bytes | Array,
    recipient: bytes | Array,
    subject: bytes,
    body: bytes,
    transportid: bytes | MailOptions | None = None,
    options: MailOptions | None = None,
) -> bytes:
    """Put a message of one text part into the queue, and return its id; it is on disk then.

    Sender and recipient are addresses, or arrays of `localpart` and `domain`; an empty sender is the null sender.
    Subject and names are UTF-8 text, encoded where they have to be; the body is UTF-8 text, its line ends become CRLF.
    Date and Message-ID are added. One script may queue 1,000 messages.

    The 2015 form takes the options in place of the transport. Its body is HTML unless `plaintext` or `rawbody` is true,
    and it goes by the option `transportid`, or by the transport of the mail at hand, or by the only one there is.

    Example:
        mail("postmaster@example.com", "support@example.com", "Lunch", "How about lunch on Friday?", "outbound");
    """
    context = host(run, Context)
    classic = not isinstance(transportid, bytes)
    chosen = (transportid if isinstance(transportid, MailOptions) else options) or MailOptions()
    refuse("mail", chosen, "variables", "template", "templatefile")
    origin = want_address("mail", "parameter 1 (sender)", sender, null=True)
    target = want_address("mail", "parameter 2 (recipient)", recipient)
    now = context.services.clock.time()
    message = compose(
        context.services.hostname,
        (origin, chosen.sender_name),
        (target, chosen.recipient_name),
        subject,
        body,
        html=classic and not chosen.plaintext and not chosen.rawbody,
        headers=read_headers("mail", chosen.headers),
        now=now,
    )
    entry = QueueEntry(
        transaction=new_id(),
        sender=origin,
        recipient=target,
        transportid=choose_transport(run, transportid if isinstance(transportid, bytes) else chosen.transportid),
        serverid=context.serverid if chosen.serverid is None else text(chosen.serverid),
        metadata={} if chosen.metadata is None else want_metadata("mail", "option metadata", chosen.metadata),
        jobid=chosen.jobid or b"",
        tenantid=chosen.tenantid or b"",
        priority=want_priority("mail", chosen.priority),
        quotas=want_quotas("mail", chosen.quotas),
        ts=now,
        due=now,
    )
    transaction, _ = await store(context, "mail", message, entry)
    return string(transaction)


def choose_transport(run: Run, named: bytes | None) -> str:
    """The transport of that name; else the mail's own, or the only one."""
    context = host(run, Context)
    if named is not None:
        return want_transport(run, "mail", named)
    known = context.services.transports
    if context.default_transport in known:
        return context.default_transport
    if len(known) == 1:
        return next(iter(known))
    raise ScriptError("mail(): wanted a transport: parameter 5 (transportid), or the option transportid")
