"""The listening sockets of all workers: listeners of the configuration come in, bound sockets for each worker go out.

Several workers on one port have a socket each (SO_REUSEPORT): the system spreads connections over them. The process
that makes them keeps them, so that what a worker that died had not accepted waits for the next one: closing such a
socket resets its queue (10 of 20 connections were).
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Sequence

from hsl.smtpd.config import Config, Listener, Server

WAIT = 1.0  # seconds for an address that is in use: processes that were killed just now may still be going
PAUSE = 0.05


class BindError(Exception):
    """A listener cannot be bound; the text is for the administrator."""


def bind_listeners(config: Config, workers: int) -> list[dict[str, list[socket.socket]]]:
    """For each worker: its sockets by server, in the order of the listeners. Bound, not listening. Raises BindError."""
    made: list[dict[str, list[socket.socket]]] = [{} for _ in range(workers)]
    try:
        for server in config.servers:
            for listener in server.listeners:
                for place, bound in zip(made, bind_listener(listener, workers), strict=True):
                    place.setdefault(server.id, []).append(bound)
    except OSError as error:
        close_listeners(made)
        raise BindError(f"server {server.id} cannot listen on {shown(server)}: {error.strerror or error}") from error
    return made


def close_listeners(made: Sequence[dict[str, list[socket.socket]]]) -> None:
    for place in made:
        for sockets in place.values():
            for bound in sockets:
                bound.close()


def bind_listener(listener: Listener, workers: int) -> list[socket.socket]:
    """Sockets on one address and port. Raises OSError when anybody else has it."""
    first = bind_patiently(listener.address, listener.port)
    if workers == 1:
        return [first]
    port = first.getsockname()[1]
    first.close()  # it has shown that nobody else is there, also nobody who would share the port with us
    made: list[socket.socket] = []
    try:
        for _ in range(workers):
            made.append(bind(listener.address, port, shared=True))
    except OSError:
        for bound in made:
            bound.close()
        raise
    return made


def bind_patiently(address: str, port: int) -> socket.socket:
    deadline = time.monotonic() + WAIT
    while True:
        try:
            return bind(address, port, shared=False)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)


def bind(address: str, port: int, *, shared: bool) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def shown(server: Server) -> str:
    return ", ".join(
        f"[{item.address}]:{item.port}" if ":" in item.address else f"{item.address}:{item.port}"
        for item in server.listeners
    )
