"""How a script describes a server: the options that Try() and send() share, checked, into a delivery plan."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from hsl.builtins import Options, option
from hsl.errors import ScriptError, near
from hsl.library.tls import EVERY_PROTOCOL, client_context, read_names, server_name
from hsl.runtime.context import text
from hsl.runtime.functions.arguments import read_ip, to_number, want_ip, want_known, want_parameters
from hsl.runtime.model import Address, DeliveryPlan, SourceIP, TLSSettings
from hsl.values import Array, Value, to_string

if TYPE_CHECKING:
    from hsl.runtime.runner import Services

TLS_MODES = ("disabled", "optional", "optional_verify", "require", "require_verify")
PROTOCOLS = ("smtp", "lmtp")
HOSTNAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?\Z|\[[0-9A-Fa-f:.A-Za-z]{1,60}\]\Z")
MX_PATTERN = re.compile(r"(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?\.?\Z")
STATES = {  # of a dialogue (reference 2019, "SMTP states"): the timeout that is meant
    "BANNER": "banner", "HELO": "helo", "EHLO": "helo", "LHLO": "helo", "STARTTLS": "starttls",
    "AUTH-CRAM-MD5": "auth", "AUTH-PLAIN": "auth", "AUTH-LOGIN": "auth", "AUTH-LOGIN-USER": "auth", "AUTH": "auth",
    "XCLIENT": "helo", "MAIL": "mail", "RCPT": "rcpt", "DATA": "data", "EOD": "dot", "RSET": "rset", "QUIT": "quit",
}  # fmt: skip
MAX_TIMEOUT = 3600.0  # seconds


class TLSOptions(Options):
    """What a script says about TLS."""

    tls: bytes | None = option(None, f"One of {', '.join(TLS_MODES)}.")
    tls_sni: bytes | bool | None = option(None, "The name to ask for by SNI; true: the mail host's, as `_verify` does.")
    tls_protocols: bytes | None = option(None, "The TLS protocols, separated by commas; those after `!` are left out.")
    tls_ciphers: bytes | None = option(None, "The ciphers of TLS up to 1.2, as OpenSSL lists them.")
    tls_verify_host: bool | None = option(None, "The certificate must be for the mail host; default: in `_verify`.")
    tls_verify_name: Array | None = option(None, "Host names, one of which the certificate must be for.")
    tls_default_ca: bool = option(False, "The authorities that this system knows; there are no others.")
    tls_client_cert: bytes | None = option(None, "Our certificate, its chain and its private key as PEM text.")
    tls_capture_peer_cert: bool = option(False, "Without effect: post-delivery always sees the peer's certificate.")


class ServerOptions(TLSOptions):
    """A server to deliver to."""

    host: bytes | None = option(None, "The host or IP address to connect to, or `lookup-mx`.")
    port: int | None = option(None, "The TCP port.")
    helo: bytes | None = option(None, "The HELO name.")
    sourceip: bytes | Array | None = option(
        None, "Source addresses, one is used: ids, or arrays of `id` or `address` and `helo`."
    )
    sourceipid: bytes | None = option(None, "The id of a source address.")
    nonlocal_source: bool = option(False, "Allow source addresses that are not configured on this machine.")
    saslusername: bytes | None = option(None, "Log in with this user name.")
    saslpassword: bytes | None = option(None, "The password to log in with.")
    protocol: bytes | None = option(None, "`smtp` or `lmtp` (RFC 2033).")
    connect_timeout: float | None = option(None, "How long connecting may take.", unit="seconds")
    timeout: Array | None = option(None, "How long each state may take: BANNER, EHLO, MAIL, … EOD.", unit="seconds")
    xclient: Array | None = option(None, "Attributes of an XCLIENT command, name to value.")
    mx_include: Array | None = option(None, "Only mail hosts of these names, or below `*.` of them.")
    mx_exclude: Array | None = option(None, "No mail hosts of these names, or below `*.` of them.")
    chunking: bool = option(True, "Without effect: messages are sent by DATA.")


def server_plan(
    services: Services, function: str, options: ServerOptions, sender: Address, recipient: Address
) -> DeliveryPlan:
    """A plan by a server's settings alone; without `tls` there is none (reference 2019, "server array")."""
    plan = DeliveryPlan(sender, recipient, tls="disabled")
    apply_server(services, function, options, plan)
    return plan


def apply_server(
    services: Services, function: str, options: ServerOptions, plan: DeliveryPlan, *, shuffled: bool = True
) -> None:
    """Change a plan by the options that are given. `shuffled`: source addresses in any order. Raises ScriptError."""
    if options.host is not None:
        host = want_host(function, "option host", options.host)
        plan.host = None if host == "lookup-mx" else host
    if options.port is not None:
        plan.port = want_port(function, "option port", options.port)
    if options.helo is not None:
        plan.helo = want_host(function, "option helo", options.helo)
    if options.sourceipid is not None:
        plan.sources = [find_source(services, function, "netaddr:" + text(options.sourceipid), nonlocal_source=False)]
    if options.sourceip is not None:
        plan.sources = choose_sources(services, function, options.sourceip, options.nonlocal_source, shuffled)
    apply_tls(function, options, plan)
    if options.protocol is not None:
        plan.protocol = want_protocol(function, options.protocol)
    if options.connect_timeout is not None:
        plan.connect_timeout = want_timeout(function, "connect_timeout", options.connect_timeout)
    apply_dialogue(function, options, plan)


def apply_tls(function: str, options: TLSOptions, plan: DeliveryPlan) -> None:
    """Change the mode and the settings of TLS by the options that are given."""
    if options.tls is not None:
        plan.tls = want_tls(function, text(options.tls))
    old, sni = plan.tls_settings, options.tls_sni
    plan.tls_settings = TLSSettings(
        sni=old.sni if sni is None else sni if isinstance(sni, bool) else server_name(function, sni),
        protocols=options.tls_protocols or old.protocols,
        ciphers=options.tls_ciphers or old.ciphers,
        verify_host=old.verify_host if options.tls_verify_host is None else options.tls_verify_host,
        names=old.names if options.tls_verify_name is None else read_names(function, options.tls_verify_name),
        certificate=options.tls_client_cert or old.certificate,
    )
    if options.tls_protocols or options.tls_ciphers or options.tls_client_cert:  # may they be? (0.3 ms)
        client_context(
            function, protocols=options.tls_protocols or EVERY_PROTOCOL, ciphers=options.tls_ciphers, verify=False,
            certificate=options.tls_client_cert,
        )  # fmt: skip


def apply_dialogue(function: str, options: ServerOptions, plan: DeliveryPlan) -> None:
    """What is said on the connection, and which hosts it may be to."""
    if options.saslusername is not None:
        plan.username = options.saslusername
    if options.saslpassword is not None:
        plan.password = options.saslpassword
    if options.timeout is not None:
        plan.timeouts = read_timeouts(function, options.timeout)
    if options.xclient is not None:
        plan.xclient = want_parameters(function, "option xclient", options.xclient)
    if options.mx_include is not None:
        plan.mx_include = read_hosts(function, "mx_include", options.mx_include)
    if options.mx_exclude is not None:
        plan.mx_exclude = read_hosts(function, "mx_exclude", options.mx_exclude)


def read_timeouts(function: str, timeouts: Array) -> dict[str, float]:
    """The longest wait of each state, by our name for it."""
    result: dict[str, float] = {}
    for key, value in timeouts.pairs():
        state = text(to_string(key))
        if state not in STATES:
            raise ScriptError(
                f"{function}(): option timeout: there is no state {state!r}; there are {', '.join(STATES)}",
                hint=near(state, STATES),
            )
        result[STATES[state]] = want_timeout(function, f"timeout {state}", to_number(value))
    return result


def want_timeout(function: str, name: str, seconds: float) -> float:
    if not 0 < seconds <= MAX_TIMEOUT:
        raise ScriptError(f"{function}(): option {name}: wanted seconds up to {MAX_TIMEOUT:g}, got {seconds:g}")
    return seconds


def read_hosts(function: str, name: str, hosts: Array) -> tuple[str, ...]:
    """Names of mail hosts, lower case; `*.` stands for one label."""
    found = [text(to_string(value)) for value in hosts.values()]
    for item in found:
        if not MX_PATTERN.match(item):
            raise ScriptError(f"{function}(): option {name}: wanted host names, got {item[:60]!r}")
    return tuple(item.lower().removesuffix(".") for item in found)


def find_source(services: Services, function: str, name: str, nonlocal_source: bool) -> SourceIP:
    """The source address of `netaddr:ID` or, with nonlocal_source, of a literal IP address."""
    addresses = services.addresses
    if name.startswith("netaddr:"):
        found = addresses[want_known(function, "address", name.removeprefix("netaddr:"), addresses)]
        return SourceIP(found.address, found.hostname, found.id)
    if not nonlocal_source:
        raise ScriptError(
            f"{function}(): wanted netaddr:ID, got {name!r}", hint="an IP address needs the option nonlocal_source"
        )
    return SourceIP(want_ip(function, name), None, None, nonlocal_source=True)


def choose_sources(
    services: Services, function: str, given: bytes | Array, nonlocal_source: bool, shuffled: bool
) -> list[SourceIP]:
    """The sources in the order they are to be tried: at random or as listed, last what a suspension holds back.

    One that stands there twice is as likely again.
    """
    items: list[Value] = list(given.values()) if isinstance(given, Array) else [given]
    if isinstance(given, Array) and (given.has(b"id") or given.has(b"address")):
        items = [given]
    if not items:
        raise ScriptError(f"{function}(): option sourceip: wanted at least one address")
    sources = [read_source(services, function, item, nonlocal_source) for item in items]
    if shuffled:
        random.shuffle(sources)
    unique = {(item.address, item.helo): item for item in reversed(sources)}
    ordered = sorted(unique.values(), key=sources.index)
    return sorted(ordered, key=lambda item: is_suspended(services, item))


def is_suspended(services: Services, source: SourceIP) -> bool:
    return services.policies.suspended({"localip": source.address}, late=True) is not None


def read_source(services: Services, function: str, item: Value, nonlocal_source: bool) -> SourceIP:
    """A source by id (`4` or `netaddr:4`), or an array of `id` or `address` and `helo`.

    With `nonlocal_source` an IP address may stand by itself.
    """
    if not isinstance(item, Array):
        if nonlocal_source and (address := read_ip(text(to_string(item)))) is not None:
            return SourceIP(address, nonlocal_source=True)
        netaddr = "netaddr:" + text(to_string(item)).removeprefix("netaddr:")
        return find_source(services, function, netaddr, nonlocal_source=False)
    helo, name = item.get(b"helo"), item.get(b"id")
    if name is None:
        address = want_ip(function, text(to_string(item.get(b"address"))))
        source = SourceIP(address, None, None, nonlocal_source)
    else:
        source = read_source(services, function, name, nonlocal_source)
    if isinstance(helo, bytes):
        source.helo, source.own_helo = want_host(function, "option sourceip", helo), True
    return source


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


def want_tls(function: str, mode: str) -> str:
    if mode.startswith("dane"):
        raise ScriptError(f"{function}(): option tls: {mode} is not supported in this version")
    if mode not in TLS_MODES:
        raise ScriptError(
            f"{function}(): option tls: wanted one of {', '.join(TLS_MODES)}, got {mode}", hint=near(mode, TLS_MODES)
        )
    return mode


def want_protocol(function: str, protocol: bytes) -> str:
    name = text(protocol)
    if name not in PROTOCOLS:
        raise ScriptError(f"{function}(): wanted smtp or lmtp, got {name}")
    return name
