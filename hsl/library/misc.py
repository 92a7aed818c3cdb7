"""Chapter "Misc": the installation, the log, and addresses of the internet protocols."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from hsl.builtins import Chapter
from hsl.errors import ScriptError, near
from hsl.library.host import HasHostname, HasSerial, Logs

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("Misc")

PRIORITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
MAX_PRIORITY = 23 * 8 + 7  # the last facility, the last severity (RFC 5424 section 6.2.1)
MAX_ADDRESS = 128  # bytes; the longest address has 45, two of them make a range
UUID_TEXT = re.compile(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
MACHINE_ID = Path("/etc/machine-id")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@chapter.function("serial")
def serial(run: Run) -> bytes:
    """Return the serial number of the installation: the host's, or one derived from the machine's identity.

    Example:
        echo length(serial()) > 0;  // expect: true
    """
    if isinstance(run.host, HasSerial):
        return run.host.serial()
    try:
        identity = MACHINE_ID.read_bytes().strip()
    except OSError:
        identity = b""
    from hashlib import sha256

    return sha256(b"serial\0" + (identity or system_name())).hexdigest()[:16].encode()


@chapter.function("gethostname")
def gethostname(run: Run) -> bytes:
    """Return the hostname of the installation: on a gateway `environment.hostname`, otherwise the system's.

    Example:
        echo gethostname();
    """
    return run.host.hostname() if isinstance(run.host, HasHostname) else system_name()


def system_name() -> bytes:
    return os.fsencode(os.uname().nodename)


@chapter.function("uuid")
def uuid() -> bytes:
    """Return a unique id: a random UUID (RFC 9562 version 4), in lower case.

    Example:
        echo uuid();
        echo length(uuid());  // expect: 36
    """
    from uuid import uuid4

    return str(uuid4()).encode()


@chapter.function("uuidv5", constant=True)
def uuidv5(uuidnamespace: bytes, value: bytes) -> bytes:
    """Return the id that a value always has in a namespace: a UUID by SHA-1 (RFC 9562 version 5), in lower case.

    The namespace is a UUID as text; the RFC has some (section 6.6). The value is bytes. Raises an error for a namespace
    that is no UUID.

    Example:
        $dns = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        echo uuidv5($dns, "www.example.com");  // expect: 2ed6657d-e927-568b-95e1-2665a8aea6a2
    """
    from hashlib import sha1
    from uuid import UUID

    if not UUID_TEXT.fullmatch(uuidnamespace):
        raise ScriptError("uuidv5(): parameter 1 (uuidnamespace): wanted a UUID")
    digest = sha1(UUID(uuidnamespace.decode()).bytes + value, usedforsecurity=False).digest()
    return str(UUID(bytes=digest[:16], version=5)).encode()


@chapter.function("syslog")
def syslog(run: Run, priority: bytes | float, message: bytes) -> None:
    """Write a message to the log with a priority: a name from "emerg" to "debug", or a number.

    Numbers are severity (0 to 7) plus 8 times the facility (RFC 5424 section 6.2.1), up to 191; anything else is an
    error. The message is bytes. A host without a log gets it as echo.

    Example:
        syslog("notice", "one of eight names");
        syslog(3 + (4 << 3), "an error of the facility auth");
    """
    number = read_priority(priority)
    if isinstance(run.host, Logs):
        run.host.syslog(number, message)
    else:
        run.echo(b"%s: %s" % (PRIORITIES[number % 8].encode(), message))


def read_priority(priority: bytes | float) -> int:
    where = "syslog(): parameter 1 (priority)"
    if isinstance(priority, bytes):
        name = priority.decode("utf-8", "replace")
        if name not in PRIORITIES:
            raise ScriptError(f"{where}: there is no priority {name[:40]!r}", hint=near(name[:40], PRIORITIES))
        return PRIORITIES.index(name)
    if not 0 <= priority <= MAX_PRIORITY:
        raise ScriptError(f"{where}: wanted 0 to {MAX_PRIORITY}")
    return int(priority)


def parse_address(text: bytes) -> Address | None:
    """An IPv4 or IPv6 address in its printable form, or None."""
    try:
        return ipaddress.ip_address(text.decode("ascii")) if len(text) <= MAX_ADDRESS else None
    except ValueError:
        return None


def parse_network(text: bytes) -> tuple[Address, Address] | None:
    """First and last address of `address`, `address/prefix` or `first-last`, or None."""
    if len(text) > MAX_ADDRESS:
        return None
    if b"-" in text:
        start, _, end = text.partition(b"-")
        first, last = parse_address(start.strip()), parse_address(end.strip())
        return None if first is None or last is None or first.version != last.version else (first, last)
    try:
        network = ipaddress.ip_network(text.decode("ascii"), strict=False)
    except ValueError:
        return None
    return network.network_address, network.broadcast_address


@chapter.function("inet_includes", aliases=("in_network",), constant=True)
def inet_includes(ip: bytes, network: bytes) -> bool | None:
    """Return true if an address lies in a network: an address, a subnet (a/n) or a range (a-b).

    None if one of them cannot be read; false if one is IPv4 and the other IPv6.

    Example:
        echo inet_includes("127.0.0.1", "127.0.0.1/8");  // expect: true
        echo inet_includes("10.0.0.9", "10.0.0.1-10.0.0.8");  // expect: false
        echo inet_includes("2001:db8::1", "2001:db8::/32");  // expect: true
        echo inet_includes("localhost", "127.0.0.1/8");  // expect: none
    """
    address = parse_address(ip)
    bounds = parse_network(network)
    if address is None or bounds is None:
        return None
    first, last = bounds
    return address.version == first.version and int(first) <= int(address) <= int(last)


@chapter.function("inet_ntop", constant=True)
def inet_ntop(ip: bytes) -> bytes | None:
    """Return the printable form of an address of 4 (IPv4) or 16 (IPv6) bytes, or none.

    Example:
        echo inet_ntop(pack("C4", 192, 0, 2, 1));  // expect: 192.0.2.1
    """
    return str(ipaddress.ip_address(ip)).encode() if len(ip) in (4, 16) else None


@chapter.function("inet_pton", constant=True)
def inet_pton(ip: bytes) -> bytes | None:
    """Return the 4 (IPv4) or 16 (IPv6) bytes of a printable address, or none.

    Example:
        echo unpack("C4", inet_pton("192.0.2.1"));  // expect: [0=>192,1=>0,2=>2,3=>1]
    """
    address = parse_address(ip)
    return None if address is None else address.packed


@chapter.function("inet_reverse", constant=True)
def inet_reverse(ip: bytes, zone: bytes | None = None) -> bytes | None:
    """Return the name under which an address is looked up in the DNS, by default below in-addr.arpa or ip6.arpa.

    None if the address cannot be read. `zone` is what follows the address: a DNS list's name.

    Example:
        echo inet_reverse("192.0.2.1");  // expect: 1.2.0.192.in-addr.arpa
        echo inet_reverse("192.0.2.1", "dnsbl.example.com");  // expect: 1.2.0.192.dnsbl.example.com
    """
    address = parse_address(ip)
    if address is None:
        return None
    pointer = address.reverse_pointer.encode()
    return pointer if zone is None else b".".join([*pointer.split(b".")[:-2], zone])
