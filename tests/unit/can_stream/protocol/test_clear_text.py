"""What is sent to another machine without TLS can be read on the way; what stays on this one cannot."""

from __future__ import annotations

import pytest

from can_stream.protocol.clear_text import is_clear_text


@pytest.mark.parametrize(
    ("url", "readable"),
    [
        ("http://stream.example.com", True),
        ("ws://10.0.0.7:8080/base", True),
        ("http://[2001:db8::1]:80", True),
        ("http://localhost.example.com", True),
        ("http://0.0.0.0:8080", True),
        ("https://stream.example.com", False),
        ("wss://10.0.0.7", False),
        ("http://127.0.0.1:8080", False),
        ("http://127.255.0.9", False),
        ("http://[::1]", False),
        ("http://LOCALHOST:1", False),
    ],
)
def test_who_can_read_it(url: str, readable: bool) -> None:
    assert is_clear_text(url) is readable
