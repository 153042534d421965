"""
What of aiohttp's failures means what to the caller; part of the door to aiohttp.

The most specific match counts. Messages are our own words: aiohttp's can quote a header, and so a
key.
"""

from __future__ import annotations

import os
import ssl
from typing import TypeAlias

import aiohttp  # noqa: TID251 - this is the door
import httpx

_Ours: TypeAlias = type[httpx.TransportError | httpx.InvalidURL]

MAPPING: tuple[tuple[type[Exception], _Ours, str], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout, "no connection to {host} in time"),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout, "no reply from {host} in time"),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError, "the proxy does not connect to {host}"),
    (aiohttp.ClientProxyConnectionError, httpx.ProxyError, "cannot connect to the proxy"),
    (aiohttp.ClientConnectorError, httpx.ConnectError, "cannot connect to {host}"),
    (aiohttp.ServerFingerprintMismatch, httpx.ConnectError, "wrong certificate of {host}"),
    (
        aiohttp.ServerConnectionError,
        httpx.RemoteProtocolError,
        "{host} closed the connection without a reply",
    ),
    (aiohttp.ClientConnectionResetError, httpx.WriteError, "the connection to {host} broke"),
    (aiohttp.ClientOSError, httpx.ReadError, "the connection to {host} broke"),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError, "the reply of {host} broke off"),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError, "{host} does not reply in HTTP"),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol, "the URL is not an http one"),
    (aiohttp.InvalidURL, httpx.InvalidURL, "the URL has no host"),
    (aiohttp.ClientError, httpx.NetworkError, "the connection to {host} failed"),
    (TimeoutError, httpx.ReadTimeout, "no reply from {host} in time"),
    (OSError, httpx.ReadError, "the connection to {host} broke"),
    # Raised before the first byte leaves; its text may quote a header.
    (ValueError, httpx.LocalProtocolError, "the URL or a header cannot be sent"),
)
"""Failures before the status line: aiohttp's, httpx's, our words. The first that matches counts."""

FAILURES = (aiohttp.ClientError, OSError, ValueError)


def translated(error: Exception, request: httpx.Request) -> httpx.TransportError | httpx.InvalidURL:
    """Return the httpx exception for a failure before the status line."""
    kind, words = next(
        (ours, words) for theirs, ours, words in MAPPING if isinstance(error, theirs)
    )
    message = words.format(host=request.url.netloc.decode("ascii"))
    if reason := _reason(error):
        message = f"{message}: {reason}"
    if issubclass(kind, httpx.InvalidURL):
        return kind(message)
    return kind(message, request=request)


def _reason(error: Exception) -> str:
    """Return what the failure itself adds, without quoting anything that was sent; may be empty."""
    match error:
        case aiohttp.ClientConnectorCertificateError():  # older ones have no `os_error`
            return _system_reason(error.certificate_error)
        case aiohttp.ClientConnectorError():
            # One that ends inside the TLS greeting, of too old a version say, comes without words.
            return _system_reason(error.os_error) or "the server broke the connection off"
        case aiohttp.ClientHttpProxyError():
            return f"HTTP {error.status}"
        case aiohttp.ClientResponseError():
            # The parser's own words stand before the colon, what it read after it.
            return error.message.partition(":")[0][:100]
        case OSError():
            return _system_reason(error)
    return ""


def _system_reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate refused, {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed, {(error.reason or 'unknown').lower().replace('_', ' ')}"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError(strerror=str(words)):
            return words
    return ""
