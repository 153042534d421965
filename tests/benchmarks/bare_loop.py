"""
The yardstick: a bare aiohttp loop that does the same requests and keeps nothing.

No database, no retry, no accounting: what the machine allows at most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time

import aiohttp


async def run(url: str, prompts: int, concurrency: int) -> None:
    bodies = iter(
        json.dumps(
            {
                "messages": [{"role": "user", "content": f"Say something about {n}"}],
                "model": "bench",
            }
        ).encode()
        for n in range(prompts)
    )
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-bench"}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def work() -> None:
            for body in bodies:
                async with session.post(url, data=body, headers=headers) as reply:
                    json.loads(await reply.read())

        await asyncio.gather(*(work() for _ in range(concurrency)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--prompts", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    options = parser.parse_args()
    began = time.perf_counter()
    asyncio.run(run(options.url, options.prompts, options.concurrency))
    elapsed = time.perf_counter() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"elapsed_s": elapsed, "cpu_s": usage.ru_utime + usage.ru_stime}))  # noqa: T201
