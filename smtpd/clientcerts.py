"""TLS that asks clients for certificates: one of ours comes in, what asyncio takes for an SSLContext goes out.

The standard library's ssl can only refuse a client's certificate that it cannot verify; here a script is to see it, and
OpenSSL's verdict. So this is pyOpenSSL, behind the few methods of ssl.SSLContext and ssl.SSLObject that asyncio's
SSLProtocol calls. Sessions are not resumed: a resumed one is not verified again, and its verdict would be lost.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from hsl.runtime.model import PeerCert

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

T = TypeVar("T")

VERSIONS: Final = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}
OPTIONS: Final = SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
PIECE: Final = 64 * 1024  # octets moved at once
UNSPECIFIED: Final = 1  # X509_V_ERR_UNSPECIFIED


class AskingContext:
    """One certificate of ours, and how clients are asked for theirs.

    `required`: a handshake without one fails; `strict`: one that does not verify by `authorities` fails it, too.
    `choose` names the context for a server name. Raises crypto.Error, SSL.Error for what does not fit together.
    """

    def __init__(
        self,
        chain: Sequence[x509.Certificate],
        key: PrivateKeyTypes,
        *,
        minimum: str,
        ciphers: str,
        authorities: Sequence[x509.Certificate],
        required: bool,
        strict: bool,
        choose: Callable[[str | None], object],
    ) -> None:
        self.strict = strict
        self.choose = choose
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.set_min_proto_version(VERSIONS[minimum])
        self.context.set_options(OPTIONS)
        self.context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self.context.set_cipher_list(ciphers.encode("ascii"))
        self.context.use_certificate(chain[0])
        for certificate in chain[1:]:
            self.context.add_extra_chain_cert(certificate)
        self.context.use_privatekey(key)  # type: ignore[arg-type]  # a kind that TLS does not know raises
        self.context.check_privatekey()
        self.trust(authorities)
        self.context.set_verify(SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if required else 0), self.judge)
        self.context.set_tlsext_servername_callback(self.named)

    def trust(self, authorities: Sequence[x509.Certificate]) -> None:
        """Their names go to the client only if nothing else will do: it may have just another certificate."""
        store = self.context.get_cert_store()
        assert store is not None
        for authority in authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
            if self.strict:
                self.context.add_client_ca(authority)

    def judge(self, connection: SSL.Connection, _certificate: crypto.X509, error: int, _depth: int, good: int) -> bool:
        """OpenSSL's verdict on one certificate of the chain, the authorities' end first."""
        connection.get_app_data().note(error)
        return bool(good) or not self.strict

    def named(self, connection: SSL.Connection) -> None:
        """The client names the server that it wants."""
        chosen = self.choose(connection.get_app_data().sni)
        if isinstance(chosen, AskingContext):
            connection.set_context(chosen.context)

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **_options: object) -> AskingObject:
        """As ssl.SSLContext's, always the server's side."""
        return AskingObject(self, incoming, outgoing)


class AskingObject:
    """As ssl.SSLObject: octets of the wire in `incoming` and `outgoing`. It raises ssl's errors."""

    def __init__(self, context: AskingContext, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self.context = context  # and with it its callbacks, which outlive a change of the SSL_CTX
        self.incoming = incoming
        self.outgoing = outgoing
        self.verdict: int | None = None
        self.connection = SSL.Connection(context.context)
        self.connection.set_app_data(self)
        self.connection.set_accept_state()

    def note(self, error: int) -> None:
        """The first error counts: it is the nearest to the authority, whose absence outweighs the others."""
        self.verdict = self.verdict or error

    def call(self, work: Callable[..., T], *arguments: object) -> T:
        """Do something between taking what has come and giving what is to go."""
        while received := self.incoming.read(PIECE):
            self.connection.bio_write(received)
        try:
            return work(*arguments)
        except SSL.WantReadError:
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)") from None
        except SSL.SysCallError:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the connection broke off") from None
        except SSL.Error as error:
            raise self.failure(error) from None
        finally:
            self.drain()

    def drain(self) -> None:
        while True:
            try:
                self.outgoing.write(self.connection.bio_read(PIECE))
            except SSL.WantReadError:
                return

    def failure(self, error: SSL.Error) -> ssl.SSLError:
        """In ssl's form. A certificate that was refused is told by OpenSSL's number for the reason."""
        entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
        text = "; ".join(str(entry[-1]) for entry in entries) or type(error).__name__
        if self.context.strict and self.verdict:
            text = f"{text} (verify result {self.verdict})"
        return ssl.SSLError(ssl.SSL_ERROR_SSL, text)

    # --- what SSLProtocol calls

    def do_handshake(self) -> None:
        self.call(self.connection.do_handshake)

    def read(self, size: int) -> bytes:
        """At most `size` octets; b"" after the client's close_notify."""
        try:
            return self.call(self.connection.recv, size)
        except SSL.ZeroReturnError:
            return b""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        return self.call(self.connection.send, data)

    def unwrap(self) -> None:
        """Send close_notify; complete when the client's has come."""
        if not self.call(self.connection.shutdown):
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)")

    def getpeercert(self) -> dict[str, Any]:
        return {}

    def compression(self) -> None:
        return None

    def cipher(self) -> tuple[str, str, int] | None:
        name = self.connection.get_cipher_name()
        if name is None:
            return None
        return name, self.connection.get_cipher_version() or "", self.connection.get_cipher_bits() or 0

    # --- what we ask

    def version(self) -> str:
        return self.connection.get_protocol_version_name()

    @property
    def sni(self) -> str | None:
        name = self.connection.get_servername()
        return None if name is None else name.decode("utf-8", "replace")

    def peercert(self) -> PeerCert | None:
        """The client's certificate. One that OpenSSL did not judge is not a good one."""
        certificate = self.connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return None
        chain = self.connection.get_peer_cert_chain(as_cryptography=True) or []
        own, *others = dict.fromkeys(item.public_bytes(Encoding.DER) for item in (certificate, *chain))
        return PeerCert(own, (own, *others), UNSPECIFIED if self.verdict is None else self.verdict)
