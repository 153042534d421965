"""
One attempt: one HTTP request to one candidate, and what came of it.

Whatever happens on the wire becomes an `Outcome`; only our own cancellation leaves as an exception.
Nothing here decides about retries, and nothing is sent twice.
"""

from __future__ import annotations

import httpx
import msgspec

from aiq.clock import Clock
from aiq.model import Answer, Flaw, Outcome
from aiq.policy import outcomes
from aiq.providers.dialect import Inexpressible
from aiq.providers.durations import retry_after_s
from aiq.providers.exchange import (
    KEPT_BODY_BYTES,
    Arrival,
    BrokenReply,
    Gate,
    Withheld,
    never_sent,
    prepare,
)
from aiq.providers.reply_headers import read_headers
from aiq.redaction import Redactor
from aiq.run.deadlines import Deadlines
from aiq.run.fleet import Provider
from aiq.run.request import Request


class Sender:
    """Sends requests and reads replies."""

    def __init__(self, *, clock: Clock, deadlines: Deadlines, redactor: Redactor) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._redactor = redactor

    async def send(self, provider: Provider, request: Request, model: str, gate: Gate) -> Outcome:
        """
        Ask once, if the gate lets it, and return the outcome, free of secrets.

        Raises:
            Inexpressible: the provider's wire format has no words for it; nothing was sent.
        """
        arrival = Arrival()
        try:
            url = provider.url(request.endpoint, model)
        except httpx.InvalidURL as error:
            raise Inexpressible(f"no URL can hold the model's name: {error}") from error
        wire = prepare(
            "POST",
            url,
            provider.headers,
            provider.encode(request, model),
            arrival=arrival,
            gate=gate,
        )
        began = self._clock.now()
        try:
            with self._deadlines.limit(provider.settings.timeout_s):
                response = await provider.transport.handle_async_request(wire)
        except TimeoutError:
            return self._redacted(_late(arrival, provider.settings.timeout_s))
        except BrokenReply as broken:
            return self._redacted(
                outcomes.broken(
                    broken.status_code,
                    broken.flaw,
                    str(broken),
                    body=broken.body,
                    elapsed_s=self._clock.now() - began,
                    answered_before=provider.standing.answered,
                    request_id=self._harmless(read_headers(broken.headers).request_id),
                    retry_after_s=retry_after_s(broken.headers),
                )
            )
        except Withheld as withheld:
            return outcomes.cancelled(str(withheld), was_sent=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = str(error) or type(error).__name__
            lost = outcomes.not_sent if never_sent(error) else outcomes.interrupted
            return self._redacted(lost(text))
        return self._read(provider, request, response, elapsed_s=self._clock.now() - began)

    def _read(
        self, provider: Provider, request: Request, response: httpx.Response, *, elapsed_s: float
    ) -> Outcome:
        status_code, headers = response.status_code, response.headers
        body = self._redactor.answer(response.content)
        reading = provider.dialect.read(request.endpoint, status_code, headers, body)
        said = read_headers(headers)
        found_id = self._harmless(said.request_id)
        if type(reading) is Answer:
            outcome = outcomes.answered(
                reading, status_code=status_code, body=body, request_id=found_id
            )
        else:
            outcome = self._redacted(
                outcomes.classify(
                    reading,  # type: ignore[arg-type] # what is no Answer is a Problem
                    elapsed_s=elapsed_s,
                    answered_before=provider.standing.answered,
                    body=body,
                    request_id=found_id,
                )
            )
        if said.quota is None:
            return outcome
        return msgspec.structs.replace(outcome, quota=said.quota)

    def _harmless(self, text: str | None) -> str | None:
        return text and self._redactor.text(text)

    def _redacted(self, outcome: Outcome) -> Outcome:
        return msgspec.structs.replace(
            outcome,
            message=outcome.message and self._redactor.text(outcome.message),
            code=outcome.code and self._redactor.text(outcome.code),
            body=outcome.body and self._redactor.body(outcome.body),
        )


def _late(arrival: Arrival, limit_s: float) -> Outcome:
    """A time-out before the status line is of unknown outcome; after it, the reply is broken."""
    text = f"no complete reply within {limit_s:g} s"
    if arrival.status_code is None:
        return outcomes.interrupted(text, timed_out=True)
    outcome = outcomes.broken(
        arrival.status_code,
        Flaw.TRUNCATED,
        text,
        body=arrival.start(KEPT_BODY_BYTES),
        elapsed_s=limit_s,
        retry_after_s=retry_after_s(arrival.headers),
    )
    return msgspec.structs.replace(outcome, timed_out=True)
