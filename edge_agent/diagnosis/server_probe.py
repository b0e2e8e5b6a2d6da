"""Whether the server can be reached and takes the agent's token, without a trace in its registry."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from edge_agent.config.server_url import http_url, is_loopback
from edge_agent.diagnosis.diagnosis import Fact
from edge_agent.errors import EnrollError
from edge_agent.uplink.enroll import http_opener

TIMEOUT_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024
_ABOUT: Final = "server"
_NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
# X509_verify_cert_error_string(3): not yet valid, expired.
_OUT_OF_TIME: Final = frozenset({9, 10})
_ROUTES: Final = (Path("/proc/net/route"), Path("/proc/net/ipv6_route"))


def server_fact(url: str, ca_file: Path | None, token: str | None) -> Fact | None:
    """What is in the way; None where the server answers, and takes `token` where there is one."""
    try:
        opener = http_opener(url, ca_file)
    except EnrollError as error:
        return Fact("bad_ca_file", _ABOUT, str(error))
    try:
        with opener.open(http_url(url, "/healthz"), timeout=TIMEOUT_SECONDS) as answer:
            answer.read(MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            return _other_server(url, error.code)
    except urllib.error.URLError as error:
        return _unreachable(error.reason, url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _unreachable(error, url)
    return None if token is None else _token_fact(opener, url, token)


def _token_fact(opener: urllib.request.OpenerDirector, url: str, token: str) -> Fact | None:
    """An empty heartbeat: it is refused for its content, and before that for its token where that is void."""
    request = urllib.request.Request(  # noqa: S310 - the configuration lets only http and https through
        http_url(url, "/api/v1/agents/heartbeat"),
        data=b"{}",
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        with error:
            status = error.code
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _unreachable(getattr(error, "reason", error), url)
    if status in (401, 403):
        remedy = "enrol it again with `edge-agent enroll`"
        return Fact("refused", _ABOUT, f"{url} refuses this agent's token (HTTP {status}): {remedy}")
    return None if status in (400, 429) else _other_server(url, status)


def _other_server(url: str, status: int) -> Fact:
    remedy = "check `server.url`, and the proxy in front of the server"
    return Fact("not_a_stream_server", _ABOUT, f"{url} answers with HTTP status {status}: {remedy}")


def _unreachable(cause: object, url: str) -> Fact:
    number = getattr(cause, "errno", None)
    if not is_loopback(url) and (number in _NO_ROUTE or not _has_default_route()):
        remedy = "check the cable, the modem or the Wi-Fi (`ip route`)"
        return Fact("no_network", _ABOUT, f"this machine has no way to the network: {remedy}")
    if isinstance(cause, socket.gaierror):
        remedy = "check `server.url` and the name server (`resolvectl status`)"
        return Fact("name_not_resolved", _ABOUT, f"the name in {url} is not known: {remedy}")
    if isinstance(cause, ssl.SSLCertVerificationError):
        fault = "tls_time" if cause.verify_code in _OUT_OF_TIME else "tls"
        text = f"the certificate of {url} is not trusted ({cause.verify_message})"
        return Fact(fault, _ABOUT, f"{text}: set `server.ca_file` to its CA, and check this machine's clock")
    if isinstance(cause, ssl.SSLError):
        return Fact("tls", _ABOUT, f"no TLS with {url}: is it http:// instead of https://?")
    if isinstance(cause, TimeoutError):
        remedy = "check firewalls on the way, and whether the server runs"
        return Fact("unreachable", _ABOUT, f"{url} does not answer within {TIMEOUT_SECONDS:g} s: {remedy}")
    reason = getattr(cause, "strerror", None) or type(cause).__name__
    remedy = "check the port in `server.url`, and whether the server runs"
    return Fact("unreachable", _ABOUT, f"{url} cannot be reached ({reason}): {remedy}")


def _has_default_route() -> bool:
    """proc_net(5): a route to anywhere that is up; True where that cannot be known."""
    found = False
    for path in _ROUTES:
        try:
            lines = path.read_text("ascii").splitlines()
        except (OSError, ValueError):
            continue
        fields = [line.split() for line in lines]
        if path.name == "route":
            found |= any(len(one) > 7 and one[1] == "00000000" and one[7] == "00000000" for one in fields)
        else:
            found |= any(
                len(one) > 9 and one[1] == "00" and one[9] != "lo" and int(one[0], 16) == 0 for one in fields
            )
    return found
