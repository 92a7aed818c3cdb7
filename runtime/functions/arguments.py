"""Reading the arguments that the mail functions share: reasons, reply codes, addresses, metadata, names of things."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from hsl.builtins import Options, option
from hsl.errors import ScriptError, near
from hsl.library.certificates import X509
from hsl.run import Run
from hsl.runtime.context import Context, string, text
from hsl.runtime.model import Address, TLSInfo
from hsl.runtime.reply import Enhanced
from hsl.values import Array, Value, to_string, type_name

if TYPE_CHECKING:
    from hsl.runtime.runner import Services

C = TypeVar("C", bound=Context)

MESSAGE_STAGES = ("data", "eod")
SESSION_STAGES = ("connect", "helo", "auth", "mailfrom", "rcptto", *MESSAGE_STAGES, "disconnect")
QUEUE_STAGES = ("predelivery", "postdelivery")
ALL_STAGES = SESSION_STAGES + QUEUE_STAGES

MAX_METADATA = 64 * 1024  # bytes of all keys and values of one message
MAX_DELAY = 10 * 365 * 86400.0  # seconds
FINGERPRINTS = (b"md5", b"sha1", b"sha256", b"sha512")
MAX_QUOTAS = 10  # of one entry
MAX_QUOTA_NAME = 200  # bytes
LOCALPART = re.compile(
    rb'(?:[^\x00-\x20\x7f"<>()\[\]\\,;:@]{1,128}|"(?:[^\x00-\x1f\x7f"\\]|\\[\x20-\x7e]){0,128}")\Z'
)  # RFC 5321 4.1.2, RFC 6531 3.3
DOMAIN = re.compile(
    rb"(?:[A-Za-z0-9_\x80-\xff](?:[A-Za-z0-9_.\x80-\xff-]{0,253}[A-Za-z0-9_\x80-\xff])?|\[[^\[\]\s]{1,60}\])\Z"
)
HELO = re.compile(rb"[A-Za-z0-9_.:\[\]-]{1,255}\Z")
KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}\Z")
ESMTP_VALUE = re.compile(rb"[!-<>-~]{0,1000}\Z")


class RefusalOptions(Options):
    """The options of Reject() and Defer()."""

    disconnect: bool = option(False, "Close the connection after the reply.")
    reply_codes: Array | None = option(None, "The reply's `code` (number) and `enhanced` (array of three numbers).")


class FingerprintOptions(Options):
    """The options of GetTLS()."""

    fingerprint: bytes | None = option(None, "Of the peer's certificate: md5, sha1, sha256 or sha512.")


def tls_report(function: str, tls: TLSInfo | None, options: FingerprintOptions | None) -> Array:
    """What GetTLS() gives."""
    name = None if options is None else options.fingerprint
    if name is not None and name not in FINGERPRINTS:
        raise ScriptError(f"{function}(): option fingerprint: wanted md5, sha1, sha256 or sha512, got {text(name)}")
    if tls is None:
        return Array.record({b"started": False})
    cipher = string(tls.cipher)
    entries: dict[Value, Value] = {
        b"started": True,
        b"protocol": string(tls.protocol),
        b"cipher": cipher,
        b"ciphers": cipher,
        b"keysize": float(tls.keysize),
    }
    if tls.peercert is not None:
        entries[b"peer_cert"] = certificate_array(tls.peercert.certificate, None if name is None else text(name))
        if tls.peercert.error is not None:
            entries[b"peer_cert_error"] = float(tls.peercert.error)
    return Array.record(entries)


def certificate_array(der: bytes, fingerprint: str | None) -> Array:
    """A certificate as the older references show it (TLSSocket.getpeercert). Raises ScriptError."""
    certificate = X509.of(der)
    entries: dict[Value, Value] = {
        b"subject": name_array(certificate.subject()),
        b"issuer": name_array(certificate.issuer()),
        b"subject_alt_name": Array.record({b"DNS": certificate.subject_alt_name()}),
        b"version": certificate.version() - 1,  # as it stands in the certificate
        b"serial_number": certificate.serial_number().lower(),
        b"not_valid_before": certificate.not_valid_before(),
        b"not_valid_after": certificate.not_valid_after(),
    }
    if fingerprint is not None:
        entries[b"fingerprint"] = hashlib.new(fingerprint, der, usedforsecurity=False).hexdigest().encode()
    return Array.record(entries)


def name_array(pairs: Array) -> Array:
    """A name by its attributes; those that stand there more than once have an array."""
    found: dict[bytes, list[Value]] = {}
    for pair in pairs.values():
        assert isinstance(pair, Array)
        attribute, value = pair.values()
        found.setdefault(to_string(attribute), []).append(value)
    return Array.record({name: values[0] if len(values) == 1 else Array.of(values) for name, values in found.items()})


def host(run: Run, kind: type[C]) -> C:
    """The context that the script runs in."""
    if not isinstance(run.host, kind):
        raise ScriptError("this function is not available here")
    return run.host


def reason_lines(function: str, reason: bytes | Array | None) -> tuple[str, ...] | None:
    """The lines of a reply's text; none and the empty string mean the stage's own text."""
    if reason is None:
        return None
    values = reason.values() if isinstance(reason, Array) else [reason]
    lines: list[str] = []
    for value in values:
        if not isinstance(value, bytes | float):
            raise ScriptError(f"{function}(): parameter 1 (reason): wanted strings, got {type_name(value)}")
        lines += text(to_string(value)).replace("\r\n", "\n").split("\n")
    return tuple(lines) if any(lines) else None


def reply_codes(function: str, codes: Array | None, klass: int) -> tuple[int | None, Enhanced | None]:
    """The code and enhanced code of a `reply_codes` option; both must be of the class that the function stands for."""
    if codes is None:
        return None, None
    where = f"{function}(): option reply_codes"
    code = codes.get(b"code")
    if code is not None and not (is_integer(code) and int(to_number(code)) // 100 == klass):
        raise ScriptError(f"{where}: wanted a code {klass}00-{klass}99, got {text(to_string(code))}")
    enhanced = codes.get(b"enhanced")
    number = None if code is None else int(to_number(code))
    return number, None if enhanced is None else enhanced_code(where, enhanced, klass)


def enhanced_code(where: str, value: Value, klass: int) -> Enhanced:
    """An enhanced status code (RFC 3463 2) from an array of three numbers."""
    parts = value.values() if isinstance(value, Array) else []
    if len(parts) != 3 or not all(is_integer(part) and 0 <= to_number(part) <= 999 for part in parts):
        raise ScriptError(f"{where}: enhanced: wanted an array of three numbers")
    first, second, third = (int(to_number(part)) for part in parts)
    if first != klass:
        raise ScriptError(f"{where}: enhanced: wanted class {klass}, got {first}")
    return first, second, third


def is_integer(value: Value) -> bool:
    return isinstance(value, float) and not isinstance(value, bool) and value.is_integer()


def to_number(value: Value) -> float:
    return value if isinstance(value, float) else math.nan


def read_address(value: Value, *, null: bool = False) -> Address | None:
    """An envelope address from `local@domain` or ["localpart" => …, "domain" => …]; None if it is not one.

    `null` allows the null sender.
    """
    if isinstance(value, Array):
        localpart, domain = value.get(b"localpart"), value.get(b"domain")
        if not isinstance(localpart, bytes) or not isinstance(domain, bytes):
            return None
        address = Address(localpart, domain)
    elif isinstance(value, bytes):
        address = Address.of(value)
    else:
        return None
    if address == Address(b"", b""):
        return address if null else None
    return address if LOCALPART.match(address.localpart) and DOMAIN.match(address.domain) else None


def want_address(function: str, where: str, value: Value, *, null: bool = False) -> Address:
    """The address, or a ScriptError that names function and parameter."""
    address = read_address(value, null=null)
    if address is None:
        raise ScriptError(f"{function}(): {where}: wanted an email address, got {text(to_string(value))}")
    return address


def show_address(run: Run, variable: str, address: Address) -> bytes:
    """Update `$sender` or `$recipient` and its two parts; the address as scripts see it."""
    run.set_variable(variable, address.text)
    run.set_variable(f"{variable}localpart", address.localpart)
    run.set_variable(f"{variable}domain", address.host)
    return address.text


def is_helo(name: bytes) -> bool:
    """Whether a client may call itself that: a host name or an address literal (RFC 5321 4.1.1.1)."""
    return HELO.match(name) is not None


def read_ip(name: str) -> str | None:
    """An IP address in its usual form, or none."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return None


def want_ip(function: str, name: str) -> str:
    """An IP address in its usual form."""
    address = read_ip(name)
    if address is None:
        raise ScriptError(f"{function}(): wanted an IP address, got {name!r}")
    return address


def want_delay(function: str, where: str, delay: float) -> float:
    if not 0 <= delay <= MAX_DELAY:
        raise ScriptError(f"{function}(): {where}: wanted seconds from 0 to {MAX_DELAY:.0f}, got {delay:g}")
    return delay


def want_transport(run: Run, function: str, name: bytes) -> str:
    """The id of a configured transport."""
    return want_transport_id(host(run, Context).services, function, name)


def want_transport_id(services: Services, function: str, name: bytes) -> str:
    return want_known(function, "transport", text(name), services.transports)


def want_known(function: str, kind: str, name: str, known: Iterable[str]) -> str:
    """A configured name, or a ScriptError with the nearest one as its hint."""
    names = sorted(known)
    if name not in names:
        raise ScriptError(f"{function}(): there is no {kind} {name!r}", hint=near(name, names))
    return name


def want_metadata(function: str, where: str, metadata: Array) -> dict[bytes, bytes]:
    """Metadata: string keys and string values only (reference, SetMetaData)."""
    result: dict[bytes, bytes] = {}
    for key, value in metadata.pairs():
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            wrong = f"key {text(to_string(key))}" if not isinstance(key, bytes) else f"value {type_name(value)}"
            raise ScriptError(f"{function}(): {where}: wanted string keys and string values, got {wrong}")
        result[key] = value
    if sum(len(key) + len(value) for key, value in result.items()) > MAX_METADATA:
        raise ScriptError(f"{function}(): {where}: metadata exceeds {MAX_METADATA} bytes")
    return result


def want_parameters(function: str, where: str, parameters: Array) -> dict[str, str]:
    """ESMTP parameters (RFC 5321 4.1.2), name to value; an empty value is the keyword alone."""
    result: dict[str, str] = {}
    for key, value in parameters.pairs():
        name, given = text(to_string(key)), b"" if value is None else to_string(value)
        if not KEYWORD.match(name):
            raise ScriptError(f"{function}(): {where}: wanted a name of letters, digits and -, got {name[:60]!r}")
        if not ESMTP_VALUE.match(given):
            raise ScriptError(f"{function}(): {where}: {name}: wanted printable ASCII without spaces and =")
        result[name.upper()] = given.decode("ascii")
    return result


def want_priority(function: str, priority: int) -> int:
    if priority not in (0, 1):
        raise ScriptError(f"{function}(): option priority: wanted 0 or 1, got {priority}")
    return priority


def want_quota(function: str, where: str, name: Value) -> bytes:
    """The name of a quota."""
    if not isinstance(name, bytes) or not 1 <= len(name) <= MAX_QUOTA_NAME:
        raise ScriptError(f"{function}(): {where}: wanted a name of 1 to {MAX_QUOTA_NAME} bytes")
    return name


def want_quotas(function: str, quotas: Array | None) -> tuple[bytes, ...]:
    """The names of an option `quotas`, each once."""
    names = dict.fromkeys(want_quota(function, "option quotas", name) for name in (quotas.values() if quotas else ()))
    if len(names) > MAX_QUOTAS:
        raise ScriptError(f"{function}(): option quotas: wanted at most {MAX_QUOTAS}, got {len(names)}")
    return tuple(names)


def metadata_array(metadata: dict[bytes, bytes]) -> Array:
    return Array.from_pairs((key, value) for key, value in metadata.items())


def refuse(function: str, options: Options, *names: str) -> None:
    """Options of the reference that this version does not have raise an error instead of being ignored."""
    for name in names:
        if getattr(options, name) not in (None, False):
            raise ScriptError(f"{function}(): option {name} is not supported in this version")
