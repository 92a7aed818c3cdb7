"""Concurrency slots in the memory of one process. In: who wants a slot of what. Out: taken or not.

The process that owns these slots is the one that holds them, so a slot ends by its release only: without a time limit
an attempt of any length keeps its place, and none outlives the process.
"""

from __future__ import annotations

from hsl.errors import ScriptError
from hsl.runtime.rates import entry_key

MAX_SLOTS = 100_000


class MemorySlots:
    """Slots of this process, `max_slots` in all."""

    def __init__(self, max_slots: int = MAX_SLOTS) -> None:
        self.max_slots = max_slots
        self.holders: dict[bytes, set[str]] = {}  # entry -> who holds a slot of it
        self.held: dict[str, set[bytes]] = {}  # holder -> entries
        self.count = 0

    async def take(self, namespace: bytes, entry: bytes, maximum: int, holder: str) -> bool:
        """See protocols.Slots. Raises ScriptError when `max_slots` are taken in all."""
        key = entry_key(namespace, entry)
        holders = self.holders.get(key, set())
        if holder in holders:
            return True
        if len(holders) >= maximum:
            return False
        if self.count >= self.max_slots:
            raise ScriptError(f"CurrentConnections(): {self.max_slots} slots are taken in all")
        self.holders.setdefault(key, holders).add(holder)
        self.held.setdefault(holder, set()).add(key)
        self.count += 1
        return True

    async def release(self, holder: str) -> None:
        for key in self.held.pop(holder, set()):
            holders = self.holders[key]
            holders.discard(holder)
            self.count -= 1
            if not holders:
                del self.holders[key]

    async def close(self) -> None:
        """Free all."""
        self.holders.clear()
        self.held.clear()
        self.count = 0
