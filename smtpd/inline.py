"""Mail that is sent while a script waits, past the queue: a plan and recipients in, the next hop's answer out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hsl.errors import ScriptError
from hsl.runtime.model import Address, Attempt, Body, DeliveryPlan, QueueEntry, new_id
from hsl.smtpd.client import Deliverer
from hsl.smtpd.transports import RouteError, TransportTable


class InlineClient:
    """The MailClient of a gateway. `transports` gives those of the configuration that holds now."""

    def __init__(self, deliverer: Deliverer, transports: Callable[[], TransportTable]) -> None:
        self.deliverer = deliverer
        self.transports = transports

    def plan(self, transportid: str, sender: Address, recipient: Address) -> DeliveryPlan:
        """What a transport says. Raises ScriptError for one that has no way."""
        try:
            return self.transports().plan(QueueEntry("", sender, recipient, transportid))
        except RouteError as error:
            raise ScriptError(str(error)) from None

    async def send(
        self,
        plan: DeliveryPlan,
        recipients: Sequence[tuple[Address, Mapping[str, str]]],
        body: Body,
        permit: Callable[[str], None] | None = None,
    ) -> Attempt:
        """One transaction for all recipients. Suspensions and policies are the queue's: they do not hold it back."""
        addresses = [plan.sender, *(address for address, _ in recipients)]
        entry = QueueEntry(
            transaction=new_id(),
            sender=plan.sender,
            recipient=recipients[0][0],
            transportid="",
            size=body.size,
            eightbit=not all(chunk.isascii() for chunk in body.chunks()),
            smtputf8=not all(address.path.isascii() for address in addresses),
        )
        return await self.deliverer.attempt(plan, entry, body, recipients, permit)
