"""
curator, which keeps its answers on disk as well; its cache goes to a directory of its own.

It counts tokens with tables that are downloaded at run time. They are replaced by a guess here,
which is quicker, so that it can be measured on a machine without the Internet.
"""

from __future__ import annotations

import os
import tempfile

os.environ.update(
    TELEMETRY_ENABLED="0", CURATOR_DISABLE_RICH_DISPLAY="1", OPENAI_API_KEY="sk-bench"
)

import tiktoken


class Guess:
    """An encoding as far as it is asked for numbers of tokens."""

    def encode(self, text: str, **_options: object) -> range:
        return range(len(text) // 4 + 1)


tiktoken.get_encoding = tiktoken.encoding_for_model = lambda _name: Guess()

from bespokelabs import curator  # noqa: E402 - it reads the environment as it is imported

from tests.benchmarks.peers.peer import bodies, main  # noqa: E402

UNLIMITED = 10_000_000_000


def ask(url: str, prompts: int, concurrency: int) -> None:
    llm = curator.LLM(
        model_name="gpt-4o-mini",
        backend="openai",
        backend_params={
            "base_url": url,
            "max_concurrent_requests": concurrency,
            "max_requests_per_minute": UNLIMITED,
            "max_tokens_per_minute": UNLIMITED,
        },
    )
    with tempfile.TemporaryDirectory() as directory:
        texts = [body["messages"][0]["content"] for body in bodies(prompts)]
        answers = llm(texts, working_dir=directory)
        assert len(getattr(answers, "dataset", answers)) == prompts


if __name__ == "__main__":
    main(ask)
