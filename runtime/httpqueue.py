"""HTTP requests in the background: they are made one after the other in each of a few queues, in memory.

What waits is lost when the process ends before it is made; that is logged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from hsl.errors import ScriptError
from hsl.library.network import HTTPRequest, HTTPResponse, NetworkError

if TYPE_CHECKING:
    from hsl.runtime.log import Log

QUEUES = 8
MAX_WAITING = 10_000  # requests
MAX_BYTES = 64 * 1024 * 1024  # of all requests
MAX_RETRIES = 100
MAX_DELAY = 3600.0


class Job(NamedTuple):
    request: HTTPRequest
    retries: int
    delay: float

    @property
    def size(self) -> int:
        request = self.request
        headers = sum(len(name) + len(value) for name, value in request.headers)
        return len(request.url) + headers + len(request.body or b"")


class Background:
    """The queues of one HTTP client."""

    def __init__(self, make: Callable[[HTTPRequest], Awaitable[HTTPResponse]], log: Log | None) -> None:
        self.make = make
        self.log = log
        self.queues: list[deque[Job]] = [deque() for _ in range(QUEUES)]
        self.workers: dict[int, asyncio.Task[None]] = {}
        self.waiting = 0
        self.size = 0

    def put(self, request: HTTPRequest, queue: int, retries: int, delay: float) -> bool:
        """Queue a request. False: too many wait, or too large ones."""
        job = Job(request, min(retries, MAX_RETRIES), min(delay, MAX_DELAY))
        if self.waiting >= MAX_WAITING or self.size + job.size > MAX_BYTES:
            return False
        place = queue % QUEUES
        self.waiting += 1
        self.size += job.size
        self.queues[place].append(job)
        if place not in self.workers:
            self.workers[place] = asyncio.get_running_loop().create_task(self.work(place))
        return True

    async def work(self, place: int) -> None:
        """Make the requests of a queue until it is empty."""
        queue = self.queues[place]
        try:
            while queue:
                job = queue[0]
                await self.attempt(job)
                queue.popleft()
                self.waiting -= 1
                self.size -= job.size
        finally:
            del self.workers[place]

    async def attempt(self, job: Job) -> None:
        for attempt in range(job.retries + 1):
            if attempt:
                await asyncio.sleep(job.delay)
            try:
                response = await self.make(job.request)
                failure = None if 200 <= response.status < 300 else f"status {response.status}"
            except (NetworkError, ScriptError) as error:
                failure = str(error)
            except Exception as error:  # else the request would stay the first of its queue for ever
                failure = f"{type(error).__name__}: {error}"
            if failure is None:
                return
            self.report("http-background", attempt=attempt + 1, error=failure)

    async def close(self, grace: float) -> None:
        """Wait at most `grace` seconds for what is queued, and drop the rest."""
        workers = list(self.workers.values())
        if workers:
            await asyncio.wait(workers, timeout=grace)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        if self.waiting:
            self.report("http-background-lost", requests=self.waiting)

    def report(self, event: str, **fields: object) -> None:
        if self.log is not None:
            self.log.event("warning", event, **fields)
