"""The certificates of one server: PEM files come in, the TLS context of a new connection goes out.

A client names the server that it wants (SNI, RFC 6066 3): an exact name decides, then a wildcard, then the default.
Files that change are taken for new connections; what is wrong with them is logged, and the certificate in use stays.
"""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hsl.library.tls import certificate_names
from hsl.runtime.log import Log
from hsl.runtime.model import PeerCert, TLSInfo
from hsl.smtpd.config import CertificatePair, NamedCertificate, ServerTLS

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from hsl.smtpd.clientcerts import AskingContext, AskingObject

CIPHERS: Final = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"  # TLS 1.2
VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
MAX_FILE: Final = 4 * 1024 * 1024  # bytes of one PEM file

Read = Callable[[Path], bytes]
Choose = Callable[[str | None], "ssl.SSLContext | AskingContext | None"]  # a server name to its context


class CertificateError(ValueError):
    """A certificate that cannot be used; the text says why, and names the file if it is one file's fault."""


def read_file(path: Path) -> bytes:
    """A PEM file. Raises CertificateError."""
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise CertificateError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_FILE:
        raise CertificateError(f"{path} is larger than {MAX_FILE} bytes")
    return data


@dataclass(frozen=True, slots=True)
class Pair:
    """The contents of a certificate's files; `chain` begins with the server's own. `path` is the certificate's."""

    path: Path
    certificate: bytes
    privatekey: bytes
    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes

    @classmethod
    def read(cls, settings: CertificatePair, read: Read) -> Pair:
        """Raises CertificateError for files that are no pair."""
        certificate, privatekey = read(settings.certificate), read(settings.privatekey)
        chain = tuple(read_certificates(settings.certificate, certificate))
        key = read_key(settings.privatekey, privatekey)
        if public(chain[0].public_key()) != public(key.public_key()):
            raise CertificateError(f"{settings.privatekey} is not the key of {settings.certificate}")
        return cls(settings.certificate, certificate, privatekey, chain, key)

    @property
    def names(self) -> list[str]:
        """Whom the certificate is for."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return [name.lower() for name in certificate_names(self.chain[0].public_bytes(Encoding.DER))]


def read_certificates(path: Path, data: bytes) -> list[x509.Certificate]:
    """All certificates of a PEM file, at least one. Raises CertificateError."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities in what others made
            return load_pem_x509_certificates(data)
    except ValueError:
        raise CertificateError(f"{path} holds no PEM certificate, or a broken one") from None


def read_key(path: Path, data: bytes) -> PrivateKeyTypes:
    """Raises CertificateError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(data, None)
    except TypeError:
        raise CertificateError(f"the key in {path} has a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"{path} holds no PEM private key, or a broken one") from None


def public(key: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]


# ------------------------------------------------------------ contexts


def make_context(
    pair: Pair, settings: ServerTLS, authorities: Sequence[x509.Certificate], choose: Choose
) -> ssl.SSLContext | AskingContext:
    """The context of a certificate. Raises CertificateError."""
    from OpenSSL import SSL, crypto

    try:
        if settings.clients is None:
            return plain_context(pair, settings, choose)
        from hsl.smtpd.clientcerts import AskingContext

        return AskingContext(
            pair.chain,
            pair.key,
            minimum=settings.minimum,
            ciphers=settings.ciphers or CIPHERS,
            authorities=authorities,
            required=settings.clients.mode != "request",
            strict=settings.clients.mode == "verify",
            choose=choose,
        )
    except ssl.SSLError as error:
        reason = str(getattr(error, "reason", None) or error)
    except (SSL.Error, crypto.Error) as error:
        entries = error.args[0] if error.args else ()
        reason = "; ".join(str(entry[-1]) for entry in entries) or "OpenSSL does not take it"
    except (TypeError, ValueError) as error:
        reason = str(error)
    raise CertificateError(f"{pair.path}: {reason.replace('_', ' ').lower()}")


def plain_context(pair: Pair, settings: ServerTLS, choose: Choose) -> ssl.SSLContext:
    """A context of the standard library, which asks for no certificates. Raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[settings.minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(settings.ciphers or CIPHERS)
    with in_memory(pair.certificate) as certificate, in_memory(pair.privatekey) as privatekey:
        context.load_cert_chain(certificate, privatekey, password=no_password)

    def named(session: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        session.sni = name  # type: ignore[union-attr]
        chosen = choose(name)
        if isinstance(chosen, ssl.SSLContext):
            session.context = chosen

    context.sni_callback = named
    return context


@contextmanager
def in_memory(data: bytes) -> Iterator[str]:
    """The path of a file that is nowhere else: ssl takes files only, and these must be those that were looked at."""
    handle = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(handle), "wb") as stream:
            stream.write(data)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def no_password() -> bytes:
    """Else OpenSSL would ask at the terminal."""
    return b""


def check_pair(settings: ServerTLS) -> None:
    """Raises CertificateError for files that cannot be used together."""
    make_context(Pair.read(settings, read_file), settings, (), lambda name: None)


# ------------------------------------------------------------ the store


@dataclass(slots=True)
class Kept:
    """A configured certificate as it is in use."""

    settings: CertificatePair
    pair: Pair
    context: ssl.SSLContext | AskingContext

    @property
    def names(self) -> list[str]:
        given = self.settings.names if isinstance(self.settings, NamedCertificate) else []
        return [name.lower() for name in given] or self.pair.names


class CertificateStore:
    """The certificates of one server, by name. Raises CertificateError when one cannot be used.

    `read` gives the contents of a file: another process may have to read the keys.
    """

    def __init__(self, settings: ServerTLS, *, server: str, log: Log, read: Read = read_file) -> None:
        self.settings = settings
        self.server = server
        self.log = log
        self.read = read
        self.seen = self.taken = self.look()
        self.problems: dict[Path, str] = {}  # those that are logged already
        self.authorities = self.read_authorities()
        self.kept: list[Kept] = []
        items: list[CertificatePair] = [settings, *settings.certificates]
        for item in items:
            pair = Pair.read(item, read)
            self.kept.append(Kept(item, pair, self.make(pair)))
        self.by_name = index(self.kept)

    @property
    def context(self) -> ssl.SSLContext | AskingContext:
        """For a new connection: the default certificate, until the client has named a server."""
        return self.kept[0].context

    def choose(self, name: str | None) -> ssl.SSLContext | AskingContext | None:
        """The context for a server name; None: the default's."""
        if name is None:
            return None
        host = name.lower().removesuffix(".")
        return self.by_name.get(host) or self.by_name.get("*." + host.partition(".")[2])

    def make(self, pair: Pair) -> ssl.SSLContext | AskingContext:
        return make_context(pair, self.settings, self.authorities, self.choose)

    def read_authorities(self) -> list[x509.Certificate]:
        """Who may have issued clients' certificates. Raises CertificateError."""
        clients = self.settings.clients
        if clients is None or clients.ca is None:
            return []
        return read_certificates(clients.ca, self.read(clients.ca))

    # --- renewal

    def reload(self) -> bool:
        """Read all files again, for new connections. What cannot be used is logged, with its path, and what was in use
        stays; then the result is false.
        """
        self.problems.clear()
        return self.refresh()

    def poll(self) -> None:
        """Look whether files have changed; take them once they lie still from one look to the next."""
        seen = self.look()
        if seen != self.taken and seen == self.seen:
            self.refresh()
        self.seen = seen

    def look(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What changes when a file does."""
        items: list[CertificatePair] = [self.settings, *self.settings.certificates]
        paths = [path for item in items for path in (item.certificate, item.privatekey)]
        if self.settings.clients is not None and self.settings.clients.ca is not None:
            paths.append(self.settings.clients.ca)
        return tuple(identity(path) for path in paths)

    def refresh(self) -> bool:
        looked = self.look()
        fine, other_authorities = self.renew_authorities()
        kept = []
        for item in self.kept:
            renewed = self.renew(item, other_authorities)
            fine = fine and renewed is not None
            kept.append(renewed or item)
        self.kept, self.by_name = kept, index(kept)
        if fine:
            self.taken = looked
        return fine

    def renew_authorities(self) -> tuple[bool, bool]:
        """Whether they can be used, and whether they are others now."""
        before = self.authorities
        try:
            self.authorities = self.read_authorities()
        except CertificateError as error:
            assert self.settings.clients is not None
            assert self.settings.clients.ca is not None
            self.problem(self.settings.clients.ca, "authorities-kept", error, ca=self.settings.clients.ca)
            return False, False
        return True, before != self.authorities

    def renew(self, kept: Kept, other_authorities: bool) -> Kept | None:
        """A certificate as its files are now; None, and a line in the log, if they cannot be used."""
        settings = kept.settings
        try:
            pair = Pair.read(settings, self.read)
            unchanged = (pair.certificate, pair.privatekey) == (kept.pair.certificate, kept.pair.privatekey)
            if unchanged and not other_authorities:
                return kept
            renewed = Kept(settings, pair, self.make(pair))
        except CertificateError as error:
            paths = {"certificate": settings.certificate, "privatekey": settings.privatekey}
            self.problem(settings.certificate, "certificate-kept", error, **paths)
            return None
        self.problems.pop(settings.certificate, None)
        if not unchanged:
            until = pair.chain[0].not_valid_after_utc.isoformat()
            names = ",".join(renewed.names)
            self.log.info(
                "certificate-renewed", server=self.server, certificate=settings.certificate, names=names, until=until
            )
        return renewed

    def problem(self, path: Path, event: str, error: CertificateError, **paths: Path) -> None:
        """Log it, unless it is what the last look found."""
        if self.problems.get(path) != str(error):
            self.problems[path] = str(error)
            self.log.error(event, server=self.server, **paths, error=str(error))


def index(kept: Sequence[Kept]) -> dict[str, ssl.SSLContext | AskingContext]:
    """The contexts by name; the first one that has a name keeps it."""
    found: dict[str, ssl.SSLContext | AskingContext] = {}
    for item in kept:
        for name in item.names:
            found.setdefault(name, item.context)
    return found


def identity(path: Path) -> tuple[int, int, int] | None:
    """None for a file that cannot be looked at."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


# ------------------------------------------------------------ finished and failed handshakes


def tls_info(session: ssl.SSLObject | AskingObject) -> TLSInfo:
    """What a finished handshake is known by."""
    name, _, bits = session.cipher() or ("", "", 0)
    peercert: PeerCert | None = None if isinstance(session, ssl.SSLObject) else session.peercert()
    return TLSInfo(session.version() or "", name, bits, getattr(session, "sni", None), peercert)


def handshake_problem(error: OSError) -> str:
    """What went wrong in a handshake, for the log."""
    if isinstance(error, ssl.SSLError):
        return str(getattr(error, "reason", None) or error.strerror or error).replace("_", " ").lower()
    if isinstance(error, ConnectionAbortedError | TimeoutError):
        return "no handshake in time"
    return "the client closed the connection"
