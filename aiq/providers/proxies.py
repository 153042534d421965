"""
Which proxy the environment wants for a URL: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

The transport never reads the environment itself, so what is in force can be shown beforehand. A
loopback server is never reached through a proxy, whatever NO_PROXY says.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in typeshed

from aiq.errors import ConfigError
from aiq.providers.addresses import is_this_machine


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """
    Return the proxy's URL, or None for a direct connection.

    Lower-case names win over upper-case ones, an empty value means no proxy, and a value without a
    scheme is taken as `http://`. NO_PROXY has the standard library's meaning: `*`, or host
    suffixes with an optional port.

    Raises ConfigError for a proxy that is not spoken to over http or https (SOCKS), or is no URL of
    a server; the message names the variable, not its value, which may hold a password.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_this_machine(host) or host.endswith(".localhost"):
        return None
    name, proxy = _variable(environ, f"{parts.scheme}_proxy", "all_proxy")
    if not proxy:
        return None
    _, excluded = _variable(environ, "no_proxy")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if excluded and proxy_bypass_environment(f"{host}:{port}", {"no": excluded}):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    fault = _fault(proxy)
    if fault is not None:
        raise ConfigError(
            f"`{name}` names a proxy that is {fault}",
            hint=f"unset `{name}`, give an http proxy, or add `{host}` to `NO_PROXY`",
        )
    return proxy


def _fault(proxy: str) -> str | None:
    try:
        parts = urlsplit(proxy)
        is_address = bool(parts.hostname) and parts.port != 0 and " " not in parts.netloc
    except ValueError:  # a port that is no number or too large, a bracket too many
        return "not the URL of a server"
    if parts.scheme.lower() not in ("http", "https"):
        return "neither http nor https"
    return None if is_address else "not the URL of a server"


def _variable(environ: Mapping[str, str], *names: str) -> tuple[str, str]:
    for lower in names:
        for name in (lower, lower.upper()):
            # A CGI server sets HTTP_PROXY from a client's `Proxy:` header (CVE-2016-1000110).
            if name == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
                continue
            if name in environ:
                return name, environ[name].strip()
    return names[-1], ""
