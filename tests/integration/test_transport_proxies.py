"""Which proxy the environment wants: its variables, its exceptions, its refusals."""

from __future__ import annotations

import pytest

from aiq.errors import ConfigError
from aiq.providers.proxies import proxy_for

API = "https://api.example.com/v1"
PROXY = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        (API, {}, None),
        (API, {"HTTPS_PROXY": PROXY}, PROXY),
        (API, {"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, PROXY),
        (API, {"HTTP_PROXY": PROXY}, None),
        (API, {"ALL_PROXY": PROXY}, PROXY),
        (API, {"HTTPS_PROXY": PROXY, "ALL_PROXY": "http://other"}, PROXY),
        (API, {"HTTPS_PROXY": "", "ALL_PROXY": PROXY}, None),
        (API, {"HTTPS_PROXY": " proxy.example.com:3128 "}, PROXY),
        (API, {"HTTPS_PROXY": "HTTPS://proxy.example.com"}, "HTTPS://proxy.example.com"),
        ("http://api.example.com", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://api.example.com", {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, None),
        ("http://api.example.com", {"HTTPS_PROXY": PROXY}, None),
        (API, {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None),
        (API, {"HTTPS_PROXY": PROXY, "NO_PROXY": "other.com, example.com"}, None),
        (API, {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com"}, None),
        (API, {"HTTPS_PROXY": PROXY, "no_proxy": "", "NO_PROXY": "example.com"}, PROXY),
        (API, {"HTTPS_PROXY": PROXY, "NO_PROXY": "ample.com"}, PROXY),
        (API, {"HTTPS_PROXY": PROXY, "NO_PROXY": "api.example.com:443"}, None),
        (API, {"HTTPS_PROXY": PROXY, "NO_PROXY": "api.example.com:8443"}, PROXY),
        ("http://localhost:8000/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://model.localhost:8000/v1", {"ALL_PROXY": PROXY}, None),
        ("http://127.0.0.53:8000/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://[::1]:8000/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://0.0.0.0:8000/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://[::]:8000/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://10.0.0.1:8000/v1", {"HTTP_PROXY": PROXY}, PROXY),
    ],
)
def test_proxy_for(url: str, environ: dict[str, str], expected: str | None) -> None:
    assert proxy_for(url, environ) == expected


def test_socks_is_refused() -> None:
    """The message names the variable and never the value, which may hold a password."""
    with pytest.raises(ConfigError) as caught:
        proxy_for(API, {"ALL_PROXY": "socks5://user:word@proxy.example.com"})
    assert str(caught.value) == "`ALL_PROXY` names a proxy that is neither http nor https"
    assert caught.value.hint is not None
    assert "word" not in caught.value.hint
    assert "api.example.com" in caught.value.hint


@pytest.mark.parametrize(
    "proxy", ["http://user:word@proxy:99999", "user:word@proxy:x", "http://", "http://a b:1"]
)
def test_a_proxy_that_is_no_address_is_refused(proxy: str) -> None:
    """Refused by its variable where it is read, and not at the first connection."""
    with pytest.raises(ConfigError) as caught:
        proxy_for(API, {"HTTPS_PROXY": proxy})
    assert str(caught.value) == "`HTTPS_PROXY` names a proxy that is not the URL of a server"
    assert "word" not in (caught.value.hint or "")
