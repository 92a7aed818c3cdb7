"""A transport's id comes in, the server's options that a lookup asks by go out (hsl/library/protocols.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsl.errors import ScriptError
from hsl.runtime.context import optional, record, string
from hsl.runtime.functions.arguments import want_transport_id
from hsl.runtime.model import Address
from hsl.values import Array

if TYPE_CHECKING:
    from hsl.runtime.context import Context

NOBODY = Address(b"", b"")


def transport_server(context: Context, function: str, transportid: bytes) -> Array:
    """The settings of a transport. Raises ScriptError for one that there is not."""
    client = context.services.client
    known = want_transport_id(context.services, function, transportid)
    if client is None:
        raise ScriptError(f"{function}(): there is no SMTP client here: give an array of server settings")
    plan = client.plan(known, NOBODY, NOBODY)
    return record(
        host=optional(plan.host),
        port=float(plan.port),
        helo=optional(plan.helo or (plan.source.helo if plan.source else None)),
        sourceip=optional(plan.source.address if plan.source else None),
        nonlocal_source=bool(plan.source and plan.source.nonlocal_source),
        saslusername=plan.username,
        saslpassword=plan.password,
        tls=string(plan.tls),
        tls_verify_host=plan.tls.endswith("verify"),
        protocol=string(plan.protocol),
        connect_timeout=plan.connect_timeout,
    )
