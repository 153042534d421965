"""
One provider examined, level by level, within a time of its own.

Network (its port and certificate), API (its list of models), function (one tiny request, checked to
be an answer), latency (whether that was quick enough). Only the third costs anything. What the
findings mean is decided in `aiq.policy.health`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from aiq.clock import Clock
from aiq.model import Endpoint, JsonObject, Kind, Outcome
from aiq.policy import health, outcomes
from aiq.policy.health import Level, LevelResult
from aiq.providers.dialect import cap_names
from aiq.providers.network import Reach, reach
from aiq.providers.proxies import proxy_for
from aiq.redaction import Redactor
from aiq.run.attempt import Sender
from aiq.run.deadlines import Deadlines
from aiq.run.fleet import Provider
from aiq.run.models import listed_models
from aiq.run.request import Request

MAX_TOKENS = 16
"""Of the tiny request: the least that OpenAI's responses endpoint takes."""

CUT = "cut by the interval"
"""Said of a failure that a longer time-out, as configured, might have spared."""

_INSTANT_S = 0.001
"""Less time than this is none; a timer may fire a little before its instant."""

_QUESTION = "Reply with the word ok."
_BODIES: dict[Endpoint, JsonObject] = {
    Endpoint.CHAT: {"messages": [{"role": "user", "content": _QUESTION}]},
    Endpoint.EMBEDDINGS: {"input": _QUESTION},
    Endpoint.COMPLETIONS: {"prompt": _QUESTION},
    Endpoint.RESPONSES: {"input": _QUESTION},
}


class Examination:
    """One look at one provider; `model` is the one it is asked for, None: there is none."""

    def __init__(
        self,
        provider: Provider,
        *,
        wanted_model: str | None,
        clock: Clock,
        redactor: Redactor,
        environ: Mapping[str, str],
        limit_s: float | None = None,
    ) -> None:
        """`limit_s` is the time there is at most, whatever the settings say; None: as they say."""
        self._provider = provider
        self._settings = provider.settings
        self._wanted_model = wanted_model
        self._clock = clock
        self._redactor = redactor
        self._environ = environ
        self._sender = Sender(clock=clock, deadlines=Deadlines(clock), redactor=redactor)
        configured_s = provider.settings.probe.timeout_s
        self._limit_s = configured_s if limit_s is None else min(configured_s, limit_s)
        self._is_cut = self._limit_s < configured_s
        self._end = 0.0
        self._names: list[str] = []
        self._answer_ms = 0.0
        self.model = provider.resolve(wanted_model)

    async def levels(self, deepest: Level) -> tuple[LevelResult, ...]:
        """Look as deep as asked, or as makes sense, and return what each level found."""
        if self._settings.missing_key is not None:
            said = f"{self._settings.missing_key} is not set"
            return (health.failed(Level.API, Outcome(kind=Kind.AUTH), said, None),)
        self._end = self._clock.now() + self._limit_s
        looks = {
            Level.NETWORK: self._network,
            Level.API: self._api,
            Level.FUNCTION: self._function,
            Level.LATENCY: self._latency,
        }
        results: list[LevelResult] = []
        for level, look in looks.items():
            found = await look()
            detail = self._redactor.text(found.detail) + self._why_so_soon(found)
            results.append(msgspec.structs.replace(found, detail=detail))
            if found.is_final or level == deepest:
                break
        return tuple(results)

    def _why_so_soon(self, found: LevelResult) -> str:
        """Say of a failure for want of time that there was less of it than was configured."""
        is_late = found.ok is False and self._left_s < _INSTANT_S
        return f" ({CUT})" if is_late and self._is_cut else ""

    async def _network(self) -> LevelResult:
        if self._settings.simulated is not None:
            return health.passed(Level.NETWORK, "simulated on this machine")
        proxy = proxy_for(self._settings.base_url, self._environ)
        found = await reach(
            proxy or self._settings.base_url,
            limit_s=min(self._left_s, self._settings.connect_timeout_s),
            now=self._clock.now,
        )
        via = f" through the proxy {urlsplit(proxy).hostname}" if proxy else ""
        if found.failure is not None:
            outcome = outcomes.not_sent(found.failure)
            return health.failed(Level.NETWORK, outcome, found.failure + via, None)
        return health.passed(
            Level.NETWORK, f"reachable{via} ({_steps(found)})", found.seconds * 1000
        )

    async def _api(self) -> LevelResult:
        began = self._clock.now()
        names = await listed_models(self._provider, self._redactor, limit_s=self._left_s)
        latency_ms = self._ms_since(began)
        if isinstance(names, Outcome):
            if health.is_not_offered(names):
                return health.unasked(Level.API, "it offers no list of models", latency_ms)
            return health.failed(Level.API, names, health.explain(names), latency_ms)
        if not self._provider.dialect.lists_models:
            detail = "its list of models has no deployments, and so says nothing about them"
            return health.passed(Level.API, detail, latency_ms)
        self._names = names
        if self.model is None and self._is_choosable(names):
            self.model = names[0]
        count = f"{len(names):,} model{'' if len(names) == 1 else 's'}"
        if self.model is None:
            return health.passed(Level.API, f"it lists {count}", latency_ms)
        if health.offers(names, self.model):
            detail = f"it lists {count}, `{self.model}` among them"
            return health.passed(Level.API, detail, latency_ms)
        unknown = Outcome(kind=Kind.NOT_FOUND)
        return health.failed(Level.API, unknown, self._lacking(self.model), latency_ms)

    def _is_choosable(self, names: list[str]) -> bool:
        """Whether a run would take the only model there is."""
        return self._wanted_model is None and self._settings.is_local and len(names) == 1

    async def _function(self) -> LevelResult:
        endpoint = Endpoint[self._settings.probe.endpoint.upper()]
        if not self._provider.serves(endpoint):
            return health.unasked(
                Level.FUNCTION, f"{self._settings.kind} providers have no {endpoint} endpoint"
            )
        if self.model is None:
            return health.unasked(Level.FUNCTION, self._why_no_model())
        began = self._clock.now()
        outcome = await self._ask(endpoint, self.model)
        self._answer_ms = self._ms_since(began)
        if health.is_answer(outcome):
            return health.passed(Level.FUNCTION, "it answers", self._answer_ms)
        detail = health.explain(outcome)
        if outcome.kind is Kind.NOT_FOUND and outcome.model_only:
            detail = f"{self._lacking(self.model)}; {detail}"
        return health.failed(Level.FUNCTION, outcome, detail, self._answer_ms)

    async def _ask(self, endpoint: Endpoint, model: str) -> Outcome:
        """Send the tiny request; a limit on its answer goes under the server's name for it."""
        caps = dict.fromkeys(cap_names(endpoint)[:1], MAX_TOKENS)
        request = Request(endpoint, _BODIES[endpoint] | caps, model)
        limit_s = self._left_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._sender.send(self._provider, request, model, _open_gate)
        except TimeoutError:
            return outcomes.interrupted(f"no reply within {round(limit_s, 1):g} s", timed_out=True)

    async def _latency(self) -> LevelResult:
        return health.timed(self._answer_ms, self._settings.probe.latency_ms)

    def _lacking(self, model: str) -> str:
        if health.offers(self._names, model):
            return f"it lists `{model}` and does not serve it"
        listed = f"; {health.alternatives(self._names, model)}" if self._names else ""
        return f"it has no model `{model}`{listed}"

    def _why_no_model(self) -> str:
        if self._wanted_model is not None:
            return f"it is not set up to serve `{self._wanted_model}`"
        return "there is no model to ask for: name one with `-m`, or set `model`"

    @property
    def _left_s(self) -> float:
        return max(self._end - self._clock.now(), 0.0)

    def _ms_since(self, began: float) -> float:
        return (self._clock.now() - began) * 1000


def _open_gate() -> None:
    """Let every request go; a run closes its gates when it is stopped."""


def _steps(found: Reach) -> str:
    return ", ".join(f"{step.name} {step.seconds * 1000:.1f} ms" for step in found.steps)
