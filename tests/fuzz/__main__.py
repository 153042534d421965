"""
Fuzz one target for a while, guided by coverage: `python -m tests.fuzz TARGET [SECONDS]`.

Needs atheris (`pip install atheris`), which steers its inputs by the branches of `aiq` that they
reach. It prints executions and coverage, and stops at the first finding with the input that made
it; `python -m tests.fuzz TARGET FILE` runs such an input again. Without a target it lists them.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any


def main(words: list[str]) -> None:
    """Do what the module says."""
    if len(words) > 1 and Path(words[1]).exists():
        _targets().TARGETS[words[0]](Path(words[1]).read_bytes())
        return
    if not words:
        print("\n".join(_targets().TARGETS))  # noqa: T201 - it is a command
        return
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["aiq", "tomllib", "dotenv"]):
        targets = _targets()
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{words[0]}-"))
    for number, seed in enumerate(targets.SEEDS[words[0]]):
        (corpus / f"seed{number}").write_bytes(seed)
    seconds = words[1] if len(words) > 1 else "60"
    options = [f"-max_total_time={seconds}", "-max_len=2048", "-rss_limit_mb=2048", "-timeout=10"]
    options.append(f"-artifact_prefix={corpus.parent}/{words[0]}-")
    atheris.Setup([sys.argv[0], *options, str(corpus)], targets.TARGETS[words[0]])
    atheris.Fuzz()


def _targets() -> Any:
    """Import the targets late: only what is imported under the fuzzer's eyes guides it."""
    return importlib.import_module("tests.fuzz.targets")


if __name__ == "__main__":
    main(sys.argv[1:])
