"""All of it from settings: channels, what is worth a message, and who explains."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import httpx

from aiq.clock import Clock
from aiq.config import AlertSettings, Settings
from aiq.errors import ConfigError
from aiq.policy.alerting import Alerting
from aiq.redaction import Redactor
from aiq.run.alerts.channel import Channel
from aiq.run.alerts.chat import open_chats
from aiq.run.alerts.dispatch import Alerts
from aiq.run.alerts.triage import Triage
from aiq.run.alerts.webhook import Webhook
from aiq.run.fleet import Fleet, Transports, transports


def open_channels(
    alerts: AlertSettings,
    environ: Mapping[str, str],
    *,
    webhook_transport: httpx.AsyncBaseTransport | None = None,
) -> list[Channel]:
    """
    Return every configured channel; nothing is sent yet.

    Raises:
        ConfigError: there is none, or one cannot be used as it is configured.
    """
    if alerts.missing is not None:
        raise ConfigError(f"alerts: {alerts.missing}", hint="export it, or put it into .env")
    channels: list[Channel] = list(open_chats(alerts.urls))
    if alerts.webhook is not None:
        channels.insert(0, Webhook(alerts.webhook, environ, transport=webhook_transport))
    return channels


def open_alerts(
    settings: Settings,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    note: Callable[[str], None],
    model: str | None = None,
    transports_of: Transports | None = None,
    draw: Callable[[], float] = random.random,
) -> Alerts:
    """
    Return what sends alerts, to be entered as a context; without `[alerts]` it sends nothing.

    Args:
        settings: with the providers that may be asked to explain.
        environ: the process's variables, for proxies.
        clock: the program's.
        note: is told what a person should know; must not raise.
        model: what providers that name none of their own are asked for.
        transports_of: the ways to providers; None is the real network.
        draw: uniform in 0..1.

    Raises:
        ConfigError: a channel cannot be used as it is configured.
    """
    alerts = settings.alerts
    redactor = Redactor(settings.secrets)
    if alerts is None:
        return Alerts((), Alerting(), clock=clock, redactor=redactor, note=note)
    triage = None
    if alerts.triage.enabled:
        triage = Triage(
            alerts,
            fleet_of=lambda: Fleet.of(
                settings.providers,
                concurrency=1,
                transports=transports_of or transports(clock, environ),
            ),
            clock=clock,
            redactor=redactor,
            model=model,
        )
    return Alerts(
        open_channels(alerts, environ),
        Alerting(min_level=alerts.min_level, dedup_s=alerts.dedup_s),
        clock=clock,
        redactor=redactor,
        note=note,
        triage=triage,
        draw=draw,
    )
