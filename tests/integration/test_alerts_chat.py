"""LINE, Discord, Slack and a webhook, as recorded where apprise hands them to its HTTP library."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from aiq.errors import ConfigError
from aiq.policy.alert import Alert
from aiq.policy.alerting import Alerting
from aiq.redaction import Redactor, Secret
from aiq.run.alerts import chat
from aiq.run.alerts.channel import Undelivered
from aiq.run.alerts.chat import Chat, open_chats
from aiq.run.alerts.notice import Notice, compose
from tests.support.alerts import INFO, WARNING, alert, recovery

requests = pytest.importorskip("requests", reason="comes with the extra `alerts`")

KEY = "sk-test-4711-0815-abcdef"
NASTY = f"@everyone <!channel> <@U1> **bold** [here](http://x.example) `c` \x1b[2J\u202e {KEY}"
LINE = "line://LINE-TOKEN-0123456789=/U0123456789"
DISCORD = "discord://123456789012345678/DISCORD-TOKEN-0123456789"
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What apprise's loggers are set to stays in this module."""
    loggers = [logging.getLogger(name) for name in ("apprise", "urllib3")]
    before = [one.level for one in loggers]
    yield
    for one, level in zip(loggers, before, strict=True):
        one.setLevel(level)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What reaches the library, each with how it was to be sent; nothing leaves the machine."""
    kept: list[Any] = []

    def send(_: Any, request: Any, **how: Any) -> Any:
        kept.append((request, how))
        response = requests.Response()
        response.status_code = 200
        response._content = b"ok"
        response.request, response.url = request, request.url
        return response

    monkeypatch.setattr(requests.Session, "send", send)
    return kept


def opened(url: str) -> Chat:
    [one] = open_chats([Secret("AIQ_ALERT_URLS (URL 1)", url)])
    return one


def notice(*alerts: Alert) -> Notice:
    policy = Alerting()
    for one in alerts or (alert(detail=NASTY),):
        policy.add(one, 0)
    message = policy.take(0)
    assert message is not None
    return compose(message, redactor=Redactor([Secret("K", KEY)]), sent_at_us=0)


def payload(sent: list[Any]) -> tuple[Any, Any]:
    [(request, how)] = sent
    assert how["allow_redirects"] is False
    assert KEY not in str(request.body)
    return request, json.loads(request.body)


async def test_line_gets_plain_text(sent: list[Any]) -> None:
    await opened(LINE).send(notice())
    request, body = payload(sent)
    assert request.url == "https://api.line.me/v2/bot/message/push"
    assert request.headers["Authorization"] == "Bearer LINE-TOKEN-0123456789="
    assert body == {
        "to": "U0123456789",
        "messages": [
            {
                "type": "text",
                "text": "aiq [CRITICAL] a: down\r\n"
                "\uff20everyone \u2039!channel\u203a \u2039\uff20U1\u203a **bold** [here] "
                "(http://x.example) `c` \\x1b[2J\\u202e [redacted]",
                "sender": {"name": "aiq"},
            }
        ],
    }


async def test_discord_gets_no_mention_and_no_markup(sent: list[Any]) -> None:
    await opened(DISCORD).send(notice())
    request, body = payload(sent)
    assert request.url.startswith("https://discord.com/api/webhooks/123456789012345678/DISCORD-")
    assert set(body) <= {"content", "tts", "wait"}
    assert "**bold**" not in body["content"]
    assert "\\*\\*bold\\*\\*" in body["content"]
    assert "\\[here\\] \\(http" in body["content"]
    assert "@everyone" not in body["content"]
    assert "<@" not in body["content"]
    assert body["content"].startswith("aiq \\[CRITICAL\\] a: down\r\n\uff20everyone")


async def test_slack_gets_no_mention(sent: list[Any]) -> None:
    await opened(SLACK).send(notice())
    request, body = payload(sent)
    assert request.url == (
        "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    )
    assert body["mrkdwn"] is False
    [attachment] = body["attachments"]
    assert attachment["title"] == "aiq [CRITICAL] a: down"
    assert "<!channel" not in request.body
    assert "<@" not in request.body
    assert attachment["text"].startswith("\uff20everyone \u2039!channel\u203a")


@pytest.mark.parametrize(
    ("alerts", "kind"),
    [
        ((alert(),), "failure"),
        ((alert(), recovery()), "failure"),
        ((alert(level=WARNING),), "warning"),
        ((alert(level=INFO),), "info"),
    ],
)
async def test_a_webhook_of_apprises(sent: list[Any], alerts: tuple[Alert, ...], kind: str) -> None:
    await opened("json://127.0.0.1:9/hook").send(notice(*alerts))
    request, body = payload(sent)
    assert request.url == "http://127.0.0.1:9/hook"
    assert (body["type"], body["attachments"]) == (kind, [])


async def test_a_recovery_looks_like_one(sent: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    policy = Alerting()
    policy.add(alert(), 0)
    policy.take(0)
    policy.add(recovery(), 0)
    message = policy.take(0)
    assert message is not None
    await opened("json://nowhere.invalid/").send(
        compose(message, redactor=Redactor(), sent_at_us=0)
    )
    _, body = payload(sent)
    assert (body["type"], body["title"]) == ("success", "aiq [RECOVERED] a: down")


async def test_a_plugin_that_breaks_is_one_that_does_not_deliver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One with several recipients is not tried again: who of them was reached is not known."""

    def break_it(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    several = "line://LINE-TOKEN-0123456789=/U1/U2"
    for url, is_final in ((LINE, False), (several, True)):
        one = opened(url)
        monkeypatch.setattr(one._plugin, "notify", break_it)
        with pytest.raises(Undelivered) as caught:
            await one.send(notice())
        assert caught.value.is_final == is_final


async def test_a_url_cannot_ask_for_redirects(sent: list[Any]) -> None:
    await opened("json://127.0.0.1:9/hook?redirect=yes").send(notice())
    payload(sent)


async def test_a_storm_fits_into_one_message_of_discord(sent: list[Any]) -> None:
    many = [alert(f"title {n}", detail="word " * 100) for n in range(100)]
    await opened(DISCORD).send(notice(*many))
    _, body = payload(sent)
    assert len(body["content"]) <= 2000


async def test_what_is_not_taken_is_undelivered(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a word on stderr: apprise's log would quote tokens."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise requests.ConnectionError("for https://discord.com/api/webhooks/1/DISCORD-TOKEN")

    monkeypatch.setattr(requests.Session, "send", refuse)
    with pytest.raises(Undelivered, match=r"^it was not taken$"):
        await opened(DISCORD).send(notice())
    assert sent == []
    assert capfd.readouterr() == ("", "")


async def test_a_channel_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """And left alone until it is back; its thread does not hold up the end of the program."""
    release, hangs = threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> bool:
        hangs.set()
        return release.wait(20)

    one = opened(DISCORD)
    monkeypatch.setattr(one._plugin, "notify", hang)
    monkeypatch.setattr(chat, "TIMEOUT_S", 0.01)
    with pytest.raises(Undelivered, match="no end within"):
        await one.send(notice())
    assert hangs.wait(20)
    with pytest.raises(Undelivered, match="still hangs"):
        await one.send(notice())
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "alert")
    release.set()


@pytest.mark.parametrize(
    "url",
    [
        "json://169.254.169.254/x",
        "jsons://metadata.example/x",
        "gotify://metadata.example/TOKEN-0123456789",
        "mmosts://metadata.example/TOKEN0123456789",
    ],
)
async def test_no_alert_goes_to_a_metadata_address(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    def resolve(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises((ConfigError, Undelivered)):
        await opened(url).send(notice())
    assert sent == []


@pytest.mark.parametrize("url", [LINE, DISCORD, SLACK, "ntfy://a-topic-that-is-a-secret"])
async def test_a_token_is_not_looked_up_as_a_name(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    asked: list[object] = []

    def resolve(*what: object, **_: object) -> list[Any]:
        asked.append(what)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    await opened(url).send(notice())
    assert (asked, len(sent)) == ([], 1)


def test_a_url_that_nobody_knows_is_refused_by_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        opened("dicsord://1/DISCORD-TOKEN-0123456789")
    assert str(caught.value) == "AIQ_ALERT_URLS (URL 1): apprise does not take it"


def test_without_the_extra_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError) as caught:
        opened(DISCORD)
    assert caught.value.hint == "install it: pip install 'apprise>=2.3'"
    assert open_chats([]) == []
