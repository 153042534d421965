"""
What others do with the same requests: each a script of its own in `peers/`.

The bare aiohttp loop runs in this environment. The rest get one of their own, which is made when
they are asked for and kept for the next time.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.benchmarks.process import ROOT, Ended, run

PEERS = ("httpx_client", "openai_sdk", "litellm_router", "curator_llm")
PACKAGES = ("httpx", "openai", "litellm", "bespokelabs-curator")


def environment(directory: Path) -> Path:
    """Return the Python of the peers' environment, made on first use."""
    python = directory / "bin" / "python"
    if not (directory / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES], check=True)
        (directory / "made").touch()
    return python


def ask(
    peer: str, url: str, prompts: int, concurrency: int, *, python: str = sys.executable
) -> Ended:
    """Let a yardstick ask; what it prints is how long its loop alone took."""
    module = f"tests.benchmarks.peers.{peer}"
    how = ("--prompts", str(prompts), "--concurrency", str(concurrency))
    return run([python, "-m", module, url, *how], env={"PYTHONPATH": str(ROOT)})
