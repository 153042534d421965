"""
`[alerts]`: where alerts go, which, and who may explain them.

URLs of chats hold secrets, so they come from the environment, where `urls_env` and `webhook_env`
name the variables. Without the section there are no alerts, whatever the environment holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import SplitResult, urlsplit

from aiq.config.alert_settings import AlertSettings, AlertsTable
from aiq.config.base_url import is_loopback
from aiq.config.environment import Environment
from aiq.config.toml_file import nearest, quoted
from aiq.errors import ConfigError
from aiq.policy.alert import AlertLevel
from aiq.providers.addresses import is_forbidden
from aiq.redaction import Secret

URLS_ENV = "AIQ_ALERT_URLS"

WAYS = f"URLs of chats come from {URLS_ENV}, a JSON webhook is `webhook` or `webhook_env`"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SEPARATOR = re.compile(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)|\s+")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_LOOKS_SECRET = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_-]{20,}")
_FIXED = "; its value stays in the environment or .env"


def check_alerts(table: AlertsTable, where: str, providers: Iterable[str]) -> None:
    """
    Refuse what makes no sense in the file alone; `where` is the section's place.

    Raises:
        ConfigError: the first value that is wrong.
    """
    for key in ("urls_env", "webhook_env"):
        variable = getattr(table, key)
        if variable is not None and not _VARIABLE.fullmatch(variable):
            raise ConfigError(
                f"{where}.{key}: is not the name of a variable",
                hint=f'for example {key} = "AIQ_ALERT_{key[:-4].upper()}"{_FIXED}',
            )
    if table.webhook is not None and table.webhook_env is not None:
        raise ConfigError(f"{where}.webhook: is given twice", hint="keep `webhook_env`")
    if table.webhook is not None:
        parts = _check_webhook(table.webhook, f"{where}.webhook", allow_http=table.allow_http)
        if parts.query or any(_LOOKS_SECRET.fullmatch(one) for one in parts.path.split("/")):
            raise ConfigError(
                f"{where}.webhook: seems to hold a secret",
                hint='put it into the environment and name the variable: webhook_env = "NAME"',
            )
    if not table.language.strip() or len(table.language) > 40 or not table.language.isprintable():
        raise ConfigError(f"{where}.language: is not a language", hint='language = "Deutsch"')
    known = list(providers)
    if table.triage.provider is not None and table.triage.provider not in known:
        raise ConfigError(
            f"{where}.triage.provider: no provider is named {quoted(table.triage.provider)}",
            hint=nearest(table.triage.provider, known) if known else "leave it out",
        )


def resolve_alerts(
    table: AlertsTable, environment: Environment, file: str, *, is_needed: bool
) -> AlertSettings:
    """
    Return the settings, with the URLs that the environment holds.

    Where nothing `is_needed`, because somebody only looks, `missing` says what is not there.

    Raises:
        ConfigError: a URL that cannot be used, or none at all.
    """
    urls = _urls(table.urls_env or URLS_ENV, environment)
    webhook = _webhook(table, environment)
    missing = _missing(table, urls, webhook, environment)
    if missing is not None and is_needed:
        raise ConfigError(
            f"{file}: alerts: {missing}",
            hint=f"export {_wanted(table)}=..., or put it into .env, or leave [alerts] out",
        )
    return AlertSettings(
        urls=tuple(urls),
        webhook=webhook,
        min_level=AlertLevel[table.min_level.upper()],
        dedup_s=table.dedup_s,
        language=table.language.strip(),
        error_share=table.error_share,
        stall_s=table.stall_s,
        triage=table.triage,
        missing=missing,
    )


def _urls(variable: str, environment: Environment) -> list[Secret]:
    """Split a variable at blanks, and at commas before the next scheme."""
    value = environment.variables.get(variable, "").strip()
    urls = [one.strip(",") for one in _SEPARATOR.split(value)]
    found = []
    for number, url in enumerate(filter(None, urls), start=1):
        if not _VISIBLE.fullmatch(url):
            raise ConfigError(f"{variable}: its URL {number} holds a character that is not ASCII")
        found.append(Secret(f"{variable} (URL {number})", url))
    return found


def _webhook(table: AlertsTable, environment: Environment) -> Secret | None:
    if table.webhook is not None:
        return Secret("alerts.webhook", table.webhook)
    if table.webhook_env is None:
        return None
    value = environment.variables.get(table.webhook_env, "").strip()
    if not value:
        return None
    _check_webhook(value, table.webhook_env, allow_http=table.allow_http)
    return Secret(table.webhook_env, value)


def _check_webhook(url: str, where: str, *, allow_http: bool) -> SplitResult:
    """Return the parts of a URL that a webhook may have; messages never repeat it."""
    try:
        parts = urlsplit(url)
        is_url = bool(parts.hostname) and parts.port != 0 and _VISIBLE.fullmatch(url) is not None
    except ValueError:
        is_url = False
    if not is_url or parts.scheme not in ("http", "https"):
        raise ConfigError(
            f"{where}: is not the URL of a webhook", hint="https://hooks.example.com/..."
        )
    if "@" in parts.netloc:
        raise ConfigError(f"{where}: must not hold a user name or password")
    host = parts.hostname or ""
    if is_forbidden(host):
        raise ConfigError(f"{where}: leads to a link-local or metadata address")
    if parts.scheme == "http" and not is_loopback(url) and not allow_http:
        raise ConfigError(
            f"{where}: would send alerts unencrypted",
            hint="use https://, or set alerts.allow_http = true for a network you trust",
        )
    return parts


def _missing(
    table: AlertsTable, urls: Sequence[Secret], webhook: Secret | None, environment: Environment
) -> str | None:
    """Return why not everything that the file names is there; None: it is."""
    for variable, is_there in (
        (table.urls_env, bool(urls)),
        (table.webhook_env, webhook is not None),
    ):
        if variable is not None and not is_there:
            state = "is empty" if variable in environment.variables else "is not set"
            return f"{variable} {state}"
    if not urls and webhook is None:
        return f"there is nowhere to send them: {URLS_ENV} is not set and there is no webhook"
    return None


def _wanted(table: AlertsTable) -> str:
    return table.webhook_env or table.urls_env or URLS_ENV
