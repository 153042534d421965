"""
The yardstick: a bare aiohttp loop that does the same requests and keeps nothing.

No database, no retry, no accounting: what the machine allows at most.
"""

from __future__ import annotations

import asyncio
import json

import aiohttp

from tests.benchmarks.peers.peer import bodies, main_loop


async def run(url: str, prompts: int, concurrency: int) -> None:
    left = bodies(prompts)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-bench"}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def work() -> None:
            for body in left:
                async with session.post(
                    f"{url}/chat/completions", data=json.dumps(body).encode(), headers=headers
                ) as reply:
                    json.loads(await reply.read())

        await asyncio.gather(*(work() for _ in range(concurrency)))


if __name__ == "__main__":
    main_loop(run)
