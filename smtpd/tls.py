"""TLS contexts of the outbound client: two of them, made once. What a finished handshake is known by goes out."""

from __future__ import annotations

import asyncio
import ssl

from hsl.runtime.model import TLSInfo


class ClientContexts:
    """Contexts for STARTTLS, kept because making one takes about 28 ms.

    The verifying one checks the chain against the system's authorities (or those of `cafile`) and the host's name; the
    other takes any certificate: encryption against listeners only (RFC 7435).
    """

    def __init__(self, cafile: str | None = None) -> None:
        self.cafile = cafile
        self.kept: dict[bool, ssl.SSLContext] = {}

    def get(self, verify: bool) -> ssl.SSLContext:
        context = self.kept.get(verify)
        if context is None:
            context = self.kept[verify] = self.make(verify)
        return context

    def make(self, verify: bool) -> ssl.SSLContext:
        if verify:
            return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.cafile)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


def tls_info(transport: asyncio.BaseTransport | None) -> TLSInfo | None:
    """Protocol, cipher and key size of a transport; None for a plain one."""
    cipher = transport.get_extra_info("cipher") if transport is not None else None
    if cipher is None:
        return None
    session = transport.get_extra_info("ssl_object") if transport is not None else None
    name, protocol, keysize = cipher
    return TLSInfo((session.version() if session is not None else None) or protocol, name, keysize)
