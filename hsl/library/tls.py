"""TLS for functions that are clients: options come in as scripts give them, contexts and verdicts on names go out.

Options that are wrong raise ScriptError. Everything heavy is imported by the functions that use it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from hsl.errors import ScriptError, near
from hsl.values import Array, Object, Resource, to_string

if TYPE_CHECKING:
    import ssl

PROTOCOLS: Final = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
NAMES: Final = {"TLSv1": "TLSv1", "TLSv1.1": "TLSv1_1", "TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}  # ssl's, in order
EVERY_PROTOCOL: Final = b"!SSLv2,!SSLv3"


def client_context(
    function: str,
    *,
    protocols: bytes = EVERY_PROTOCOL,
    ciphers: bytes | None = None,
    verify: bool,
    certificate: bytes | None,
) -> ssl.SSLContext:
    """A client's context. `verify`: by the authorities that the system knows; the host name is not looked at."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if verify:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    limit_protocols(function, context, protocols)
    if ciphers is not None:
        try:
            context.set_ciphers(ciphers.decode("ascii", "replace"))
        except ssl.SSLError:
            shown = ciphers.decode("utf-8", "replace")
            raise ScriptError(f"{function}(): option tls_ciphers: OpenSSL knows none of {shown!r}") from None
    if certificate is not None:
        load_certificate(function, context, certificate)
    return context


def limit_protocols(function: str, context: ssl.SSLContext, protocols: bytes) -> None:
    """Allow just these protocols; old ones only where they are named: the system has its own lowest by default."""
    import ssl
    import warnings

    named, allowed = read_protocols(function, protocols)
    usable = [name for name in NAMES if name in allowed]
    where = f"{function}(): option tls_protocols"
    if not usable:
        raise ScriptError(f"{where}: none is left that can be used; there are {', '.join(NAMES)}")
    if "".join(usable) not in "".join(NAMES):
        raise ScriptError(f"{where}: none between two others can be left out")  # OpenSSL would drop the newer ones
    versions = [ssl.TLSVersion[NAMES[name]] for name in usable]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of old protocols
        if named or versions[0] > context.minimum_version > 0:
            context.minimum_version = versions[0]
        context.maximum_version = versions[-1]


def read_protocols(function: str, protocols: bytes) -> tuple[bool, set[str]]:
    """Whether protocols are named (and not just left out), and those that are allowed."""
    items = [item.strip() for item in protocols.decode("utf-8", "replace").split(",")]
    for name in (item.removeprefix("!") for item in items):
        if name not in PROTOCOLS:
            wanted = ", ".join(PROTOCOLS)
            raise ScriptError(
                f"{function}(): option tls_protocols: wanted some of {wanted}, got {name!r}", hint=near(name, PROTOCOLS)
            )
    named = {item for item in items if not item.startswith("!")}
    left_out = {item.removeprefix("!") for item in items if item.startswith("!")}
    return bool(named), (named or set(PROTOCOLS)) - left_out


def load_certificate(function: str, context: ssl.SSLContext, pem: bytes) -> None:
    """Our certificate, chain and key. ssl reads them from files only: they are one in memory."""
    import ssl

    where = f"{function}(): option tls_client_cert"
    if pem.startswith(b"pki:"):
        raise ScriptError(f"{where}: pki:X belongs to the product's configuration; give the PEM text (File::read)")
    handle = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(handle), "wb") as stream:
            stream.write(pem)
        context.load_cert_chain(f"/proc/self/fd/{handle}", password=no_password)
    except (ssl.SSLError, ValueError):
        raise ScriptError(f"{where}: wanted a certificate and its private key, unencrypted, as PEM text") from None
    finally:
        os.close(handle)


def no_password() -> bytes:
    """Else OpenSSL would ask at the terminal."""
    return b""


# ------------------------------------------------------------ names


def server_name(function: str, name: bytes | None) -> str | None:
    """The name for SNI. Raises ScriptError for what is no host name."""
    if name is None:
        return None
    try:
        return ascii_name(name)
    except ValueError:
        shown = name.decode("utf-8", "replace")
        raise ScriptError(f"{function}(): option tls_sni: wanted a host name, got {shown!r}") from None


def read_names(function: str, names: Array | None) -> tuple[str, ...]:
    """The names that a certificate may be for. Raises ScriptError for what is no host name."""
    found = []
    for value in () if names is None else names.values():
        name = to_string(value)
        try:
            found.append("." * name.startswith(b".") + ascii_name(name.removeprefix(b".")))
        except ValueError:
            shown = name.decode("utf-8", "replace")
            raise ScriptError(f"{function}(): option tls_verify_name: wanted host names, got {shown!r}") from None
    return tuple(found)


def ascii_name(name: bytes) -> str:
    """A host name in lower case, international ones as A-labels. Raises ValueError."""
    text = name.decode("utf-8").removesuffix(".").lower()
    if not text.isascii():
        import idna

        text = idna.encode(text, uts46=True).decode("ascii")
    if not text or len(text) > 253 or not text.replace(".", "").replace("-", "").replace("_", "").isalnum():
        raise ValueError("no host name")
    return text


def certificate_is_for(certificate: bytes, names: Iterable[str]) -> bool:
    """Whether a certificate (DER) is for one of the names (X509_check_host(3): no partial wildcards).

    A name that begins with a dot stands for all names with one label more.
    """
    presented = [name.lower() for name in certificate_names(certificate)]
    return any(matches(pattern, name) for name in names for pattern in presented)


def certificate_names(certificate: bytes) -> list[str]:
    """The host names of a certificate: its alternative names; only without any, its common names."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        parsed = x509.load_der_x509_certificate(certificate)
        common = [str(item.value) for item in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        try:
            extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return common
        return extension.value.get_values_for_type(x509.DNSName) or common
    except ValueError:
        return []


def matches(pattern: str, name: str) -> bool:
    """Whether a certificate's name, maybe `*.` something, is a host's; both in lower case."""
    first, _, rest = pattern.partition(".")
    if name.startswith("."):
        return first not in ("", "*") and "." + rest == name
    if first == "*":
        label, _, parent = name.partition(".")
        return bool(label) and "." in rest and parent == rest
    return pattern == name


def x509_object(certificate: bytes) -> Object:
    """A certificate (DER) as scripts see it."""
    from hsl.library.certificates import X509

    return X509.of(certificate)


def x509_resource(certificate: bytes) -> Resource:
    """A certificate (DER) as scripts get it from the host: for the class X509."""
    from hsl.library.certificates import X509Resource

    return X509Resource.of(certificate)
