"""Every reply of the matrix with the caller's own secrets in it, met by one real process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from aiq.policy.outcomes import KEPT_BYTES
from tests.faults.row import Row
from tests.faults.rows import ROWS
from tests.support.canary import BOTH, ENV, HEADER, KEY, PLACES, leaking, leaks
from tests.support.fault_server import FaultServer
from tests.support.ledger import outcomes
from tests.support.process import Workplace, contents
from tests.support.replies import Ending, Reply, Seen
from tests.support.sessions import Bench, provider

REPLIES: list[Row] = [
    row for row in ROWS if row.reply is not None and len(row.reply.body or b"") < 1_000_000
]
LINES = [
    {"id": f"{number} {row.title}", "prompt": row.title, "model": f"m{number}"}
    for number, row in enumerate(REPLIES)
]


def faulty(number: int) -> Reply:
    """Return the reply of a row with the secrets in it, and without its long waits."""
    reply = REPLIES[number].reply or Reply()
    return leaking(dataclasses.replace(reply, delay_s=0.0))


def providers(server: FaultServer) -> dict[str, object]:
    """Give each row a provider of its own, at a path of its own, and a spare behind them all."""
    own = {
        f"row{number}": {
            "base_url": f"{server.root}/{number}/v1",
            "models": {f"m{number}": "m"},
            "strict_models": True,
            "account": f"row{number}",
            "timeout_s": 1.0,
            **PLACES,
        }
        for number in range(len(REPLIES))
    }
    return own | {"spare": {"base_url": f"{server.root}/spare/v1", "models": {"*": "m"}, **PLACES}}


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.HANG])
async def test_a_secret_that_a_reply_ends_in_does_not_show(tmp_path: Path, ending: Ending) -> None:
    """Half a key is a key, for whoever guesses the rest: also where only a part is kept."""
    within = b"x" * (KEPT_BYTES - 10) + KEY.encode() + b"x" * 100
    replies = [
        Reply.truncated(body=b"x" * 90 + KEY.encode() + b"x" * 67, ending=ending),
        Reply.text(within, headers={"content-encoding": "gzip"}),
    ]
    async with FaultServer(replies) as server:
        bench = Bench(
            tmp_path,
            a=provider(server, api_key_env="K", timeout_s=0.5),
            environ={"K": KEY},
            run={"concurrency": 1},
        )
        await bench.run([{"id": "p", "prompt": "p"}])
        kept = [body for (body,) in bench.rows("SELECT body FROM bad_reply")]
    assert len(kept) == 2
    assert not any(KEY[:8].encode() in body for body in kept)


async def test_no_fault_makes_a_secret_show(tmp_path: Path) -> None:
    """Not while the process runs, not afterwards, in no file, on no stream, however verbose."""
    gate, met = asyncio.Event(), Counter[str]()

    def script(seen: Seen) -> Reply | None:
        place = seen.path.split("/")[1]
        met[place] += 1
        if seen.prompt == "last":
            return Reply(until=gate)
        if place == "spare" or met[place] > 1:
            return Reply.chat(f"your key is {BOTH}")
        return faulty(int(place))

    async with (
        FaultServer(script) as server,
        Workplace(tmp_path, run={"concurrency": 64}, **providers(server)) as place,
    ):
        place.env |= ENV
        file = place.write([*LINES, {"id": "last", "prompt": "last", "model": "other"}])
        running = await place.start("run", file, "-vv", "--json", "-o", "out.jsonl")
        await server.seen(len(LINES))
        assert "aiq.db-wal" in contents(tmp_path)
        assert leaks(tmp_path) == []
        gate.set()
        ended = [await running.ended()]
        assert ended[0].code == 1, ended[0].text
        kinds = outcomes(place.db)
        assert kinds.keys() >= {
            "ok", "auth", "not_found", "out_of_credit", "rate_limited", "server_error",
            "bad_response", "bad_request", "context_too_long", "interrupted",
        }  # fmt: skip
        assert met.keys() >= {str(number) for number in range(len(REPLIES))}
        assert all(KEY not in seen.path for seen in server.ledger)
        assert {seen.headers["x-gate"] for seen in server.ledger} == {HEADER}
        shown = ["show", next(str(line["id"]) for line in LINES if "half a body" in line["prompt"])]
        for command in (["status"], ["export"], ["doctor"], shown):
            ended += [await place.run(*command)]
        assert leaks(tmp_path, *ended) == []
