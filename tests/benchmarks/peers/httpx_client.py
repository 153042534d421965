"""httpx with its own connection pool."""

from __future__ import annotations

import asyncio

import httpx

from tests.benchmarks.peers.peer import bodies, main_loop


async def run(url: str, prompts: int, concurrency: int) -> None:
    left = bodies(prompts)
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    headers = {"Authorization": "Bearer sk-bench"}
    async with httpx.AsyncClient(limits=limits, timeout=600, headers=headers) as client:

        async def work() -> None:
            for body in left:
                reply = await client.post(f"{url}/chat/completions", json=body)
                reply.raise_for_status().json()

        await asyncio.gather(*(work() for _ in range(concurrency)))


if __name__ == "__main__":
    main_loop(run)
