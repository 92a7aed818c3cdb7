"""TLS of the outbound client: what a script says about it comes in, contexts and checks of names go out.

What a finished handshake is known by goes out too, and what a failed one is called in reports (RFC 8460).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from dataclasses import dataclass

from hsl.library.tls import EVERY_PROTOCOL, certificate_is_for, client_context
from hsl.runtime.model import PeerCert, TLSInfo, TLSSettings

MAX_CONTEXTS = 64  # kept; each combination of settings has its own
EXPIRED = frozenset({9, 10})  # X509_V_ERR_…: not yet valid, has expired
MISMATCH = frozenset({62, 64})  # host name, IP address


class ClientContexts:
    """Contexts for STARTTLS, kept because making one takes about 28 ms.

    A verifying one checks the chain against the system's authorities (or those of `cafile`) and, if it `checks_host`,
    the host's name; the others take any certificate: encryption against listeners only (RFC 7435).
    """

    def __init__(self, cafile: str | None = None) -> None:
        self.cafile = cafile
        self.kept: OrderedDict[tuple[object, ...], ssl.SSLContext] = OrderedDict()

    def get(
        self, verify: bool, settings: TLSSettings | None = None, *, checks_host: bool | None = None
    ) -> ssl.SSLContext:
        """By default a verifying context checks the host's name. Raises ScriptError for settings that cannot be."""
        given = settings or TLSSettings()
        checks = verify if checks_host is None else checks_host
        key = (verify, checks, given.protocols, given.ciphers, given.certificate)
        context = self.kept.get(key)
        if context is None:
            context = self.kept[key] = self.make(verify, given)
            context.check_hostname = checks
            if len(self.kept) > MAX_CONTEXTS:
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return context

    def make(self, verify: bool, settings: TLSSettings) -> ssl.SSLContext:
        context = client_context(
            "Try",
            protocols=settings.protocols or EVERY_PROTOCOL,
            ciphers=settings.ciphers,
            verify=verify and self.cafile is None,
            certificate=settings.certificate,
        )
        if verify and self.cafile is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.cafile)
        return context


class WrongName(OSError):
    """A certificate is for somebody else."""


@dataclass(frozen=True, slots=True)
class NameChecks:
    """Whom a certificate must be for: the host of SNI, as OpenSSL checks it (`by_ssl`), or one of the names."""

    sni: str | None
    by_ssl: bool
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, verify: bool, settings: TLSSettings, host: str) -> NameChecks:
        """Names that a script gives stand in for the host's, unless it wants that one too."""
        checks_host = (verify and not settings.names) if settings.verify_host is None else settings.verify_host
        by_host = settings.sni is True or (settings.sni is None and (verify or checks_host))
        sni = host if by_host else settings.sni or None
        names = settings.names + ((host.lower().removesuffix("."),) if checks_host else ())
        by_ssl = verify and checks_host and by_host and not settings.names
        return cls(sni if isinstance(sni, str) else None, by_ssl, () if by_ssl else names)

    def check(self, tls: TLSInfo | None) -> None:
        """Raises WrongName."""
        certificate = tls.peercert.certificate if tls is not None and tls.peercert is not None else b""
        if self.names and not certificate_is_for(certificate, self.names):
            raise WrongName(f"it is for none of the names {', '.join(self.names[:5])}")


def report_type(error: OSError) -> str:
    """What a failed handshake is called in reports (RFC 8460 4.3)."""
    if isinstance(error, WrongName):
        return "certificate-host-mismatch"
    if not isinstance(error, ssl.SSLCertVerificationError):
        return "validation-failure"
    if error.verify_code in EXPIRED:
        return "certificate-expired"
    return "certificate-host-mismatch" if error.verify_code in MISMATCH else "certificate-not-trusted"


def tls_info(transport: asyncio.BaseTransport | None, *, verified: bool = False) -> TLSInfo | None:
    """Protocol, cipher, key size and the peer's certificate of a transport; None for a plain one."""
    cipher = transport.get_extra_info("cipher") if transport is not None else None
    if cipher is None:
        return None
    session = transport.get_extra_info("ssl_object") if transport is not None else None
    name, protocol, keysize = cipher
    version = session.version() if session is not None else None
    return TLSInfo(version or protocol, name, keysize, peercert=peer_cert(session, verified))


def peer_cert(session: ssl.SSLObject | None, verified: bool) -> PeerCert | None:
    certificate = session.getpeercert(binary_form=True) if session is not None else None
    if session is None or certificate is None:
        return None
    chain = session._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]  # public from Python 3.13
    encoded = tuple(item.public_bytes(ssl._ssl.ENCODING_DER) for item in chain)  # type: ignore[attr-defined]
    return PeerCert(certificate, encoded, 0 if verified else None)
