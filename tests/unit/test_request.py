"""What is really asked: who wins over whom, when a question is the same, and how long it can be."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.model import Endpoint, JsonObject, Prompt
from aiq.prompts.shapes import parse
from aiq.run.request import Flags, Overlay, Request, fingerprint

HELLO = {"role": "user", "content": "hello"}


def overlaid(
    prompt: Prompt, *, defaults: JsonObject | None = None, flags: Flags | None = None
) -> Request:
    return Overlay(defaults or {}, flags or Flags()).request(prompt)


def chat(**body: Any) -> Prompt:
    return Prompt(body={"messages": [HELLO], **body})


def print_of(line: str, *, defaults: JsonObject | None = None, flags: Flags | None = None) -> bytes:
    return fingerprint(overlaid(parse(line.encode()), defaults=defaults, flags=flags))


def test_nothing_laid_under_leaves_the_prompt_as_it_is() -> None:
    prompt = chat(temperature=0.5)
    assert overlaid(prompt) == Request(Endpoint.CHAT, prompt.body, None)


def test_the_line_wins_over_flags_and_flags_over_defaults() -> None:
    body = overlaid(
        chat(temperature=0.1),
        defaults={"temperature": 0.3, "top_p": 0.3, "seed": 3},
        flags=Flags(params={"temperature": 0.2, "top_p": 0.2}),
    ).body
    assert body == {"messages": [HELLO], "temperature": 0.1, "top_p": 0.2, "seed": 3}


@pytest.mark.parametrize("line_cap", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("default_cap", ["max_tokens", "max_completion_tokens"])
def test_two_names_of_the_output_cap_are_one_setting(line_cap: str, default_cap: str) -> None:
    """A line's cap replaces the default's under either name, so that only one can be sent."""
    body = overlaid(chat(**{line_cap: 5}), defaults={default_cap: 100}).body
    assert {k: v for k, v in body.items() if k != "messages"} == {line_cap: 5}


def test_a_cap_of_the_flags_replaces_the_default_one_under_another_name() -> None:
    flags = Flags(params={"max_tokens": 5})
    body = overlaid(chat(), defaults={"max_completion_tokens": 100}, flags=flags).body
    assert {k: v for k, v in body.items() if k != "messages"} == {"max_tokens": 5}


@pytest.mark.parametrize(
    ("default", "flag", "expected"),
    [("D", None, "D"), ("D", "F", "F"), (None, "F", "F"), ("D", "", "")],
)
def test_a_system_text_goes_first(default: str | None, flag: str | None, expected: str) -> None:
    """An empty flag is a text too: it takes the default away."""
    defaults = {} if default is None else {"system": default}
    messages = overlaid(chat(), defaults=defaults, flags=Flags(system=flag)).body["messages"]
    assert messages == [{"role": "system", "content": expected}, HELLO]


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_prompts_own_system_text_stays_alone(role: str, place: int) -> None:
    messages = [HELLO]
    messages.insert(place, {"role": role, "content": "own"})
    prompt = Prompt(body={"messages": messages})
    assert overlaid(prompt, flags=Flags(system="other")).body["messages"] == messages


@pytest.mark.parametrize(
    "endpoint", [Endpoint.EMBEDDINGS, Endpoint.COMPLETIONS, Endpoint.RESPONSES]
)
def test_other_endpoints_are_passed_through(endpoint: Endpoint) -> None:
    prompt = Prompt(endpoint=endpoint, body={"input": "x"})
    flags = Flags(system="s", params={"temperature": 0}, model="m")
    assert overlaid(prompt, defaults={"seed": 1}, flags=flags) == Request(
        endpoint, {"input": "x"}, "m"
    )


@pytest.mark.parametrize(
    ("own", "flag", "named"),
    [(None, None, None), ("p", None, "p"), (None, "f", "f"), ("p", "f", "p")],
)
def test_a_prompts_model_wins_over_the_flag(
    own: str | None, flag: str | None, named: str | None
) -> None:
    prompt = Prompt(body={"messages": [HELLO]}, model=own)
    assert overlaid(prompt, flags=Flags(model=flag)).model == named


def test_laying_under_changes_neither_prompt_nor_defaults() -> None:
    prompt, defaults = chat(max_tokens=1), {"system": "s", "max_completion_tokens": 9}
    overlaid(prompt, defaults=defaults, flags=Flags(params={"seed": 1}))
    assert prompt == chat(max_tokens=1)
    assert defaults == {"system": "s", "max_completion_tokens": 9}


def test_flags_given_now_win_one_by_one_over_those_stored() -> None:
    stored = Flags(system="old", params={"seed": 1}, model="m").to_json()
    assert Flags().over(stored) == Flags(system="old", params={"seed": 1}, model="m")
    now = Flags(system="new", params={"top_p": 0.5})
    assert now.over(stored) == Flags(system="new", params={"top_p": 0.5}, model="m")
    assert Flags().over(b"{}") == Flags()


@pytest.mark.parametrize("text", ["naïve 🙂", "\ud800 alone", "nul \x00"])
def test_stored_flags_come_back_as_they_were(text: str) -> None:
    flags = Flags(system=text, params={"stop": [text]})
    assert Flags().over(flags.to_json()) == flags


@pytest.mark.parametrize(
    "other",
    [
        '{ "temperature" : 0.5,\t"prompt":"hi" }',
        '{"prompt": "\\u0068i", "temperature": 0.5}',
        '{"prompt": "hi", "temperature": 0.5, "priority": 9}',
        '{"prompt": "hi", "temperature": 0.5, "metadata": {"a": 1}, "note": "x"}',
        '{"prompt": "hi", "temperature": 0.5, "id": "other"}',
        '{"messages": [{"content": "hi", "role": "user"}], "temperature": 0.5}',
        '{"prompt": "hi", "temperature": 0.5, "seed": null}',
    ],
)
def test_one_question_written_in_other_ways_has_one_fingerprint(other: str) -> None:
    """Layout, escapes, key order, priority, metadata and id are not what is asked."""
    assert print_of(other) == print_of('{"prompt": "hi", "temperature": 0.5}')


@pytest.mark.parametrize(
    "other",
    [
        '{"prompt": "hi!", "temperature": 0.5}',
        '{"prompt": "hi", "temperature": 0.6}',
        '{"prompt": "hi"}',
        '{"prompt": "hi", "temperature": 0.5, "model": "m"}',
        '{"prompt": "hi", "temperature": 0.5, "system": "s"}',
        '{"messages": [{"role": "assistant", "content": "hi"}], "temperature": 0.5}',
    ],
)
def test_another_question_has_another_fingerprint(other: str) -> None:
    assert print_of(other) != print_of('{"prompt": "hi", "temperature": 0.5}')


def test_the_endpoint_is_part_of_the_question() -> None:
    one = Request(Endpoint.EMBEDDINGS, {"input": "x"}, "m")
    other = Request(Endpoint.RESPONSES, {"input": "x"}, "m")
    assert fingerprint(one) != fingerprint(other)


def test_defaults_change_the_question_exactly_where_they_apply() -> None:
    plain, own = '{"prompt": "hi"}', '{"prompt": "hi", "temperature": 1, "system": "s"}'
    defaults = {"temperature": 0, "system": "d"}
    assert print_of(plain) != print_of(plain, defaults=defaults)
    assert print_of(own) == print_of(own, defaults=defaults)
    assert print_of(plain) != print_of(plain, flags=Flags(model="m"))


@pytest.mark.parametrize("text", ["\\ud800", "\\u0000", "\\u2028 🙂"])
def test_any_text_has_a_fingerprint_of_16_bytes(text: str) -> None:
    found = print_of(f'{{"prompt": "{text}"}}')
    assert len(found) == 16
    assert found != print_of('{"prompt": "?"}')


def test_an_integer_of_any_size_has_a_fingerprint() -> None:
    line = f'{{"prompt": "x", "extra_body": {{"k": {10**40}}}}}'
    assert print_of(line) != print_of(line.replace("1000", "2000"))
