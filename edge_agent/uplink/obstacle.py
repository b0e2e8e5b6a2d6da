"""What stands between this agent and its server: which sentence of the table fits what was seen."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

from edge_agent.config.enrolling import enrol_command
from edge_agent.config.server_url import is_secure
from edge_agent.uplink.http_answer import HttpAnswer, in_short
from edge_agent.uplink.sentences import TABLE

REFUSALS: Final = frozenset({"refused", "wrong_agent", "duplicate", "dongle_conflict"})
"""Only a person can help against these: trying again soon cannot."""

_BY_STATUS: Final = {400: "not_a_stream_server", 404: "not_a_stream_server", 405: "not_a_stream_server",
                     410: "not_a_stream_server",
                     407: "proxy_between",
    426: "no_upgrade", 429: "busy", 500: "not_a_stream_server",
                     502: "gateway", 503: "gateway", 504: "gateway"}  # fmt: skip
_BY_PROXY_STATUS: Final = {407: "proxy_login", 502: "proxy_cannot", 503: "proxy_cannot", 504: "proxy_cannot"}
_BY_OWN_CODE: Final = {"UNAUTHENTICATED": "refused", "FORBIDDEN": "refused", "UPGRADE_REQUIRED": "no_upgrade",
                       "AGENT_MISMATCH": "wrong_agent", "DUPLICATE_IDENTITY": "duplicate",
                       "DONGLE_CONFLICT": "dongle_conflict"}  # fmt: skip
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTAL: Final = frozenset({511})
_MOVED: Final = frozenset({301, 308})
# What nginx, Apache, Go and others say to clear text on a port with TLS.
_WANTS_TLS: Final = (b"https port", b"https server", b"ssl-enabled", b"requires tls", b"tls required")
# X509_verify_cert_error_string(3).
_BY_VERIFY_CODE: Final = {9: "tls_not_yet", 10: "tls_expired", 62: "tls_name", 64: "tls_name",
                          2: "tls_unknown", 18: "tls_unknown", 19: "tls_unknown", 20: "tls_unknown",
                          21: "tls_unknown"}  # fmt: skip
_ID: Final = "'([a-z0-9][a-z0-9._-]{0,63})'"
_NOT_THE_OWNER: Final = re.compile(rf"{_ID} is not the owner of this token(?:, which is that of {_ID})?")


# A command that has no configuration file says the same by its options.
_OPTIONS: Final = {
    "`server.url`": "--server",
    "`server.ca_file`": "--ca-file",
    '`url = "': '`--server "',
    " below [server]": "",
    '`id = "': '`--agent-id "',
    "`id`, to what": "`--agent-id` to what",
    ", below [agent]": "",
    " below [agent]": "",
}


def in_options(sentence: str) -> str:
    """What is said of keys of the file, said of the options of `enroll` and `replay`."""
    for key, option in _OPTIONS.items():
        sentence = sentence.replace(key, option)
    return sentence


class Obstacle(Struct, frozen=True):
    """`fault` names it for programs, `reason` is what is so, and `remedy` what to do about it."""

    fault: str
    reason: str
    remedy: str

    @property
    def text(self) -> str:
        """The sentence."""
        return f"{self.reason}: {self.remedy}" if self.remedy else self.reason


class Way(Struct, frozen=True):
    """Where it was to go: to the server at `url`, by `proxy` (without its password) where one is used.

    `token_file` is where the token belongs, "" for where `enroll` puts it anyway, and `agent_id` whose it has
    to be, "" where `enroll` finds that beside it.
    """

    url: str
    proxy: str | None = None
    token_file: str = ""
    agent_id: str = ""

    @property
    def host(self) -> str:
        """The server's name."""
        return urlsplit(self.url).hostname or self.url

    @property
    def is_secure(self) -> bool:
        """Whether there is to be TLS."""
        return is_secure(self.url)


def obstacle(way: Way, name: str, what: str, *, where: str = "", remedy: str = "") -> Obstacle:
    """The sentence of this name, with `what` was seen."""
    fault, reason, todo = TABLE[name]
    fields = {"url": way.url, "host": way.host, "proxy": way.proxy or "", "what": in_short(what)}
    fields["enrol"] = enrol_command(way.url, agent_id=way.agent_id, token_file=way.token_file)
    fields["enrol_as_id"] = enrol_command(way.url, agent_id="ID", token_file=way.token_file)
    return Obstacle(
        fault, reason.format(**fields), todo.format(**fields, where=in_short(where), remedy=in_short(remedy))
    )


def by_answer(way: Way, answer: HttpAnswer) -> Obstacle:
    """It answered over HTTP with something else than a WebSocket."""
    own, status = answer.own_words, answer.status
    if own is not None:
        name = _BY_OWN_CODE.get(own.code) or _own_name(status)
        return obstacle(way, name, f"HTTP {status}, {own.code}: {own.message}")
    version = "" if answer.version == "1.1" else f"/{answer.version}"
    what = f"HTTP{version} {status}"
    if status in _REDIRECTS and answer.location:
        return _by_redirect(way, answer, what)
    if status == 400 and any(words in answer.body.lower() for words in _WANTS_TLS):
        return obstacle(way, "tls_port", what)
    if "html" in answer.content_type and status in (200, 401, 403, 511):
        what += " with a web page"
    name = _BY_STATUS.get(status, "portal" if status in _PORTAL or status < 400 else "firewall")
    is_old = version and status < 300 and "html" not in answer.content_type
    return obstacle(way, "old_http" if is_old else name, what)


def by_proxy_answer(way: Way, status: int) -> Obstacle:
    """The proxy of the environment answered something else than that the way is open."""
    return obstacle(way, _BY_PROXY_STATUS.get(status, "proxy_refuses"), f"HTTP {status}")


def by_certificate(way: Way, verify_code: int, message: str, today: str) -> Obstacle:
    """The server's certificate is not taken; `today` is what this machine's clock says."""
    name = _BY_VERIFY_CODE.get(verify_code, "tls")
    return obstacle(way, name, today if name in ("tls_not_yet", "tls_expired") else message.rstrip("."))


def by_server_error(way: Way, code: str, message: str) -> Obstacle | None:
    """Our server said over the connection what it does not like; None where that is nothing of the table."""
    owner = _NOT_THE_OWNER.search(message)
    name = "wrong_agent" if owner else _BY_OWN_CODE.get(code)  # servers up to 0.1.0 say PROTOCOL_ERROR
    if name is None:
        return None
    remedy = ""
    if owner is not None:
        own_id = f'`id = "{owner[2]}"`' if owner[2] else "`id`, to what it was enrolled as,"
        again = enrol_command(way.url, agent_id=owner[1], token_file=way.token_file)
        remedy = f"set {own_id} below [agent], or run {again}"
    return obstacle(way, name, f"{code}: {message}", remedy=remedy)


def _own_name(status: int) -> str:
    if status == 429:
        return "busy"
    return "server_error" if status >= 500 else "not_a_stream_server"


def _by_redirect(way: Way, answer: HttpAnswer, what: str) -> Obstacle:
    try:
        target = urlsplit(urljoin(way.url, answer.location))
        host, port = target.hostname or "", target.port
    except ValueError:
        return obstacle(way, "portal", f"{what} to {answer.location}")
    name = f"[{host}]" if ":" in host else host
    place = f"{target.scheme}://{name}" + (f":{port}" if port else "")
    what = f"{what} to {place}"
    own = urlsplit(way.url)
    if target.scheme in ("https", "wss") and own.scheme in ("http", "ws") and host == own.hostname:
        return obstacle(
            way, "write_https", what, where=f"https{place[len(target.scheme) :]}{own.path}".rstrip("/")
        )
    return obstacle(way, "redirected" if answer.status in _MOVED else "portal", what)
