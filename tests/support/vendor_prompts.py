"""
Two hundred prompts in chat form, of every sort that all three vendors can be asked.

Deterministic. Each has an id of its own (`v000` to `v199`), and its last user text begins with it,
so that a server which knows nothing of ids can tell them apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJg"
    "gg=="
)
"""A PNG of one pixel."""

_QUESTIONS = (
    "What is the capital of Norway?",
    "Summarise: the quick brown fox jumps over the lazy dog.",
    "Übersetze ins Deutsche: „good morning“",
    "为什么天空是蓝色的",
    "Write a haiku about SQLite 🗄️\nwith a line break",
    'Quote this: "a\\b" \t and </prompt>',
)
_CITIES = ("Oslo", "Bergen", "Tromsø", "Ålesund", "Hamar")
_CITY_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "the city's name"},
        "days": {"type": "integer"},
    },
    "required": ["city"],
    "additionalProperties": False,
}
_WEATHER = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look up the weather.",
        "parameters": _CITY_SCHEMA,
    },
}
_CLOCK = {"type": "function", "function": {"name": "what_time", "parameters": {"type": "object"}}}
_CHOICES: tuple[Any, ...] = (
    None,
    "auto",
    "required",
    "none",
    {"type": "function", "function": {"name": "look_up"}},
)


def vendor_prompts() -> list[dict[str, Any]]:
    """Return the prompts as lines of a prompt file."""
    numbered = itertools.count()
    lines = []
    for make, count in _SORTS:
        for nth in range(count):
            identity = f"v{next(numbered):03}"
            question = f"{identity}: {_QUESTIONS[nth % len(_QUESTIONS)]}"
            lines.append({"id": identity, **make(nth, question)})
    return lines


def chats() -> Iterator[dict[str, Any]]:
    """Yield the request of each prompt without its id: what a dialect is given."""
    for line in vendor_prompts():
        yield {name: value for name, value in line.items() if name != "id"}


def _chat(nth: int, question: str) -> dict[str, Any]:
    return {"messages": [_user(question)], **({"max_tokens": 10 + nth} if nth % 2 else {})}


def _system(nth: int, question: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    instruction: dict[str, Any] = {
        "role": "developer" if nth % 3 == 0 else "system",
        "content": parts if nth % 4 == 0 else f"Answer in {nth + 1} words.",
    }
    return {"messages": [instruction, _user(question)]}


def _multi_turn(nth: int, question: str) -> dict[str, Any]:
    before = []
    for turn in range(1 + nth % 4):
        before += [_user(f"first {turn}"), {"role": "assistant", "content": f"second {turn}"}]
    return {"messages": [*before, _user(question)]}


def _tools(nth: int, question: str) -> dict[str, Any]:
    choice = _CHOICES[nth % len(_CHOICES)]
    return {
        "messages": [_user(question)],
        "tools": [_WEATHER, _CLOCK] if nth % 2 else [_WEATHER],
        **({} if choice is None else {"tool_choice": choice}),
        **({"parallel_tool_calls": False} if nth % 7 == 6 else {}),
    }


def _called_tools(nth: int, question: str) -> dict[str, Any]:
    """One or two calls and their results; sometimes something was said before the call."""
    cities = [_CITIES[(nth + step) % len(_CITIES)] for step in range(1 + nth % 2)]
    calls = [
        {
            "id": f"call_{nth}_{step}",
            "type": "function",
            "function": {"name": "look_up", "arguments": f'{{"city": "{city}", "days": {step}}}'},
        }
        for step, city in enumerate(cities)
    ]
    said = "Let me see." if nth % 3 == 0 else None
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": f"{nth} degrees"} for call in calls
    ]
    asked = {"role": "assistant", "content": said, "tool_calls": calls}
    return {"messages": [_user(question), asked, *results], "tools": [_WEATHER]}


def _schema(nth: int, question: str) -> dict[str, Any]:
    wanted: dict[str, Any] = {"name": "answer", "schema": _CITY_SCHEMA}
    if nth % 2:
        wanted["strict"] = True
    return {
        "messages": [_user(question)],
        "response_format": {"type": "json_schema", "json_schema": wanted},
    }


def _image(nth: int, question: str) -> dict[str, Any]:
    is_inline = nth % 2 == 0
    url = f"data:image/png;base64,{PIXEL}" if is_inline else "https://images.example/cat.png"
    picture = {"type": "image_url", "image_url": {"url": url}}
    return {"messages": [_user([{"type": "text", "text": question}, picture])]}


def _sampled(nth: int, question: str) -> dict[str, Any]:
    given: dict[str, Any] = {
        "temperature": 0.1 * nth,  # beyond 1 as well, where the vendors' ranges differ
        "top_p": 0.9,
        "stop": ["END", "\n\n"] if nth % 2 else "END",
        "seed": nth,
        "max_completion_tokens": 100 + nth,
        "user": f"user-{nth}",
    }
    if nth % 3 == 0:
        given["reasoning_effort"] = "low"
    return {"messages": [_user(question)], **given}


def _user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


_SORTS: tuple[tuple[Callable[[int, str], dict[str, Any]], int], ...] = (
    (_chat, 40),
    (_system, 25),
    (_multi_turn, 30),
    (_tools, 30),
    (_called_tools, 25),
    (_schema, 20),
    (_image, 10),
    (_sampled, 20),
)
