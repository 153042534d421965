"""
Chats, mail and the rest, through apprise (the extra `alerts`).

apprise is synchronous and its channels are many. Each delivery runs on a thread that nobody waits
for at the end of the program; what still hangs after its time counts as not delivered, and its
channel is left alone until it comes back. apprise reads no configuration of its own here, follows
no redirects, loads no pictures and writes no log, because its log can quote tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import re
import socket
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from aiq.errors import ConfigError
from aiq.policy.alert import AlertLevel
from aiq.providers.addresses import is_forbidden
from aiq.redaction import Secret
from aiq.run.alerts.channel import Undelivered
from aiq.run.alerts.notice import Notice

TIMEOUT_S = 30.0
"""For all that apprise does with one notice; its own limit is 4 s for each step on a socket."""

PACE_S = 1.0
"""Between two requests of one channel; apprise's own 5.5 s would outlast the end of a run."""

INSTALL = "pip install 'apprise>=2.3'"
"""The extra `alerts` is nothing else."""

_MARKDOWN = frozenset(
    {"discord", "guilded", "mmost", "mmosts", "revolt", "rocket", "rockets", "zulip"}
)
"""Channels that take plain text for Markdown."""
_MARKUP = re.compile(r"([\\`*_~|\[\]()#-])")


def has_library() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("apprise") is not None


def open_chats(urls: Sequence[Secret]) -> list[Chat]:
    """
    Return a channel a URL; nothing is connected to yet.

    Raises:
        ConfigError: the extra is not installed, or apprise does not take a URL.
    """
    if not urls:
        return []
    if not has_library():
        raise ConfigError(
            f"{urls[0].name}: alerts by URL need the extra `alerts`", hint=f"install it: {INSTALL}"
        )
    return [_open(url) for url in urls]


def _open(url: Secret) -> Chat:
    import apprise  # noqa: PLC0415 - of an extra, and it takes its time

    for name in ("apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    asset = apprise.AppriseAsset(
        app_id="aiq",
        app_desc="aiq",
        app_url="",
        http_redirects=False,
        image_url_mask="",
        image_url_logo="",
        interpret_escapes=False,
        storage_mode=apprise.PersistentStoreMode.MEMORY.value,
    )
    with warnings.catch_warnings():  # the first loads all of its plugins, some of them aged
        warnings.simplefilter("ignore")
        plugin = apprise.Apprise.instantiate(url.reveal(), asset=asset)
    scheme = url.reveal().partition("://")[0].lower()
    if plugin is None:
        raise ConfigError(
            f"{url.name}: apprise does not take it",
            hint="its documentation has the form of each service's URL",
        )
    if is_forbidden(str(plugin.host or "")):
        raise ConfigError(f"{url.name}: leads to a link-local or metadata address")
    plugin.redirects = False  # a URL may ask for them
    plugin.request_rate_per_sec = min(plugin.request_rate_per_sec, PACE_S)
    return Chat(plugin, scheme)


class Chat:
    """One channel of apprise's."""

    def __init__(self, plugin: Any, scheme: str) -> None:
        self._plugin = plugin
        self._scheme = scheme
        self._is_busy = False
        self._names_server = _names_server(plugin)
        # Which of several recipients one URL has was reached is not known: none is told twice.
        self._has_several = len(plugin) > 1
        self.name = str(plugin.service_name)

    async def send(self, notice: Notice) -> None:
        """Hand the notice over, and believe what apprise says of it."""
        if self._is_busy:
            raise Undelivered("its last delivery still hangs")
        self._is_busy = True
        try:
            async with asyncio.timeout(TIMEOUT_S):
                is_taken = await _aside(lambda: self._notify(notice), self._finished)
        except TimeoutError:
            raise Undelivered(f"no end within {TIMEOUT_S:g} s") from None
        if not is_taken:
            raise Undelivered("it was not taken", is_final=self._has_several)

    async def close(self) -> None:
        """Nothing is kept open."""

    def _finished(self) -> None:
        self._is_busy = False

    def _notify(self, notice: Notice) -> bool:
        import apprise  # noqa: PLC0415 - see above

        if self._names_server and _leads_astray(str(self._plugin.host)):
            return False
        return bool(
            self._plugin.notify(
                title=self._escaped(notice.title),
                body=self._escaped(notice.text),
                notify_type=apprise.NotifyType(_type_of(notice)),
                body_format=apprise.NotifyFormat.TEXT,
                overflow=apprise.OverflowMode.TRUNCATE,
            )
        )

    def _escaped(self, text: str) -> str:
        return _MARKUP.sub(r"\\\1", text) if self._scheme in _MARKDOWN else text


def _type_of(notice: Notice) -> str:
    if notice.is_recovery:
        return "success"
    return {AlertLevel.INFO: "info", AlertLevel.WARNING: "warning"}.get(notice.level, "failure")


def _names_server(plugin: Any) -> bool:
    """
    Whether the host of a URL is one, and not a token in its place, which no resolver may see.

    Of services that have both, only a name with a dot or an address is taken for a server.
    """
    host = str(plugin.host or "")
    is_kept_by_users = any("{host}" in str(template) for template in plugin.templates)
    return is_kept_by_users and ("." in host or ":" in host)


def _leads_astray(host: str) -> bool:
    """Look a name up on the thread of its delivery; one that is unknown leads nowhere."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(is_forbidden(str(address[4][0])) for address in found)


async def _aside(work: Callable[[], bool], finished: Callable[[], None]) -> bool:
    """Do work on a thread of its own; one that hangs is left behind, also by the interpreter."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bool] = loop.create_future()

    def settle(found: bool) -> None:
        finished()
        if not answer.done():
            answer.set_result(found)

    def do() -> None:
        try:
            found = work()
        except Exception:  # noqa: BLE001 - a hundred plugins may fail in any way
            found = False
        with contextlib.suppress(RuntimeError):  # the loop ended before it did
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=do, name="alert", daemon=True).start()
    return await answer
