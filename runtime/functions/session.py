"""Verdicts of the SMTP session: connect, helo, auth, mailfrom, rcptto, disconnect; Reject and Defer also at data.

Reference 2019: "Connect" … "RCPT TO"; 2015: "IP". What Accept() changes travels in the verdict's options: the server
writes it back (remoteip, remoteptr, priority, host, extensions, username, sender, recipient, transportid).
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError
from hsl.run import Run
from hsl.runtime.context import (
    AuthContext,
    ConnectContext,
    Context,
    DataContext,
    HeloContext,
    MailFromContext,
    RcptToContext,
    SessionContext,
    string,
    strings,
    text,
)
from hsl.runtime.data import act
from hsl.runtime.functions.arguments import (
    MESSAGE_STAGES,
    FingerprintOptions,
    RefusalOptions,
    host,
    is_helo,
    read_address,
    read_ip,
    reason_lines,
    reply_codes,
    show_address,
    tls_report,
    want_address,
    want_ip,
    want_priority,
    want_transport,
)
from hsl.runtime.verdict import Verdict, VerdictReached
from hsl.values import Array, type_name

chapter = Chapter("SMTP session")
REFUSING = ("connect", "helo", "auth", "mailfrom", "rcptto", *MESSAGE_STAGES)
MAX_CHALLENGE = 9_216  # bytes; in base64 the 12,288 octets of RFC 4954 4
CODE = re.compile(r"([45]\d\d)(?:[ -]|\Z)")


class AcceptOptions(Options):
    reason: bytes | Array | None = option(None, "The text of the reply; an array has its lines.")
    reply_codes: Array | None = option(None, "The reply's `code` (number) and `enhanced` (array of three numbers).")


class AcceptConnectOptions(Options):
    reason: bytes | Array | None = option(None, "The text of the banner; an array has its lines.")
    remoteip: bytes | None = option(None, "Replaces the client's IP address.")
    remoteptr: bytes | None = option(None, "Replaces the client's reverse DNS name.")
    priority: int | None = option(None, "Of the session's messages: 1 goes before the other mail of its domain.")


class AcceptHeloOptions(Options):
    reason: bytes | None = option(None, "The first line of the reply.")
    host: bytes | None = option(None, "Replaces the client's HELO name.")
    extensions: Array | None = option(None, "The extensions to announce instead.")


class AcceptAuthOptions(AcceptOptions):
    username: bytes | None = option(None, "Replaces the user name.")


class AcceptSenderOptions(AcceptOptions):
    sender: bytes | Array | None = option(None, "Replaces the sender: an address, or its `localpart` and `domain`.")


class AcceptRecipientOptions(AcceptOptions):
    recipient: bytes | Array | None = option(None, "Replaces the recipient: an address, or `localpart` and `domain`.")
    transportid: bytes | None = option(None, "The transport to use for this recipient.")


def accept(options: Options, **changes: Any) -> NoReturn:
    """End with Accept; changes that are None are none."""
    code, enhanced = reply_codes("Accept", getattr(options, "reply_codes", None), 2)
    reason = reason_lines("Accept", getattr(options, "reason", None))
    changed = {name: value for name, value in changes.items() if value is not None}
    raise VerdictReached(Verdict("accept", reason=reason, code=code, enhanced=enhanced, options=changed))


@chapter.function("Accept", stages=["connect"], halts=True)
def accept_connection(options: AcceptConnectOptions | None = None) -> NoReturn:
    """Accept the connection; `remoteip` and `remoteptr` replace what is known of the client.

    `priority` is that of the session's messages, unless what queues them says otherwise.

    Example:
        Accept(["reason" => "mail.example.com ESMTP"]);
    """
    options = options or AcceptConnectOptions()
    accept(
        options,
        remoteip=None if options.remoteip is None else want_ip("Accept", text(options.remoteip)),
        remoteptr=None if options.remoteptr is None else text(options.remoteptr),
        priority=None if options.priority is None else want_priority("Accept", options.priority),
    )


@chapter.function("Accept", stages=["helo"], halts=True)
def accept_helo(options: AcceptHeloOptions | None = None) -> NoReturn:
    """Accept HELO or EHLO; `host` replaces the client's name, `extensions` what is announced.

    Example:
        Accept(["extensions" => GetExtensions()]);
    """
    options = options or AcceptHeloOptions()
    extensions = None if options.extensions is None else extension_names(options.extensions)
    accept(options, host=options.host, extensions=extensions)


@chapter.function("Accept", stages=["auth"], halts=True)
def accept_auth(options: AcceptAuthOptions | None = None) -> NoReturn:
    """Accept the login; `username` replaces the name given.

    Example:
        if ($saslusername == "user" and $saslpassword == "secret") Accept();
    """
    options = options or AcceptAuthOptions()
    accept(options, username=options.username)


@chapter.function("Accept", stages=["mailfrom"], halts=True)
def accept_sender(options: AcceptSenderOptions | None = None) -> NoReturn:
    """Accept the sender; `sender` replaces it for all recipients.

    Example:
        Accept(["sender" => ["localpart" => "postmaster", "domain" => "example.com"]]);
    """
    options = options or AcceptSenderOptions()
    sender = options.sender
    accept(options, sender=None if sender is None else want_address("Accept", "option sender", sender, null=True))


@chapter.function("Accept", stages=["rcptto"], halts=True)
def accept_recipient(run: Run, options: AcceptRecipientOptions | None = None) -> NoReturn:
    """Accept the recipient, wherever it is: this relays. `recipient` and `transportid` replace what was given.

    Example:
        if ($recipientdomain == "example.com") Accept(["recipient" => "catchall@example.com"]);
    """
    options = options or AcceptRecipientOptions()
    recipient, transport = options.recipient, options.transportid
    accept(
        options,
        recipient=None if recipient is None else want_address("Accept", "option recipient", recipient),
        transportid=None if transport is None else want_transport(run, "Accept", transport),
    )


def refusal(function: str, klass: int, reason: bytes | Array | None, options: RefusalOptions | None) -> Verdict:
    options = options or RefusalOptions()
    code, enhanced = reply_codes(function, options.reply_codes, klass)
    lines = reason_lines(function, reason)
    return Verdict(function.lower(), reason=lines, code=code, enhanced=enhanced, disconnect=options.disconnect)


def refuse(run: Run, verdict: Verdict) -> NoReturn:
    context = host(run, Context)
    if isinstance(context, DataContext):
        act(context, verdict.action, verdict)
    raise VerdictReached(verdict)


@chapter.function("Reject", stages=REFUSING, halts=True)
def reject(run: Run, reason: bytes | Array | None = None, options: RefusalOptions | None = None) -> NoReturn:
    """Refuse for good (5xx); an array, or newlines in the reason, make a reply of several lines.

    Example:
        Reject(["This address is closed.", "See example.com"], ["reply_codes" => ["code" => 550]]);
    """
    refuse(run, refusal("Reject", 5, reason, options))


@chapter.function("Defer", stages=REFUSING, halts=True)
def defer(run: Run, reason: bytes | Array | None = None, options: RefusalOptions | None = None) -> NoReturn:
    """Refuse for now (4xx); an array, or newlines in the reason, make a reply of several lines.

    Example:
        if (rate("connections", $senderip, 100, 60) == false) Defer("Too many, try later");
    """
    refuse(run, refusal("Defer", 4, reason, options))


@chapter.function("Allow", stages=["connect"], halts=True)
def allow() -> NoReturn:
    """Accept the connection (the name of Accept() in the 2015 reference).

    Example:
        if (inet_includes($senderip, "192.0.2.0/24")) Allow();
    """
    accept(AcceptConnectOptions())


@chapter.function("Block", stages=["connect"], halts=True)
def block(message: bytes | Array | None = None) -> NoReturn:
    """Refuse the connection (2015). A 4xx or 5xx code at the start of the message is the reply's code.

    Example:
        if (inet_includes($senderip, "198.51.100.0/24")) Block("554 Go away");
    """
    lines = reason_lines("Block", message) or ()
    match = CODE.match(lines[0]) if lines else None
    if match is None:
        raise VerdictReached(Verdict("reject", reason=lines or None))
    code = match[1]
    shown = tuple(line[4:] if line.startswith((code + " ", code + "-")) or line == code else line for line in lines)
    action = "defer" if code[0] == "4" else "reject"
    raise VerdictReached(Verdict(action, reason=shown if any(shown) else None, code=int(code)))


@chapter.function("Pass", stages=["disconnect"], halts=True)
def pass_() -> NoReturn:
    """End the script; nothing depends on it.

    Example:
        Pass();
    """
    raise VerdictReached(Verdict("pass"))


@chapter.function("Reply", stages=["auth"], halts=True)
def reply(run: Run, reply: bytes | None = None, options: RefusalOptions | None = None) -> NoReturn:
    """Challenge the client (334); the script runs again for its response, with `$arguments["state"]` one higher.

    The challenge has at most 9,216 bytes; it is sent in base64, and `$arguments["response"]` is decoded. PLAIN and
    LOGIN are built in: there is nothing to reply to. The code may be another of class 3, without an enhanced one.

    Example:
        if ($arguments["mechanism"] == "CRAM-MD5" and $arguments["state"] == 0) {
            $context = "<" . uuid() . "@mx.example.com>";
            Reply($context);
        }
    """
    if host(run, AuthContext).password is not None:
        raise ScriptError("Reply(): PLAIN and LOGIN are built in; there is nothing more to ask the client")
    options = options or RefusalOptions()
    code, enhanced = reply_codes("Reply", options.reply_codes, 3)
    if enhanced is not None:
        raise ScriptError("Reply(): option reply_codes: a challenge has no enhanced code (RFC 2034 4)")
    challenge = reply or b""
    if len(challenge) > MAX_CHALLENGE:
        raise ScriptError(f"Reply(): parameter 1 (reply): wanted at most {MAX_CHALLENGE} bytes, got {len(challenge)}")
    changes = {"challenge": challenge}
    raise VerdictReached(Verdict("reply", code=code, disconnect=options.disconnect, options=changes))


def extension_names(extensions: Array) -> tuple[str, ...]:
    names: list[str] = []
    for value in extensions.values():
        if not isinstance(value, bytes):
            raise ScriptError(f"Accept(): option extensions: wanted strings, got {type_name(value)}")
        names.append(text(value))
    return tuple(names)


# --- what earlier versions had beside the options of Accept()


@chapter.function("SetSenderIP", stages=["connect"])
def set_sender_ip(run: Run, senderip: bytes) -> bytes | None:
    """Change the client's IP address for this session. Returns it, or none if it is no IP address.

    Limits on connections go on with the address that the client came from.

    Example:
        if (inet_includes($senderip, "64:ff9b::/96")) SetSenderIP(inet_ntop(inet_pton($senderip)[12:16]));
    """
    address = read_ip(text(senderip))
    if address is None:
        return None
    host(run, ConnectContext).connection.remoteip = address
    run.set_variable("senderip", string(address))
    return string(address)


@chapter.function("SetHELO", stages=["helo"])
def set_helo(run: Run, senderhelo: bytes) -> bytes | None:
    """Change the client's HELO name for this session. Returns it, or none if it is no host name.

    Example:
        SetHELO("client.example.com");
    """
    if not is_helo(senderhelo):
        return None
    host(run, HeloContext).host = senderhelo
    run.set_variable("senderhelo", senderhelo)
    return senderhelo


@chapter.function("GetExtensions", stages=["helo"])
def get_extensions(run: Run) -> Array:
    """Return the extensions that the answer to EHLO announces.

    Example:
        echo GetExtensions()[0];
    """
    return strings(host(run, HeloContext).extensions)


@chapter.function("GetTLS", stages=["helo", "auth", "mailfrom", "rcptto", *MESSAGE_STAGES])
def get_tls(run: Run, options: FingerprintOptions | None = None) -> Array:
    """Return how the session is encrypted: `started`, and if so `protocol`, `cipher` (older: `ciphers`), `keysize`.

    Of a client that gave a certificate (the server's `tls.clients` asks for one) there are `peer_cert` (`subject`,
    `issuer`, `subject_alt_name`, `version`, `serial_number`, `not_valid_before`, `not_valid_after`, and with the option
    its `fingerprint`) and `peer_cert_error`, OpenSSL's number for what is wrong with it, 0 for nothing.

    Example:
        if (!GetTLS()["started"]) echo "not encrypted";
    """
    return tls_report("GetTLS", host(run, SessionContext).connection.tls, options)


@chapter.function("SetSender", stages=["mailfrom", "rcptto"])
def set_sender(run: Run, sender: bytes | Array) -> bytes | None:
    """Change the sender of the message, for all recipients. Returns the address, or none if it is not one.

    Example:
        if ($senderdomain == "") SetSender("postmaster@example.com");
    """
    address = read_address(sender, null=True)
    if address is None:
        return None
    context = host(run, SessionContext)
    if isinstance(context, MailFromContext):
        context.asked = address
    else:
        context.transaction.sender = address
    return show_address(run, "sender", address)


@chapter.function("SetRecipient", stages=["rcptto"])
def set_recipient(run: Run, recipient: bytes | Array) -> bytes | None:
    """Change this recipient. Returns the address, or none if it is not one.

    Example:
        if ($recipientdomain == "old.example.com") SetRecipient("$recipientlocalpart@example.com");
    """
    address = read_address(recipient)
    if address is None:
        return None
    host(run, RcptToContext).asked.address = address
    return show_address(run, "recipient", address)
