"""Commands that share round trips: each caller gets its own answer, or its own error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError
from servers import redis_server

from hsl.runtime.redis_batch import MOST, Batches

pytestmark = pytest.mark.asyncio


class Counting(Batches):
    """Notes how many commands each round trip had."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.sizes: list[int] = []

    async def execute(self, commands: list[Any]) -> list[Any]:
        self.sizes.append(len(commands))
        return await super().execute(commands)


async def test_commands_that_come_together_go_together(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        async with Redis.from_url(url) as redis:
            batches = Counting(redis)
            answers = await asyncio.gather(*(batches.command("ECHO", b"%d" % number) for number in range(MOST + 50)))
            assert answers == [b"%d" % number for number in range(MOST + 50)]
            assert len(batches.sizes) <= 3
            assert await batches.command("PING") in (b"PONG", True)


async def test_an_error_is_its_own_command_s(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        async with Redis.from_url(url) as redis:
            batches = Batches(redis)
            commands = [("INCR", b"n"), ("NOSUCH",), ("EVALSHA", "0" * 40, 0), ("INCR", b"n")]
            answers = await asyncio.gather(*(batches.command(*words) for words in commands), return_exceptions=True)
            assert answers[0] == 1
            assert isinstance(answers[1], ResponseError)
            assert isinstance(answers[2], NoScriptError)
            assert answers[3] == 2


async def test_a_caller_that_left_takes_nobody_s_answer(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        async with Redis.from_url(url) as redis:
            batches = Batches(redis)
            tasks = [asyncio.ensure_future(batches.command("ECHO", b"%d" % number)) for number in range(5)]
            await asyncio.sleep(0)
            tasks[2].cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(answers.pop(2), asyncio.CancelledError)
            assert answers == [b"0", b"1", b"3", b"4"]


async def test_a_lost_server_is_an_error_for_all_and_no_end(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        redis = Redis.from_url(url)
        batches = Batches(redis)
        assert await batches.command("PING")
    answers = await asyncio.gather(*(batches.command("PING") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, RedisError | OSError) for answer in answers)
    with pytest.raises((RedisError, OSError)):
        await batches.command("PING")
    await redis.aclose()
