"""What a configuration's shape cannot say: names that must exist, files that must be there, settings that need others.

Works on the file's plain data, so that these findings come together with those of the shape.
"""

from __future__ import annotations

import grp
import ipaddress
import pwd
import re
from collections.abc import Iterator
from pathlib import Path

from hsl.errors import near
from hsl.smtpd.certificates import CertificateError, check_pair, read_certificates, read_file
from hsl.smtpd.config import (
    CONTROL_SOCKET,
    Budgets,
    ClamAV,
    DKIMKey,
    Phases,
    Queues,
    ServerTLS,
    SpamAssassin,
    read_seconds,
)
from hsl.smtpd.policyconfig import check_policies
from hsl.smtpd.transports import read_signer
from hsl.smtpd.yamlfile import Document, KeyPath, dotted

MAX_SOCKET_PATH = 107  # sockaddr_un
STAGES = tuple(Phases.model_fields)
DOMAIN = re.compile(r"[\w\-]+(\.[\w\-]+)*\Z|\[[^\[\]\s]+\]\Z")  # names, also internationalised; address literals
BUDGET = ("scripting", "budgets", "seconds")


def check_references(document: Document, folder: Path) -> None:
    """Add a finding for everything in the document that points nowhere, or opens what should be closed."""
    transports = [
        (*path, "id") for group in document.each("transportgroups") for path in transports_of(document, group)
    ]
    addresses = [(*path, "id") for path in document.each("addresses")]
    check_unique(document, "LDAP directory", [(*path, "id") for path in document.each("scripting", "ldap")])
    check_unique(document, "server", [(*path, "id") for path in document.each("servers")])
    check_unique(document, "transport group", [(*path, "id") for path in document.each("transportgroups")])
    check_unique(document, "transport", transports)
    check_unique(document, "address", addresses)
    names = texts(document, transports)
    for server in document.each("servers"):
        check_known(document, (*server, "transport"), "transport", names)
        check_server(document, server, folder)
    for group in document.each("transportgroups"):
        check_known(document, (*group, "dsn", "transport"), "transport", names)
        check_dkim(document, (*group, "dsn", "dkim"), folder)
        for transport in transports_of(document, group):
            check_known(document, (*transport, "session", "sourceip"), "address", texts(document, addresses))
    for path in document.each("addresses"):
        check_address(document, (*path, "address"))
    for path in document.each("resolver", "servers"):
        check_address(document, path)
    check_fixed_hosts(document)
    check_script_network(document)
    check_hooks(document, folder)
    check_state(document)
    check_workers(document)
    check_privdrop(document)
    check_scanner(document)
    check_control_socket(document, folder)
    check_listeners(document)
    check_monitor(document)
    check_policies(document)


def transports_of(document: Document, group: KeyPath) -> list[KeyPath]:
    return document.each(*group, "transports")


def texts(document: Document, paths: list[KeyPath]) -> list[str]:
    return [text for text in map(document.text, paths) if text]


def check_unique(document: Document, kind: str, paths: list[KeyPath]) -> None:
    seen: dict[str, KeyPath] = {}
    for path in paths:
        text = document.text(path)
        if text is None:
            continue
        if text in seen:
            first = document.value_span(seen[text]).line
            document.findings.error(
                "duplicate", f"duplicate {kind} id {text!r}", document.value_span(path), f"first used on line {first}"
            )
        seen.setdefault(text, path)


def check_known(document: Document, path: KeyPath, kind: str, names: list[str]) -> None:
    """The text at a path, if there is any, must be one of the names."""
    text = document.text(path)
    if document.get(*path) is None or text is None or text in names:
        return
    hint = near(text, names, "did you mean '{}'?") or (f"known: {', '.join(names[:20])}" if names else None)
    document.findings.error("unknown", f"unknown {kind} {text!r}", document.value_span(path), hint)


def check_address(document: Document, path: KeyPath) -> None:
    text = document.text(path)
    if text is None:
        return
    try:
        ipaddress.ip_address(text)
    except ValueError:
        document.findings.error("address", f"{text!r} is not an IP address", document.value_span(path))


def check_fixed_hosts(document: Document) -> None:
    hosts = document.get("resolver", "hosts")
    for name in hosts if isinstance(hosts, dict) else ():
        for path in document.each("resolver", "hosts", name):
            check_address(document, path)


def check_server(document: Document, server: KeyPath, folder: Path) -> None:
    check_networks(document, (*server, "relay", "networks"))
    check_tls(document, (*server, "tls"), folder)
    check_end_of_data(document, server)
    check_domains(document, (*server, "phases", "rcptto", "hook", "recipientdomains"))
    auth = (*server, "phases", "auth", "hook")
    tls = document.get(*server, "tls")
    if document.get(*auth) is not None and tls is None and document.get(*server, "auth", "without_tls") is not True:
        document.findings.warning(
            "auth", "this auth script never runs: AUTH is not offered without TLS", document.value_span(auth),
            "give the server a tls section, or set auth.without_tls (loopback tests only)",
        )  # fmt: skip
    mechanisms = (*server, "auth", "mechanisms")
    if document.get(*mechanisms) is not None and document.get(*auth) is None:
        document.findings.warning(
            "auth", "AUTH is not offered: the server has no auth script", document.key_span(mechanisms),
            "name one in phases.auth.hook",
        )  # fmt: skip
    for listener in document.each(*server, "listeners"):
        if document.get(*listener, "implicit_tls") is True and tls is None:
            span = document.key_span((*listener, "implicit_tls"))
            document.findings.error("tls", "implicit_tls needs the server's tls section", span)


def check_end_of_data(document: Document, server: KeyPath) -> None:
    """One of the two stages decides."""
    data, eod = ((*server, "phases", stage, "hook") for stage in ("data", "eod"))
    if document.get(*data) is None or document.get(*eod) is None:
        return
    name = document.text((*server, "id")) or f"{server[-1]}"
    document.findings.error(
        "stages", f"{dotted(eod)}: server {name!r} has a data hook, too (line {document.value_span(data).line})",
        document.value_span(eod), "choose one: data runs for each recipient, eod once for the message",
    )  # fmt: skip


def check_domains(document: Document, path: KeyPath) -> None:
    """The keys of a map by domain."""
    given = document.get(*path)
    seen: dict[str, KeyPath] = {}
    for domain in given if isinstance(given, dict) else ():
        place = (*path, domain)
        span = document.key_span(place)
        if domain != "*" and not DOMAIN.match(domain):
            hint = "domains are exact; '*' alone is for all others" if "*" in domain else None
            document.findings.error("domain", f"{dotted(path)}: {domain!r} is not a domain", span, hint)
        elif domain.lower() in seen:
            first = document.key_span(seen[domain.lower()]).line
            document.findings.error("duplicate", f"{domain!r} stands here twice", span, f"first used on line {first}")
        seen.setdefault(domain.lower(), place)


def check_networks(document: Document, path: KeyPath) -> None:
    for item in document.each(*path):
        text = document.text(item)
        if text is None:
            continue
        span = document.value_span(item)
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            document.findings.error("network", f"{text!r} is not a network", span, "write it like 192.0.2.0/24")
            continue
        if network.prefixlen == 0:
            document.findings.warning(
                "relay", f"open relay: {text} lets the whole world send through this server", span
            )
        elif ipaddress.ip_interface(text).ip != network.network_address:
            document.findings.error("network", f"{text!r} has host bits set", span, f"did you mean '{network}'?")


def check_script_network(document: Document) -> None:
    path = ("scripting", "network")
    for item in (*document.each(*path, "allow"), *document.each(*path, "deny")):
        text = document.text(item)
        try:
            ipaddress.ip_network(text or "0.0.0.0", strict=False)
        except ValueError:
            span = document.value_span(item)
            document.findings.error("network", f"{text!r} is not a network", span, "write it like 192.0.2.0/24")
    for item in document.each(*path, "unix"):
        text = document.text(item)
        if text is not None and not text.startswith("/"):
            document.findings.error("network", f"{text!r} is not an absolute path", document.value_span(item))


def check_tls(document: Document, path: KeyPath, folder: Path) -> None:
    """All files must be readable, and pairs belong together; a name has one certificate."""
    for item in (path, *document.each(*path, "certificates")):
        check_certificate(document, item, folder)
    names = [name for item in document.each(*path, "certificates") for name in document.each(*item, "names")]
    check_unique(document, "server name", names)
    ca = (*path, "clients", "ca")
    text = document.text(ca)
    if text is not None and check_readable(document, ca, folder / text):
        try:
            read_certificates(folder / text, read_file(folder / text))
        except CertificateError as error:
            document.findings.error("tls", str(error), document.value_span(ca))
    if text is None and document.get(*path, "clients", "mode") == "verify":
        span = document.value_span((*path, "clients", "mode"))
        document.findings.error("tls", "clients.mode verify needs clients.ca, a PEM file of authorities", span)


def check_certificate(document: Document, path: KeyPath, folder: Path) -> None:
    """A certificate and its key."""
    files: list[Path] = []
    for name in ("certificate", "privatekey"):
        text = document.text((*path, name))
        if text is not None and check_readable(document, (*path, name), folder / text):
            files.append(folder / text)
    if len(files) == 2:
        try:
            check_pair(ServerTLS(certificate=files[0], privatekey=files[1]))
        except CertificateError as error:
            message = f"certificate and privatekey cannot be used together: {error}"
            document.findings.error("tls", message, document.key_span(path))


def check_dkim(document: Document, path: KeyPath, folder: Path) -> None:
    """A key that signs notifications."""
    given = {name: document.text((*path, name)) for name in DKIMKey.model_fields}
    file = given["privatekey"]
    if file is None or not check_readable(document, (*path, "privatekey"), folder / file):
        return
    key = DKIMKey(selector=given["selector"] or "x", domain=given["domain"] or "x", privatekey=folder / file)
    try:
        read_signer(key)
    except (OSError, ValueError) as error:
        document.findings.error("dkim", str(error), document.key_span(path))


def check_readable(document: Document, path: KeyPath, file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        document.findings.error("file", f"cannot read {file}: {reason}", document.value_span(path))
        return False
    return True


def hook_paths() -> Iterator[tuple[str, KeyPath]]:
    """Where hooks stand below a server, and below `queues`. Maps by domain aside."""
    for stage in STAGES:
        yield "servers", ("phases", stage, "hook")
    for name in Queues.model_fields:
        if name.endswith("delivery"):
            yield "queues", (name, "hook")


def check_hooks(document: Document, folder: Path) -> None:
    root = folder / (document.text(("scripting", "rootpath")) or ".")
    for section, tail in hook_paths():
        for base in document.each("servers") if section == "servers" else [("queues",)]:
            check_script(document, (*base, *tail), root)
    for server in document.each("servers"):
        path = (*server, "phases", "rcptto", "hook", "recipientdomains")
        given = document.get(*path)
        for domain in given if isinstance(given, dict) else ():
            check_script(document, (*path, domain), root)


def check_script(document: Document, path: KeyPath, root: Path) -> None:
    """The script at a path, if there is one, is a file."""
    text = document.text(path)
    if document.get(*path) is not None and text is not None and not is_file(root / text):
        hint = near(text, script_names(root, text), "did you mean '{}'?")
        document.findings.error("hook", f"no script {text!r} in {root}", document.value_span(path), hint)


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def script_names(root: Path, text: str) -> list[str]:
    """The scripts beside the one that is missing, at most 1,000."""
    try:
        found = sorted((root / text).parent.glob("*.hsl"))[:1000]
        return [str(path.relative_to(root)) for path in found]
    except (OSError, ValueError):
        return []


def check_state(document: Document) -> None:
    url = document.get("state", "url")
    if document.get("state", "backend") == "redis":
        if not url:
            span = document.value_span(("state", "backend"))
            document.findings.error("state", "the redis backend needs state.url", span, "url: redis://127.0.0.1:6379/0")
        elif not str(url).startswith(("redis://", "rediss://", "unix://")):
            span = document.key_span(("state", "url"))
            document.findings.error("state", "state.url must begin with redis://, rediss:// or unix://", span)
    elif url:
        span = document.key_span(("state", "url"))
        document.findings.warning("state", "state.url is not used: state.backend is memory", span)


def check_privdrop(document: Document) -> None:
    """User and group must exist here."""
    path = ("environment", "privdrop")
    for name, find in (("user", pwd.getpwnam), ("group", grp.getgrnam)):
        text = document.text((*path, name))
        if document.get(*path, name) is None or text is None:
            continue
        try:
            find(text)
        except (KeyError, ValueError):
            span = document.value_span((*path, name))
            document.findings.error("privdrop", f"there is no {name} {text!r} on this system", span)


def check_workers(document: Document) -> None:
    """Several processes need a common memory for what scripts count."""
    path = ("environment", "workers")
    workers = document.get(*path)
    if isinstance(workers, int) and workers > 1 and document.get("state", "backend") != "redis":
        document.findings.error(
            "workers", f"{workers} workers need rates and slots in Redis", document.value_span(path),
            "state: {backend: redis, url: redis://127.0.0.1:6379/0}; with 1 worker they may stay in its memory",
        )  # fmt: skip


def check_scanner(document: Document) -> None:
    """A script must outlive its scanner, else its time is over before the scanner's answer can be."""
    for name, default in (("spamassassin", SpamAssassin().timeout), ("clamav", ClamAV().timeout)):
        path = ("scanners", name)
        timeout = seconds_at(document, (*path, "timeout"), default)
        budget = seconds_at(document, BUDGET, Budgets().seconds)
        if document.get(*path) is None or timeout is None or budget is None or timeout < budget:
            continue
        given = (*path, "timeout") if document.get(*path, "timeout") is not None else BUDGET
        document.findings.warning(
            "scanner", f"a script's time ({budget:g} s) is over before the scanner's timeout ({timeout:g} s)",
            document.value_span(given), f"make scripting.budgets.seconds larger than scanners.{name}.timeout",
        )  # fmt: skip


def seconds_at(document: Document, path: KeyPath, default: float) -> float | None:
    """The time at a path in seconds; None for what is no time (that is found elsewhere)."""
    value = document.get(*path)
    try:
        seconds = default if value is None else read_seconds(value)
    except ValueError:
        return None
    return float(seconds) if isinstance(seconds, int | float) else None


def check_control_socket(document: Document, folder: Path) -> None:
    given = ("environment", "controlsocket")
    text = document.text(given)
    path = (
        folder / text if text else folder / (document.text(("queues", "path")) or str(Queues().path)) / CONTROL_SOCKET
    )
    if len(str(path).encode("utf-8", "replace")) > MAX_SOCKET_PATH:
        span = document.value_span(given if text else ("queues", "path"))
        message = f"the control socket's path is longer than {MAX_SOCKET_PATH} bytes: {path}"
        document.findings.error("controlsocket", message, span, "set environment.controlsocket to a shorter path")


def check_monitor(document: Document) -> None:
    """Metrics tell of senders and customers, and there is no password: loopback only."""
    path = ("monitor", "listener", "address")
    text = document.text(path)
    try:
        loopback = text is None or ipaddress.ip_address(text).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        hint = "use 127.0.0.1 or ::1; a proxy can serve it to others"
        document.findings.error(
            "monitor", "the monitor listens on a loopback address only", document.value_span(path), hint
        )
    check_unique(document, "metric", [(*item, "name") for item in document.each("monitor", "metrics")])


def check_listeners(document: Document) -> None:
    """No two listeners on one address and port."""
    seen: dict[tuple[str, int], KeyPath] = {}
    for server in document.each("servers"):
        for listener in document.each(*server, "listeners"):
            port = document.get(*listener, "port")
            pair = (document.text((*listener, "address")) or "127.0.0.1", 25 if port is None else port)
            if not isinstance(port, int | None) or pair[1] == 0:
                continue
            if pair in seen:
                first = document.value_span(seen[pair]).line
                message = f"{pair[0]}:{pair[1]} has two listeners"
                document.findings.error("duplicate", message, document.value_span(listener), f"first on line {first}")
            seen.setdefault(pair, listener)
