"""The rules of the house: each has a check that fails."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aiq"
PURE = [*sorted((PACKAGE / "policy").glob("*.py")), PACKAGE / "model.py", PACKAGE / "run/report.py"]
IMPURE = {
    "asyncio",
    "time",
    "random",
    "sqlite3",
    "aiosqlite",
    "httpx",
    "aiohttp",
    "rich",
    "typer",
    "datetime",
    "os",
    "socket",
    "threading",
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_import_contracts_hold() -> None:
    """The contracts of pyproject.toml: one direction, purity, one door per library."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(program), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_policy_reads_no_clock_and_rolls_no_dice(path: Path) -> None:
    """Instants and random draws are arguments."""
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & IMPURE
    assert "aiq.clock" not in imported(path)


@pytest.mark.parametrize(
    ("library", "door"),
    [
        ("aiohttp", {f"providers/{part}.py" for part in ("transport", "connections", "failures")}),
        ("aiosqlite", {"store/db.py"}),
        ("filelock", {"store/lock.py"}),
        ("genai_prices", {"run/price_table.py"}),
        ("jinja2", {"cli/page/render.py"}),
        ("plotly", {"cli/page/render.py"}),
        ("apprise", {"run/alerts/chat.py"}),
    ],
)
def test_each_library_has_one_door(library: str, door: set[str]) -> None:
    """A library that could leak everywhere is imported in one place only."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if library in {name.split(".")[0] for name in imported(path)}
    }
    assert users == door


def test_no_import_circles() -> None:
    """No module imports, directly or through others, itself."""
    graph: dict[str, set[str]] = {}
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    for name, path in modules.items():
        found = {other for other in imported(path) if other in modules}
        packages = {other.rpartition(".")[0] for other in found}
        graph[name] = found - packages - {name}

    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"a circle: {' -> '.join((*above, name))}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_modules_stay_small() -> None:
    """A module over 450 lines has a second reason to change."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := path.read_text(encoding="utf-8").count("\n")) > 450
    }
    assert not long
