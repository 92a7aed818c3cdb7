"""A DNS server on a free loopback port, over UDP and TCP, with a zone as a table and knobs for errors."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = dict[tuple[str, str], list[str]]


@dataclass
class DNSServer(asyncio.DatagramProtocol):
    """A name without any record does not exist; one of another type has no data. CNAMEs are followed.

    Records may be one word instead: SERVFAIL and REFUSED answer that code, SILENT nothing, GARBAGE what is no message,
    TRUNCATED nothing but the flag over UDP (the rest of the list comes over TCP). `asked` counts questions.
    """

    zone: Zone
    ttl: int = 300
    secure: bool = False  # set AD where the question has it
    asked: list[tuple[str, str]] = field(default_factory=list)
    over_tcp: int = 0
    port: int = 0
    change: Callable[[], None] = lambda: None  # called after each answer
    transport: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self.answer(dns.message.from_wire(data))
        assert self.transport is not None
        if answer is not None:
            self.transport.sendto(answer, addr)

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        self.over_tcp += 1
        answer = self.answer(dns.message.from_wire(await reader.readexactly(size)), tcp=True)
        if answer is not None:
            writer.write(struct.pack("!H", len(answer)) + answer)
            await writer.drain()
        writer.close()

    def answer(self, query: dns.message.Message, tcp: bool = False) -> bytes | None:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.secure and query.flags & dns.flags.AD:
            response.flags |= dns.flags.AD
        records = self.zone.get((name, kind), [])
        if records[:1] == ["TRUNCATED"]:
            records = records[1:] if tcp else []
            response.flags |= 0 if tcp else dns.flags.TC
        self.change()
        match records:
            case ["SILENT"]:
                return None
            case ["GARBAGE"]:
                return b"\x00\x01\x02"
            case ["SERVFAIL" | "REFUSED" as status]:
                response.set_rcode(dns.rcode.from_text(status))
            case _:
                self.fill(response, question.name, kind, records)
        return response.to_wire(max_size=65535)

    def fill(self, response: dns.message.Message, name: dns.name.Name, kind: str, records: list[str]) -> None:
        text = name.to_text(omit_final_dot=True).lower()
        alias = self.zone.get((text, "CNAME"))
        if records:
            response.answer.append(dns.rrset.from_text(name, self.ttl, "IN", kind, *records))
        elif alias is not None and kind != "CNAME":
            response.answer.append(dns.rrset.from_text(name, self.ttl, "IN", "CNAME", *alias))
            target = dns.name.from_text(alias[0])
            key = target.to_text(omit_final_dot=True).lower()
            self.fill(response, target, kind, self.zone.get((key, kind), []))
        elif not response.answer and not any(known == text for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)


@asynccontextmanager
async def dns_server(zone: Zone, *, ttl: int = 300, secure: bool = False) -> AsyncIterator[DNSServer]:
    """A running server; UDP and TCP on the same free port."""
    loop = asyncio.get_running_loop()
    server = DNSServer(zone, ttl, secure)
    for _ in range(20):
        listening = await asyncio.start_server(server.serve_tcp, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: server, ("127.0.0.1", server.port))
            break
        except OSError:  # another program's UDP port
            listening.close()
    try:
        yield server
    finally:
        transport.close()
        listening.close()
        await listening.wait_closed()
        await asyncio.sleep(0)
