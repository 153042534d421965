"""
What `aiq init` writes: an `aiq.toml` made of the keys and local servers found on this machine.

What was found is active and ranked, hosted providers before local ones; what was not is there as
comments, so that the file teaches what it could hold. With nothing found the simulated provider
is active, and the first run works without a key.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from urllib.parse import urlsplit

from aiq.providers.presets import PRESETS, Preset

# A server on this machine accepts at once or is not there.
LOCAL_TIMEOUT_S = 0.3

_EXAMPLE_MODELS = {
    "openai": "gpt-4.1-mini",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "deepseek": "deepseek-chat",
    "mistral": "mistral-small-latest",
    "groq": "openai/gpt-oss-20b",
    "together": "openai/gpt-oss-20b",
    "fireworks": "accounts/fireworks/models/gpt-oss-20b",
    "openrouter": "openai/gpt-4.1-mini",
    "xai": "grok-4-fast-non-reasoning",
    "cerebras": "gpt-oss-120b",
}
"""Starting points, one per hosted preset; vendors rename models, the user decides."""

_HEAD = """\
# aiq.toml: how `aiq run` works in this directory. Every key is optional unless it says otherwise.
# Keys of vendors never go in here: they come from the environment or from .env beside this file.

[run]
# concurrency = 128       # jobs in flight over all providers
# max_attempts = 5        # counted attempts per job over all providers
# timeout_s = 600         # wall-clock limit of one attempt
# max_wait_s = 60         # give up after this long without a usable provider
# on_unknown = "retry"    # or "fail": a request left, its answer never came, it may be paid
# on_changed = "error"    # or "rerun", "keep": a finished prompt's request has changed
# strategy = "rank"       # or "latency", "cost", "balanced"
# overflow = false        # true: use lower ranks while a better one is merely at its own limit
# prefer_region = "eu"    # first among providers that share a rank or give none
# budget_usd = 20.0       # what all attempts ever of a batch may cost, worst case included

[defaults]                # merged under every prompt
# system = "Answer briefly."
# temperature = 0.2
# max_tokens = 1024

# Providers, best first: the order is the rank. A job that one cannot serve goes to the next,
# so delete every provider that your prompts must not reach.
"""

_OPTIONS = """
# What else a provider can say:
#
# rank = 1                              # instead of the order in this file
# models = { fast = "gpt-4.1-mini" }    # a prompt's model name -> this provider's; "*" matches any
# strict_models = true                  # serve only what `models` and `model` name
# context_window = 128000               # tokens; longer prompts go where they fit
# max_in_flight = 64                    # default: run.concurrency
# adaptive = true                       # concurrency follows what the server bears
# requests_per_minute = 500             # never exceeded in any 60 s
# tokens_per_minute = 200_000           # or input_tokens_per_minute, output_tokens_per_minute
# region = "us-east"
# breaker = { slow_min_s = 20 }         # constants of breaker, limits and probe
# limits = { start = 32 }
# probe = { level = 2 }
# max_tokens = 1024                     # output cap sent when the prompt has none
# timeout_s = 120
# connect_timeout_s = 10
# price = { input = 0.40, output = 1.60, cached_input = 0.10 }   # USD per million tokens
# headers = { "X-Title" = "nightly", "X-Gate" = "${GATE_TOKEN}" }
# account = "team-a"                    # providers of one account share limits and credential state
#
# Any OpenAI-compatible server:
#
# [[providers]]
# name = "own-gateway"
# base_url = "https://llm.example.com/v1"
# api_key_env = "GATEWAY_KEY"
# model = "large"
#
# Be told when a provider is down or a run has ended (`aiq alerts test` tries it):
#
# [alerts]
# urls_env = "AIQ_ALERT_URLS"           # of chats and mail; needs pip install 'apprise>=2.3'
# webhook_env = "AIQ_ALERT_WEBHOOK"     # or webhook = "https://...", if it holds no secret
# min_level = "warning"
"""


def starter_config(environ: Mapping[str, str], reachable: Sequence[str]) -> str:
    """
    Return the text of a commented `aiq.toml`.

    Args:
        environ: the variables to look for keys in, those of `.env` included.
        reachable: names of local presets that something answers for, as `local_servers` finds them.
    """
    active: list[str] = []
    commented: list[str] = []
    for preset in sorted(PRESETS.values(), key=lambda preset: preset.is_local):
        variable = next((name for name in preset.key_env if environ.get(name, "").strip()), None)
        if preset.is_local and preset.name in reachable:
            active.append(_provider(preset, f"something answers at {preset.base_url}"))
        elif preset.needs_key and variable:
            active.append(_provider(preset, f"{variable} is set"))
        elif preset.kind != "simulated":
            commented.append(_commented(_provider(preset, _missing(preset))))
    simulated = _provider(PRESETS["simulated"], "answers are made up on this machine, for free")
    if active:
        commented.append(_commented(simulated))
    else:
        active.append(simulated)
    return "\n".join([_HEAD, *active, "# Not active:\n", *commented]) + _OPTIONS


def local_servers(presets: Iterable[Preset] = tuple(PRESETS.values())) -> list[str]:
    """Return the names of local presets whose port accepts a connection; nothing is sent to it."""
    return [preset.name for preset in presets if preset.is_local and _accepts(preset.base_url)]


def _accepts(base_url: str) -> bool:
    address = urlsplit(base_url)
    try:
        with closing(
            socket.create_connection((address.hostname, address.port or 80), LOCAL_TIMEOUT_S)
        ):
            return True
    except OSError:
        return False


def _provider(preset: Preset, remark: str) -> str:
    lines = [f"# {remark}", "[[providers]]", f'name = "{preset.name}"', f'preset = "{preset.name}"']
    if preset.name in _EXAMPLE_MODELS:
        model = f'model = "{_EXAMPLE_MODELS[preset.name]}"'
        lines.append(f"{model}    # for prompts that name none")
    elif preset.is_local:
        lines.append('# model = "..."    # needed if the server has more than one')
    if preset.kind == "simulated":
        lines.append("simulated = { latency_ms = 300, error_rate = 0.05 }")
    return "\n".join(lines) + "\n"


def _missing(preset: Preset) -> str:
    if preset.is_local:
        return f"a local server at {preset.base_url}"
    return f"needs {preset.key_env[0]}"


def _commented(text: str) -> str:
    lines = text.removesuffix("\n").split("\n")
    return "".join(f"{line}\n" if line.startswith("#") else f"# {line}\n" for line in lines)
