"""The message at the end of data, once for all recipients: Accept(), and the message that queues itself.

Reference 2019 "Per message", and today. Reject() and Defer() are session.py, scanners and headers message.py.
"""

from __future__ import annotations

from typing import NoReturn

from hsl.builtins import Chapter, Options, method, option
from hsl.errors import ScriptError, near
from hsl.library.mime import MailMessage, QueueOptions
from hsl.run import Run
from hsl.runtime.context import EodContext, text
from hsl.runtime.dsnrequest import DSNRequest, read_request
from hsl.runtime.eod import Envelope, queue_message
from hsl.runtime.functions.arguments import (
    host,
    reason_lines,
    reply_codes,
    want_address,
    want_delay,
    want_metadata,
    want_priority,
    want_quotas,
    want_transport,
)
from hsl.runtime.outgoing import ids_array, want_request
from hsl.runtime.verdict import Verdict, VerdictReached
from hsl.values import Array, to_string

chapter = Chapter("The whole message", stages=["eod"])

QUEUE = "EODMailMessage->queue"
REQUEST = {"envid": "a string", "ret": "a string", "notify": "a string or an array of strings", "orcpt": "a string"}


class AcceptMessageOptions(Options):
    """The options of Accept() at eod."""

    reason: bytes | Array | None = option(None, "The text of the reply, before the queue ids.")
    reply_codes: Array | None = option(None, "The reply's `code` (number) and `enhanced` (array of three numbers).")
    disconnect: bool = option(False, "Close the connection after the reply.")


@chapter.function("Accept", halts=True)
def accept_message(options: AcceptMessageOptions | None = None) -> NoReturn:
    """Answer 250 when everything that `$arguments["mail"]->queue()` was told to queue is on disk, and end the script.

    A message for which nothing was queued is accepted and dropped.

    Example:
        foreach ($transaction["recipients"] as $rcpt)
            $arguments["mail"]->queue($transaction["senderaddress"], $rcpt["address"], $rcpt["transportid"]);
        Accept();
    """
    options = options or AcceptMessageOptions()
    code, enhanced = reply_codes("Accept", options.reply_codes, 2)
    reason = reason_lines("Accept", options.reason)
    raise VerdictReached(Verdict("accept", reason=reason, code=code, enhanced=enhanced, disconnect=options.disconnect))


class EODQueueOptions(QueueOptions):
    """The options of queue() on the received message."""

    dsn: Array | None = option(
        None, "About notifications: `envid`, `ret`, `notify`, `orcpt` (RFC 3461), instead of what the client asked."
    )


@chapter.object("EODMailMessage", creatable=False)
class EODMailMessage(MailMessage):
    """The received message, `$arguments["mail"]`: a MailMessage whose queue() waits for Accept().

    Example:
        $mail = $arguments["mail"];
        $mail->addHeader("X-Checked", "yes");
        echo $mail->getSize() > 0;  // expect: true
    """

    @method("queue")
    def queue_received(
        self,
        run: Run,
        sender: bytes | Array,
        recipient: bytes | Array,
        transportid: bytes,
        options: EODQueueOptions | None = None,
    ) -> Array:
        """Queue the message as it is now for one recipient, once the script accepts; return `transaction` and `queue`.

        Addresses are strings, or arrays of `localpart` and `domain`; an empty sender is the null sender. A recipient of
        the transaction keeps the case of its local part, and what the client asked about notifications, unless `dsn`
        or the `params` of the addresses ask otherwise. All that is queued is stored together, before the 250; after
        Reject(), Defer() or an error none of it is. A message can be queued 100 times for each of its recipients.

        Example:
            $mail = $arguments["mail"];
            foreach ($transaction["recipients"] as $rcpt)
                $mail->queue($transaction["senderaddress"], $rcpt["address"], $rcpt["transportid"], ["delay" => 60]);
            Accept();
        """
        context = host(run, EodContext)
        if self.mail is not context.mail:
            raise ScriptError(f"{QUEUE}(): this is an earlier message, which is over")
        options = options or EODQueueOptions()
        number = queue_message(
            context,
            Envelope(
                sender=want_address(QUEUE, "parameter 1 (sender)", sender, null=True),
                recipient=want_address(QUEUE, "parameter 2 (recipient)", recipient),
                transportid=want_transport(run, QUEUE, transportid),
                metadata=want_metadata(QUEUE, "option metadata", options.metadata) if options.metadata else {},
                jobid=options.jobid or b"",
                tenantid=options.tenantid or b"",
                priority=None if options.priority is None else want_priority(QUEUE, options.priority),
                quotas=want_quotas(QUEUE, options.quotas),
                delay=want_delay(QUEUE, "option delay", options.delay),
                hold=options.hold,
                request=read_dsn(options.dsn) if options.dsn is not None else want_request(QUEUE, sender, recipient),
            ),
        )
        run.set_variable("actionid", float(context.state.actionid))
        return ids_array((context.message_id, number))


def read_dsn(given: Array) -> DSNRequest:
    """The option `dsn`. Raises ScriptError."""
    params: dict[str, str] = {}
    for key, value in given.pairs():
        name = text(to_string(key))
        if name not in REQUEST:
            raise ScriptError(f"{QUEUE}(): option dsn: there is no {name[:60]!r}", hint=near(name, REQUEST))
        words = value.values() if isinstance(value, Array) else [value]
        if not all(isinstance(word, bytes) for word in words):
            raise ScriptError(f"{QUEUE}(): option dsn: {name}: wanted {REQUEST[name]}")
        params[name.upper()] = ",".join(text(to_string(word)) for word in words)
    try:
        return read_request(params, params) or DSNRequest()
    except ValueError as error:
        raise ScriptError(f"{QUEUE}(): option dsn: {error}") from None
