"""`[alerts]`: what it comes to, what is refused, and that no URL is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiq.config import AlertSettings, load, load_alerts
from aiq.errors import ConfigError
from aiq.policy.alert import AlertLevel
from aiq.redaction import Redactor

HOOK = 'webhook = "http://127.0.0.1:9/hook"\n'
DISCORD = "discord://1234567890/very-secret-token-4711"
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general"


def alerts(
    directory: Path, text: str = HOOK, environ: dict[str, str] | None = None
) -> AlertSettings:
    (directory / "aiq.toml").write_text(f"[alerts]\n{text}")
    return load_alerts(environ=environ or {}, working_directory=directory)


def refusal(directory: Path, text: str, environ: dict[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        alerts(directory, text, environ)
    return caught.value


def test_the_defaults(tmp_path: Path) -> None:
    found = alerts(tmp_path)
    assert found.webhook is not None
    assert found.webhook.reveal() == "http://127.0.0.1:9/hook"
    assert (found.urls, found.min_level, found.dedup_s) == ((), AlertLevel.INFO, 300.0)
    assert (found.language, found.triage.enabled) == ("English", False)


def test_urls_come_from_the_environment_or_its_file(tmp_path: Path) -> None:
    """Between blanks or commas; commas of their own stay."""
    value = f" {DISCORD}, {SLACK}\nmailto://u:p@mail.example?to=a@b.c,d@e.f "
    found = alerts(tmp_path, 'urls_env = "MINE"', {"MINE": value})
    assert [one.reveal() for one in found.urls] == [
        DISCORD,
        SLACK,
        "mailto://u:p@mail.example?to=a@b.c,d@e.f",
    ]
    assert [one.name for one in found.urls] == [f"MINE (URL {n})" for n in (1, 2, 3)]
    (tmp_path / ".env").write_text(f"AIQ_ALERT_URLS={DISCORD}\n")
    assert [one.reveal() for one in alerts(tmp_path, "").urls] == [DISCORD]


def test_nothing_of_a_url_is_shown(tmp_path: Path) -> None:
    """Neither whole nor in the pieces that services take for a password."""
    found = alerts(tmp_path, "", {"AIQ_ALERT_URLS": f"{DISCORD} {SLACK}"})
    assert "secret-token" not in repr(found)
    said = Redactor(found.secrets).text("/api/webhooks/1/very-secret-token-4711 TIiajkdnlazkcOX "
                                        "TIiajkdnlazkcOXrIdevi7FQ")  # fmt: skip
    assert "very-secret" not in said
    assert "rIdevi7FQ" not in said


def test_the_host_of_a_webhook_is_no_secret(tmp_path: Path) -> None:
    """A provider may live there as well, and its name is worth reading."""
    found = alerts(tmp_path, 'webhook_env = "W"', {"W": "https://gateway.example.com/secret-4711x"})
    redactor = Redactor(found.secrets)
    assert redactor.text("cannot connect to gateway.example.com") == (
        "cannot connect to gateway.example.com"
    )
    assert "4711x" not in redactor.text("GET /secret-4711x")


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ('url_env = "X"', "alerts.url_env: unknown key", "urls_env"),
        ('urls = "discord://a/b"', "alerts.urls: does not belong here", "environment"),
        ("dedup_s = 0", "alerts.dedup_s: expected", ""),
        ('min_level = "warn"', "alerts.min_level: unknown value", "warning"),
        ('urls_env = "discord://a/b"', "alerts.urls_env: is not the name of", "AIQ_ALERT_URLS"),
        ('webhook_env = "a b"', "alerts.webhook_env: is not the name of", "AIQ_ALERT_WEBHOOK"),
        (HOOK + 'webhook_env = "X"', "alerts.webhook: is given twice", "webhook_env"),
        ('webhook = "ftp://x/y"', "alerts.webhook: is not the URL", "https://"),
        ('webhook = "https://[x"', "alerts.webhook: is not the URL", "https://"),
        ('webhook = "https://u:p@h/"', "alerts.webhook: must not hold a user", ""),
        ('webhook = "http://h.example/"', "alerts.webhook: would send alerts unenc", "allow_http"),
        ('webhook = "https://169.254.169.254/"', "alerts.webhook: leads to a link-local", ""),
        ('webhook = "https://[fe80::1]/"', "alerts.webhook: leads to a link-local", ""),
        ('webhook = "https://h/x?token=1"', "alerts.webhook: seems to hold a secret", "_env"),
        ('webhook = "https://h/Ab1defghijklmnopqrstu"', "alerts.webhook: seems to hold", "_env"),
        (HOOK + 'language = ""', "alerts.language: is not a language", "Deutsch"),
        (HOOK + '[alerts.triage]\nprovider = "x"', "alerts.triage.provider: no prov", "leave"),
        (HOOK + "[alerts.triage]\nbudget = 1", "alerts.triage.budget: unknown key", "budget_usd"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, place: str, hint: str) -> None:
    found = refusal(tmp_path, text)
    assert str(found).startswith(f"aiq.toml: {place}")
    assert hint in (found.hint or "")


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("", {}, "aiq.toml: alerts: there is nowhere to send them"),
        ('urls_env = "U"\n' + HOOK, {}, "aiq.toml: alerts: U is not set"),
        ('webhook_env = "W"', {"W": " "}, "aiq.toml: alerts: W is empty"),
        ('webhook_env = "W"', {"W": "nonsense"}, "W: is not the URL of a webhook"),
        ("", {"AIQ_ALERT_URLS": "discord://a/\x07secret"}, "AIQ_ALERT_URLS: its URL 1 holds"),
    ],
)
def test_what_the_environment_lacks(
    tmp_path: Path, text: str, environ: dict[str, str], said: str
) -> None:
    found = str(refusal(tmp_path, text, environ))
    assert found.startswith(said)
    assert "secret" not in found


def test_plain_http_where_it_is_trusted(tmp_path: Path) -> None:
    found = alerts(tmp_path, 'webhook = "http://h.example/"\nallow_http = true')
    assert found.webhook is not None


def test_who_only_looks_needs_no_way_out(tmp_path: Path) -> None:
    """And is told why there is none; who runs is refused."""
    (tmp_path / "aiq.toml").write_text('[alerts]\n[[providers]]\npreset = "simulated"\n')
    looking = load(environ={}, working_directory=tmp_path, needs_keys=False)
    assert looking.alerts is not None
    assert "nowhere to send" in (looking.alerts.missing or "")
    with pytest.raises(ConfigError, match="nowhere to send"):
        load(environ={}, working_directory=tmp_path)


def test_without_the_section_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "aiq.toml").write_text('[[providers]]\npreset = "simulated"\n')
    settings = load(environ={"AIQ_ALERT_URLS": DISCORD}, working_directory=tmp_path)
    assert settings.alerts is None
    assert settings.secrets == ()
    with pytest.raises(ConfigError, match=r"there is no \[alerts\]"):
        load_alerts(environ={"AIQ_ALERT_URLS": DISCORD}, working_directory=tmp_path)


def test_without_a_file_that_is_what_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no aiq\.toml in ") as caught:
        load_alerts(environ={"AIQ_ALERT_URLS": DISCORD}, working_directory=tmp_path)
    assert "`aiq init` writes one" in (caught.value.hint or "")


def test_who_explains_is_one_of_the_providers(tmp_path: Path) -> None:
    text = '[alerts]\nwebhook = "http://127.0.0.1/"\n[alerts.triage]\nprovider = "on"\n'
    (tmp_path / "aiq.toml").write_text(f'{text}[[providers]]\nname = "one"\npreset = "simulated"\n')
    with pytest.raises(ConfigError) as caught:
        load(environ={}, working_directory=tmp_path)
    assert caught.value.hint == "did you mean `one`?"
