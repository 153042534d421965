"""What every yardstick script does: read its arguments, ask, and print how long it took."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any


def bodies(prompts: int) -> Iterator[dict[str, Any]]:
    """Yield what is to be asked, made as it is needed and shared by all workers."""
    for number in range(prompts):
        content = f"Say something about {number}"
        yield {"messages": [{"role": "user", "content": content}], "model": "bench"}


def main(ask: Callable[[str, int, int], None]) -> None:
    """Call `ask` with base URL, number of prompts, and how many may be in flight."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--prompts", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    options = parser.parse_args()
    began = time.perf_counter()
    ask(options.url, options.prompts, options.concurrency)
    print(json.dumps({"elapsed_s": time.perf_counter() - began}))  # noqa: T201


def main_loop(ask: Callable[[str, int, int], Awaitable[None]]) -> None:
    """Do the same with what runs in an event loop."""

    async def awaited(url: str, prompts: int, concurrency: int) -> None:
        await ask(url, prompts, concurrency)

    main(lambda *of: asyncio.run(awaited(*of)))
