"""litellm's Router over one deployment."""

from __future__ import annotations

import asyncio

import litellm

from tests.benchmarks.peers.peer import bodies, main_loop

litellm.suppress_debug_info = True


async def run(url: str, prompts: int, concurrency: int) -> None:
    left = bodies(prompts)
    deployment = {"model": "openai/bench", "api_base": url, "api_key": "sk-bench"}
    router = litellm.Router(
        model_list=[{"model_name": "bench", "litellm_params": deployment}], num_retries=0
    )

    async def work() -> None:
        for body in left:
            reply = await router.acompletion(**body)
            assert reply.choices[0].message.content

    await asyncio.gather(*(work() for _ in range(concurrency)))


if __name__ == "__main__":
    main_loop(run)
