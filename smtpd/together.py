"""All workers as one: a request of the control socket or the monitor comes in, one answer out of those of all goes out.

A worker that cannot be asked (it is being restarted) makes the answer an error: never a part of it for the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hsl.runtime.log import Log
from hsl.runtime.metrics import Family, gauge, render
from hsl.runtime.metricsum import sum_families, unpack_families
from hsl.smtpd.channel import Lost, Message, Refused
from hsl.smtpd.control import CHANGES, MAX_PAGE, Answer, ControlError, Request, want_number
from hsl.smtpd.workerprocess import WorkerProcess

WAIT = 100.0  # seconds for a worker's answer; the command waits longer
QUICK = 10.0  # for a monitor's question

Workers = Callable[[], Sequence[WorkerProcess]]


class Together:
    """`workers()` are those that there should be; `families()` what the supervisor has to add to the metrics."""

    def __init__(self, workers: Workers, families: Callable[[], Iterable[Family]], log: Log) -> None:
        self.workers = workers
        self.families = families
        self.log = log

    async def answer(self, request: Request) -> Answer:
        """Raises ControlError."""
        command = request.get("command")
        if command == "metrics":
            return {"text": await self.render()}
        if command == "show":
            return await self.first(request, "there is no entry")
        if command == "policies":
            return (await self.all(request))[0]
        if command == "lift":
            return await self.lift(request)
        answers = await self.all(request)
        if command == "list":
            return join_pages(answers, min(want_number(request, "limit", MAX_PAGE), MAX_PAGE))
        return sum_answers(answers)

    async def all(self, request: Request) -> list[Answer]:
        """Every worker's answer. Raises ControlError with what one of them says that has none."""
        self.check_all()
        answers = await self.ask_all("control", WAIT, request=request)
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if errors and request.get("command") in tuple(CHANGES) and len(errors) < len(answers):
            done = sum(answer["changed"] for answer in answers if not isinstance(answer, Exception))
            raise ControlError(f"{errors[0]}; changed elsewhere: {done}")
        if errors:
            raise ControlError(str(errors[0]))
        return [answer for answer in answers if not isinstance(answer, Exception)]

    async def first(self, request: Request, otherwise: str) -> Answer:
        """The answer of the one worker that has it: `otherwise` begins what the others say."""
        self.check_all()
        refusal = ""
        for answer in await self.ask_all("control", WAIT, request=request):
            if not isinstance(answer, Exception):
                return answer
            if not str(answer).startswith(otherwise):
                raise ControlError(str(answer))
            refusal = str(answer)
        raise ControlError(refusal)

    async def lift(self, request: Request) -> Answer:
        """All have the same rules: the first one ends it, and tells the others."""
        self.check_all()
        try:
            return await self.workers()[0].ask("control", WAIT, request=request)
        except (Lost, Refused) as error:
            raise ControlError(str(error)) from None

    def check_all(self) -> None:
        for worker in self.workers():
            if not worker.ready:
                raise ControlError(f"worker {worker.number} is not running now: try again in a moment")

    async def ask_all(self, name: str, wait: float, **fields: object) -> list[Message | Exception]:
        async def ask(worker: WorkerProcess) -> Message | Exception:
            try:
                return await worker.ask(name, wait, **fields)
            except (Lost, Refused) as error:
                return error

        return list(await asyncio.gather(*map(ask, self.workers())))

    async def render(self) -> str:
        """The metrics of those that can be asked, in Prometheus' text form."""
        answers = await self.ask_all("families", QUICK)
        found = [unpack_families(answer["families"]) for answer in answers if not isinstance(answer, Exception)]
        ready = [worker.ready for worker in self.workers()]
        own = gauge("hsl_workers", "Workers that run", {(): float(sum(ready))})
        return render([own, *self.families(), *sum_families(found)])

    async def unhealthy(self) -> str:
        """Why no mail is taken, by what the first one says that takes none; empty if all do."""
        for worker, answer in zip(self.workers(), await self.ask_all("health", QUICK), strict=True):
            if isinstance(answer, Exception) or not worker.ready:
                return f"worker {worker.number} is not running"
            if answer["reason"]:
                return str(answer["reason"])
        return ""


def join_pages(pages: Sequence[Answer], limit: int) -> Answer:
    """One page, in the order of ids, out of one of each worker: as far as all of them have been read."""
    upto = min((page["after"] for page in pages if page["more"]), default=None)
    entries = sorted((entry for page in pages for entry in page["entries"]), key=lambda entry: int(entry["id"]))
    known = [entry for entry in entries if upto is None or entry["id"] <= upto]
    if len(known) > limit:
        return {"entries": known[:limit], "more": True, "after": known[limit - 1]["id"]}
    return {"entries": known, "more": upto is not None, "after": upto or 0}


def sum_answers(answers: Sequence[Answer]) -> Answer:
    """Answers that are numbers by name."""
    total: dict[str, Any] = {}
    for answer in answers:
        for name, value in answer.items():
            total[name] = total.get(name, 0) + value
    return total
