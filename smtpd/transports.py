"""Transport ids of the configuration in; session settings, retry and DSN plan, and the first DeliveryPlan out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hsl.errors import ScriptError
from hsl.library.dkimtext import Signer, SignOptions, read_private_key
from hsl.runtime.model import DeliveryPlan, QueueEntry, SourceIP
from hsl.smtpd.config import DSN, Config, DKIMKey, Retry, Session
from hsl.values import Array


class RouteError(Exception):
    """The configuration has no way for this entry: an unknown transport or source address id. A temporary failure."""


@dataclass(frozen=True, slots=True)
class Route:
    """What one transport says: how to reach the next hop, when to try again, how to report a failure."""

    transportid: str
    session: Session
    retry: Retry
    dsn: DSN
    signer: Signer | None = None  # of notifications


class TransportTable:
    """The transports and source addresses of one configuration. A reload makes a new table.

    `read` reads DKIM keys. Raises OSError and ValueError for those that cannot be used.
    """

    def __init__(self, config: Config, read: Callable[[Path], bytes] = Path.read_bytes) -> None:
        self.routes: dict[str, Route] = {}
        for group in config.transportgroups:
            signer = read_signer(group.dsn.dkim, read) if group.dsn.dkim else None
            for transport in group.transports:
                self.routes[transport.id] = Route(transport.id, transport.session, group.retry, group.dsn, signer)
        self.addresses = {address.id: address for address in config.addresses}

    def route(self, transportid: str) -> Route | None:
        """The route of a transport id; None when the configuration no longer has it."""
        return self.routes.get(transportid)

    def fallback(self, transportid: str) -> Route:
        """The reference's retry and DSN plan, for entries whose transport is gone: they wait, then bounce."""
        return Route(transportid, Session(), Retry(), DSN())

    def plan(self, entry: QueueEntry) -> DeliveryPlan:
        """The plan of one attempt as the transport says it. Raises RouteError for an id the configuration lacks."""
        route = self.route(entry.transportid)
        if route is None:
            raise RouteError(f"unknown transport {entry.transportid}")
        session = route.session
        return DeliveryPlan(
            sender=entry.sender,
            recipient=entry.recipient,
            host=session.fixed_host,
            port=session.port,
            helo=session.helo,
            source=self.source(session.sourceip),
            tls=session.tls,
            username=octets(session.username),
            password=octets(session.password),
            connect_timeout=session.connect_timeout,
            senderparams=entry.dsn.sender_params if entry.dsn else {},
            recipientparams=entry.dsn.recipient_params if entry.dsn else {},
        )

    def source(self, addressid: str | None) -> SourceIP | None:
        """The source address of an `addresses[]` id (`netaddr:ID` too). Raises RouteError if there is none."""
        if addressid is None:
            return None
        found = self.addresses.get(addressid.removeprefix("netaddr:"))
        if found is None:
            raise RouteError(f"unknown source address {addressid}")
        return SourceIP(address=found.address, helo=found.hostname, id=found.id)


def read_signer(settings: DKIMKey, read: Callable[[Path], bytes] = Path.read_bytes) -> Signer:
    """What signs notifications, with its key. Raises OSError and ValueError."""
    key = read(settings.privatekey)
    algorithm = b"ed25519-sha256" if is_ed25519(key) else b"rsa-sha256"
    options = SignOptions.read("dkim", Array.record({b"algorithm": algorithm, b"timestamp": True}))
    signer = Signer("dkim", settings.selector.encode(), settings.domain.encode(), key, options)
    try:
        signer.check(0.0)
    except ScriptError as error:
        wrong = error.message.removeprefix("dkim(): ").replace("parameter 1 (selector)", "selector")
        wrong = wrong.replace("parameter 2 (domain)", "domain").replace("parameter 3 (key)", str(settings.privatekey))
        raise ValueError(wrong) from None
    return signer


def is_ed25519(key: bytes) -> bool:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return isinstance(read_private_key(key), Ed25519PrivateKey)


def octets(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
