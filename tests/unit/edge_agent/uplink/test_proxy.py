"""Which proxy of the environment is used, and what may be said of it."""

from __future__ import annotations

import pytest

from edge_agent.uplink.proxy import connect_request, proxy_for, without_password

VARIABLES = ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "socks_proxy", "all_proxy", "no_proxy")


def chosen(url: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> str | None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return proxy_for(url)


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://a.example", {}, None),
        ("https://a.example", {"https_proxy": "http://p:1", "http_proxy": "http://q:1"}, "http://p:1"),
        ("https://a.example", {"http_proxy": "http://q:1"}, None),
        ("http://a.example", {"http_proxy": "http://q:1"}, "http://q:1"),
        ("ws://a.example", {"http_proxy": "http://q:1", "https_proxy": "http://p:1"}, "http://p:1"),
        ("wss://a.example", {"wss_proxy": "http://w:1", "https_proxy": "http://p:1"}, "http://w:1"),
        ("https://a.example", {"https_proxy": "p:1"}, "http://p:1"),
        ("https://a.example", {"https_proxy": "http://p:1", "no_proxy": "a.example"}, None),
        ("https://a.example", {"https_proxy": "http://p:1", "no_proxy": "a.example:443"}, None),
        ("https://localhost:8080", {"https_proxy": "http://p:1"}, None),
        ("http://[::1]:8080", {"http_proxy": "http://p:1"}, None),
    ],
)
def test_the_environment_names_it(
    url: str, environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(url, monkeypatch, **environment) == proxy


def test_its_password_is_for_the_proxy_alone() -> None:
    assert without_password("http://me:pass@p.example:3128") == "http://p.example:3128"
    assert without_password("http://p.example:3128") == "http://p.example:3128"
    assert without_password(None) is None


def test_a_way_is_asked_for_as_rfc_9110_says() -> None:
    asked = connect_request("http://me:p%40ss@p.example:3128", "2001:db8::1", 443)
    assert asked == (
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n"
        b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n\r\n"
    )
    assert b"Authorization" not in connect_request("http://p.example", "a.example", 80)
