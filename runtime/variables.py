"""The variables that several stages have, with their keys: what `hsl check` knows and the manual shows.

The references of 2015 and 2019 and today's catalogue name them; `later` are those that this version never sets.
"""

from __future__ import annotations

from collections.abc import Mapping

from hsl.compiler import Variable


def variables(*groups: tuple[Variable, ...]) -> Mapping[str, Variable]:
    return {item.name: item for group in groups for item in group}


def later(name: str, kind: str, reason: str) -> Variable:
    """A key of today's reference that this version never sets."""
    return Variable(name, kind, "In today's reference", later=reason)


NO_PLUGINS = "there are no plugins"
NO_PROXY = "servers do not take the PROXY protocol"
NO_SUBMISSION = "messages come by SMTP only"

ADDRESS = (
    Variable("localpart", "string", "The part before the @, case as it came"),
    Variable("domain", "string", "The domain, case as it came"),
)
RECIPIENT_KEYS = (
    Variable("recipient", "string", "The recipient's address, lower case"),
    Variable("address", "array", "The address in its two parts", keys=ADDRESS),
    Variable("params", "array", "The parameters of RCPT TO, name to value"),
    Variable("transportid", "string", "The transport's id"),
)
HELO_KEYS = (
    Variable("verb", "string", "HELO or EHLO"),
    Variable("host", "string", "The name that the client gave"),
)
PEERCERT_KEYS = (
    Variable("x509", "resource", "The certificate, for the class X509"),
    Variable("chain", "array", "The certificates that came, its own first, for the class X509"),
    Variable("error", "number", "What OpenSSL says of it (SSL_get_verify_result), 0: good; missing: it was not asked"),
)
TLS_KEYS = (
    Variable("protocol", "string", "The protocol's version"),
    Variable("cipher", "string", "The cipher"),
    Variable("keysize", "number", "The cipher's key size in bits"),
    Variable("peercert", "array", "The peer's certificate, if it gave one", keys=PEERCERT_KEYS),
)
SNI = Variable("sni", "string", "The server name that the client asked for")
AUTH_KEYS = (
    Variable("mechanism", "string", "The SASL mechanism, upper case"),
    Variable("username", "string", "The user name"),
)
ENDPOINTS = (
    Variable("remoteip", "string", "The client's IP address"),
    Variable("remoteport", "number", "The client's TCP port"),
    Variable("remoteptr", "string", "The client's verified reverse DNS name, if there is one"),
    later("remoteuid", "number", "clients come by TCP, not by UNIX sockets"),
    Variable("localip", "string", "The server's IP address"),
    Variable("localport", "number", "The server's TCP port"),
    Variable("serverid", "string", "The server's id"),
)
HELO = Variable("helo", "array", "HELO, once it was accepted", keys=HELO_KEYS)
TLS = Variable("tls", "array", "TLS, if it is in use", keys=(*TLS_KEYS, SNI))
AUTH = Variable("auth", "array", "The login, if there was one", keys=AUTH_KEYS)


def connection(*keys: Variable) -> Variable:
    """`$connection`, with what may be known of a session besides its two ends."""
    known = (
        Variable("id", "string", "The connection's id"),
        Variable("priority", "number", "Of the session's messages, as connect set it: 0 or 1"),
        *ENDPOINTS,
    )
    return Variable("connection", "array", "The session so far", keys=(*known, *keys))


TRANSACTION_ID = Variable("id", "string", "The transaction's id")
NO_ENVELOPE = Variable("transaction", "array", "The transaction that has not begun yet", keys=(TRANSACTION_ID,))
TRANSACTION = Variable(
    "transaction",
    "array",
    "The envelope as far as it is accepted",
    keys=(
        TRANSACTION_ID,
        Variable("sender", "string", "The sender's address, lower case; empty for the null sender"),
        Variable("senderaddress", "array", "The sender's address in its two parts", keys=ADDRESS),
        Variable("senderparams", "array", "The parameters of MAIL FROM, name to value"),
        Variable("recipients", "array", "The accepted recipients, each an array like $arguments of rcptto"),
    ),
)
CONTEXT = Variable("context", "any", "The connection's own variable, kept from script to script", readonly=False)
QUEUE_CONTEXT = Variable("context", "any", "Passed from pre-delivery to post-delivery of one attempt", readonly=False)

BASE = (
    connection(HELO, TLS, AUTH),
    TRANSACTION,
    CONTEXT,
    Variable("senderip", "string", "The client's IP address"),
    Variable("senderport", "number", "The client's TCP port"),
    Variable("serverip", "string", "The server's IP address"),
    Variable("serverport", "number", "The server's TCP port"),
    Variable("serverid", "string", "The server's id"),
    Variable("messageid", "string", "The transaction's id"),
)
SASLUSERNAME = Variable("saslusername", "string", "The user name of the login; empty without one")
SENDERHELO = Variable("senderhelo", "string", "The client's HELO name")
GREETED = (
    *BASE,
    SENDERHELO,
    Variable("tlsstarted", "boolean", "Whether the session uses TLS"),
    Variable("saslauthed", "boolean", "Whether the client is logged in"),
    SASLUSERNAME,
)
SENDER_NAMES = (
    Variable("sender", "string", "The sender's address, lower case; empty for the null sender"),
    Variable("senderlocalpart", "string", "The local part of the sender, case as it came"),
    Variable("senderdomain", "string", "The domain of the sender, lower case; empty for the null sender"),
)
RECIPIENT_NAMES = (
    Variable("recipient", "string", "The recipient's address, lower case"),
    Variable("recipientlocalpart", "string", "The local part of the recipient, case as it came"),
    Variable("recipientdomain", "string", "The domain of the recipient, lower case"),
    Variable("transportid", "string", "The transport's id"),
)
ENVELOPE = (
    *GREETED,
    *SENDER_NAMES,
    Variable("senderparams", "array", "The parameters of MAIL FROM, name to value"),
)
MESSAGE_NAMES = (
    Variable("recipients", "array", "The addresses of all recipients, in order"),
    Variable("recipientdomains", "array", "The domains of all recipients, in order"),
    Variable("actionid", "number", "Grows with each action and recipient of the message"),
)
RECEIVED = Variable(
    "transaction",
    "array",
    "The envelope",
    keys=(*TRANSACTION.keys, Variable("ts", "number", "When the message was all there, Unix time in seconds")),
)
QUEUED = (
    Variable(
        "message",
        "array",
        "The queued message",
        keys=(
            Variable(
                "id",
                "array",
                "Its ids",
                keys=(
                    Variable("transaction", "string", "The transaction's id"),
                    Variable("queue", "number", "The queue id"),
                ),
            ),
            Variable("ts", "number", "When it was received, Unix time in seconds"),
            Variable("serverid", "string", "The server that received it"),
            Variable("sender", "string", "The sender's address, lower case"),
            Variable("senderaddress", "array", "The sender's address in its two parts", keys=ADDRESS),
            Variable("recipient", "string", "The recipient's address, lower case"),
            Variable("recipientaddress", "array", "The recipient's address in its two parts", keys=ADDRESS),
            Variable("transportid", "string", "The transport's id"),
            Variable("tenantid", "string", "Whose mail it is, if somebody said"),
            Variable("jobid", "string", "The job id, if there is one"),
            Variable("priority", "number", "1: it goes before the other mail of its domain; 0"),
            Variable("size", "number", "The size in bytes"),
            Variable(
                "file",
                "array",
                "The message as it lies in the queue",
                keys=(
                    later("original", "FileResource", "the queue holds the message with its changes only"),
                    Variable("modified", "resource", "With the changes that scripts made, for the class File"),
                ),
            ),
            Variable(
                "dsn",
                "array",
                "What the client asked about notifications (RFC 3461), if anything",
                keys=(
                    Variable("envid", "string", "ENVID, as xtext"),
                    Variable("ret", "string", "RET: FULL or HDRS"),
                    Variable("notify", "array", "The words of NOTIFY"),
                    Variable("orcpt", "string", "ORCPT, as xtext with its type"),
                ),
            ),
        ),
    ),
    QUEUE_CONTEXT,
    Variable("senderip", "string", "The IP address of the client that sent the message"),
    SENDERHELO,
    SASLUSERNAME,
    *SENDER_NAMES,
    *RECIPIENT_NAMES,
    Variable("retry", "number", "The retry count"),
    Variable("retries", "number", "The most retries that the transport allows"),
    Variable("messageid", "string", "The transaction's id"),
    Variable("actionid", "number", "The number of the action that queued the message"),
    Variable("queueid", "number", "The queue id"),
    Variable("serverid", "string", "The server that received the message"),
)
RESULT_KEYS = (
    Variable("code", "number", "The SMTP reply code"),
    Variable("enhanced", "array", "The enhanced status code, three numbers"),
    Variable("reason", "array", "The lines of the reply"),
    Variable("state", "string", "The command that was answered: BANNER, EHLO, MAIL, RCPT, DATA, EOD …"),
)
ERROR_KEYS = (
    Variable("temporary", "boolean", "Whether a later attempt may succeed"),
    Variable("message", "string", "What went wrong"),
    Variable("type", "string", "dns, bind, connect, timeout, tls, disconnect, protocol, config or plan"),
    Variable("dns", "string", "What the DNS said: NXDOMAIN, NODATA, NULLMX, SERVFAIL, TIMEOUT"),
)
ROUTE_KEYS = (
    Variable("id", "string", "The connection's id; attempts may share one"),
    Variable("transactions", "number", "How many mails it has carried, with this one"),
    Variable("localip", "string", "The source address"),
    Variable("localipid", "string", "The source address's id"),
    Variable("helo", "string", "Our HELO name"),
    Variable("remoteip", "string", "The address connected to; empty on DNS errors"),
    Variable("remotemx", "string", "The mail host connected to"),
    Variable("remotegreet", "array", "The lines of its banner"),
    Variable(
        "tls",
        "array",
        "TLS, if it was started or should have been",
        keys=(
            Variable("started", "boolean", "Whether STARTTLS succeeded"),
            *TLS_KEYS,
            later("tlsa", "array", "there is no DANE"),
            Variable("tlsrpt", "string", "Why there was none that could be trusted, in the words of RFC 8460 4.3"),
        ),
    ),
)
POLICY_KEYS = (
    Variable("tags", "array", "Their tags"),
    Variable("policies", "array", "Each: id, fields, condition, tag, its limits, stop, properties"),
)
ATTEMPT = Variable(
    "attempt",
    "array",
    "The delivery attempt, if there was one",
    keys=(
        Variable("result", "array", "The reply that decided, if one did", keys=RESULT_KEYS),
        Variable("error", "array", "What decided when no reply did", keys=ERROR_KEYS),
        Variable("connection", "array", "How the attempt went out", keys=ROUTE_KEYS),
        Variable("duration", "number", "Seconds"),
        later("plugin", "array", NO_PLUGINS),
    ),
)
QUEUE_PLUGIN = later("queue", "array", NO_PLUGINS)


def arguments(*keys: Variable) -> tuple[Variable, ...]:
    return (Variable("arguments", "array", "What this stage is asked about", keys=keys),)
