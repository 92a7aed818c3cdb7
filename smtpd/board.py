"""Counters that all workers see: memory that they share, a row for each worker, written by that worker only.

A worker counts in its own row and reads the sum of all: connections are limited over all workers, at once, without a
message. Peers are counted by two hashes of theirs, of which the smaller count holds: two peers that share both are
taken for one (the limit errs to the strict side). Two workers that admit the last connection at the same instant may
both refuse it; they never both take it.
"""

from __future__ import annotations

import mmap
import os
from hashlib import blake2b

from hsl.smtpd.limits import peer_key

BUCKETS = 1 << 13  # counters of peers by one hash, for each server and worker
WIDTH = 1 + 2 * BUCKETS  # counters of a server: all of its connections, and those by peer
CELL = 4  # octets


class Board:
    """The shared memory. The supervisor makes it, workers open it by its descriptor."""

    def __init__(self, descriptor: int, workers: int, servers: int, salt: bytes) -> None:
        self.descriptor = descriptor
        self.workers = workers
        self.row = servers * WIDTH
        self.salt = salt
        self._map = mmap.mmap(descriptor, max(1, workers * self.row) * CELL)
        self.cells = memoryview(self._map).cast("I")

    @classmethod
    def make(cls, workers: int, servers: int) -> Board:
        descriptor = os.memfd_create("hsl-board", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, max(1, workers * servers * WIDTH) * CELL)
        return cls(descriptor, workers, servers, os.urandom(16))

    def clear(self, worker: int) -> None:
        """Forget what a worker counted that is gone."""
        start = worker * self.row * CELL
        self._map[start : start + self.row * CELL] = bytes(self.row * CELL)

    def places(self, server: int, peer: str) -> tuple[int, int, int]:
        """Where a connection counts within a row."""
        digest = blake2b(peer.encode(), digest_size=8, key=self.salt).digest()
        first, second = int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big")
        start = server * WIDTH
        return start, start + 1 + first % BUCKETS, start + 1 + BUCKETS + second % BUCKETS

    def add(self, worker: int, place: int, step: int) -> None:
        self.cells[worker * self.row + place] += step

    def total(self, place: int) -> int:
        return sum(self.cells[place :: self.row])

    def close(self) -> None:
        self.cells.release()
        self._map.close()
        os.close(self.descriptor)


class SharedConnections:
    """Sessions in all and per peer, over all workers: as limits.Connections."""

    def __init__(self, board: Board, worker: int, server: int, total: int, per_ip: int) -> None:
        self.board = board
        self.worker = worker
        self.server = server
        self.total = total
        self.per_ip = per_ip

    def enter(self, ip: str) -> bool:
        """Count one in, or say no."""
        every, *peer = places = self.board.places(self.server, peer_key(ip))
        for place in places:
            self.board.add(self.worker, place, 1)
        if self.board.total(every) <= self.total and min(map(self.board.total, peer)) <= self.per_ip:
            return True
        self._count_out(places)
        return False

    def leave(self, ip: str) -> None:
        self._count_out(self.board.places(self.server, peer_key(ip)))

    def _count_out(self, places: tuple[int, int, int]) -> None:
        for place in places:
            self.board.add(self.worker, place, -1)
