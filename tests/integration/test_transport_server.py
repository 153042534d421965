"""The fault server as its own process, and its ledger: what other tests stand on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fault_server import FaultServer
from tests.support.replies import Reply

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """A client of a fault server in a process of its own."""
    script = {"rules": [{"contains": "p1", "nth": 1, "reply": {"kind": "error", "status": 500}}]}
    command = [sys.executable, "-m", "tests.support.fault_server", json.dumps(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield client
        process.terminate()


def ask(client: httpx.Client, prompt: str) -> httpx.Response:
    messages = [{"role": "user", "content": prompt}]
    return client.post("/v1/chat/completions", json={"model": "m", "messages": messages})


def test_process_with_rules(client: httpx.Client) -> None:
    """Rules by prompt and count; the ledger by GET; a new script empties it."""
    assert [ask(client, "p1").status_code, ask(client, "p1").status_code] == [500, 200]
    assert ask(client, "p2").json()["choices"][0]["message"]["content"] == "echo: p2"
    ledger = client.get("/__wait?seen=3&answered=3").json()
    assert [(seen["prompt"], seen["nth"]) for seen in ledger["requests"]] == [
        ("p1", 1),
        ("p1", 2),
        ("p2", 1),
    ]
    assert all(seen["answered"] for seen in ledger["requests"])
    rules: dict[str, Any] = {"reply": {"kind": "hang_up"}, "numbers": [1, 1]}
    client.post("/__script", json={"rules": [rules]}).raise_for_status()
    with pytest.raises(httpx.RemoteProtocolError):
        ask(client, "p3")
    [seen] = client.get("/__ledger").json()["requests"]
    assert (seen["status"], seen["answered"], json.loads(seen["body"])["model"]) == (
        None,
        False,
        "m",
    )


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("chat/completions", "choices"),
        ("completions", "choices"),
        ("embeddings", "data"),
        ("responses", "output"),
    ],
)
async def test_right_answer_of_each_path(path: str, field: str) -> None:
    async with FaultServer() as server, httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(f"{server.url}/{path}", json={"model": "m", "input": "x"})
    assert response.json()["model"] == "m"
    assert response.json()["usage"]["total_tokens"] > 0
    assert len(response.json()[field]) == 1


async def test_mistake_in_a_script_fails_the_test() -> None:
    def script(_: object) -> Reply:
        raise KeyError("typo")

    server = await FaultServer(script).__aenter__()
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(server.url)
    with pytest.raises(KeyError, match="typo"):
        await server.__aexit__(None, None, None)
