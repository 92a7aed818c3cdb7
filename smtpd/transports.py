"""Transport ids of the configuration in; session settings, retry and DSN plan, and the first DeliveryPlan out."""

from __future__ import annotations

from dataclasses import dataclass

from hsl.runtime.model import DeliveryPlan, QueueEntry, SourceIP
from hsl.smtpd.config import DSN, Config, Retry, Session


class RouteError(Exception):
    """The configuration has no way for this entry: an unknown transport or source address id. A temporary failure."""


@dataclass(frozen=True, slots=True)
class Route:
    """What one transport says: how to reach the next hop, when to try again, how to report a failure."""

    transportid: str
    session: Session
    retry: Retry
    dsn: DSN


class TransportTable:
    """The transports and source addresses of one configuration. A reload makes a new table."""

    def __init__(self, config: Config) -> None:
        self.routes = {
            transport.id: Route(transport.id, transport.session, group.retry, group.dsn)
            for group in config.transportgroups
            for transport in group.transports
        }
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


def octets(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
