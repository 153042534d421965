"""The official OpenAI SDK, its pool as large as it takes, without retries."""

from __future__ import annotations

import asyncio

import openai

from tests.benchmarks.peers.peer import bodies, main_loop


async def run(url: str, prompts: int, concurrency: int) -> None:
    left = bodies(prompts)
    async with openai.AsyncOpenAI(base_url=url, api_key="sk-bench", max_retries=0) as client:

        async def work() -> None:
            for body in left:
                reply = await client.chat.completions.create(**body)
                assert reply.choices[0].message.content

        await asyncio.gather(*(work() for _ in range(concurrency)))


if __name__ == "__main__":
    main_loop(run)
