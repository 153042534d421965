"""
What a base URL may look like, and whether it stays on this machine.

Messages never repeat the URL: people paste keys into it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiq.providers.addresses import is_this_machine


class BaseURLError(ValueError):
    """The text is no base URL; the message says why without repeating it, `hint` what to write."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def normalize(text: str) -> str:
    """
    Return the URL without a slash at its end.

    Raises:
        BaseURLError: it has no http(s) scheme, no host, or parts that do not belong there.
    """
    if not text.isprintable() or " " in text:
        raise BaseURLError("has a space or a control character in it")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BaseURLError("is not a URL") from None
    if parts.scheme not in {"http", "https"}:
        raise BaseURLError(
            "must start with https:// or http://", "for example https://api.openai.com/v1"
        )
    if not parts.hostname or port == 0:
        raise BaseURLError("names no host", "for example https://api.openai.com/v1")
    if "@" in parts.netloc:
        raise BaseURLError("must not hold a user name or password", "use `api_key_env`")
    if "?" in text or "#" in text:
        raise BaseURLError("must end before any ? or #", "keys go into `api_key_env`")
    if parts.path.rstrip("/").endswith(("/completions", "/embeddings", "/responses", "/messages")):
        raise BaseURLError(
            "must not name an endpoint", "end it before that, as in http://host:8000/v1"
        )
    return text.rstrip("/")


def is_loopback(url: str) -> bool:
    """Tell whether a normalized URL points at this machine."""
    return is_this_machine(urlsplit(url).hostname or "")


def is_plain(url: str) -> bool:
    """Tell whether a normalized URL is unencrypted."""
    return urlsplit(url).scheme == "http"
