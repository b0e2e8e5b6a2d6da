"""Registration of this agent with a stream server: an enrolment token in, the agent's own token out."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import msgspec

from can_stream.protocol.identity import is_identifier
from can_stream.protocol.registration import RegisterRequest, RegisterResponse
from edge_agent.config.server_url import http_url, is_loopback, is_secure, url_problem
from edge_agent.errors import EnrollError

REGISTER_PATH: Final = "/api/v1/agents/register"
MAX_RESPONSE_BYTES: Final = 64 * 1024
_SHOWN_CHARACTERS: Final = 300


class _ErrorBody(msgspec.Struct):
    """The server's JSON error (SPEC 3)."""

    code: str
    message: str = ""


_REMEDIES: Final = {
    "AGENT_EXISTS": "choose another id with --agent-id, or ask for an enrolment token that names this agent "
    "(`stream-server enroll create --agent-id ID`); the token then replaces the old registration",
    401: "ask for a new enrolment token (`stream-server enroll create`) and use it before it expires",
    403: "ask for a new enrolment token (`stream-server enroll create`) that allows this agent id",
    404: "check the URL: a stream server answers there at " + REGISTER_PATH,
    429: "wait a minute and try again",
}


def clear_text_warning(server_url: str) -> str | None:
    """What to warn of before a token is sent to `server_url`; None where nobody can read it."""
    if is_secure(server_url) or is_loopback(server_url):
        return None
    return f"{server_url} is not encrypted: everyone on the way can read the token. Use https://"


def register(
    server_url: str,
    enrolment_token: str,
    agent_id: str,
    *,
    ca_file: Path | None = None,
    timeout_seconds: float = 20.0,
    version: str = "",
) -> RegisterResponse:
    """Registers `agent_id` at `server_url` and returns the token to store. Raises EnrollError."""
    problem = url_problem(server_url)
    if problem is not None:
        raise EnrollError("BAD_URL", f"the server's URL {problem}", "check --server")
    if not is_identifier(agent_id):
        raise EnrollError("BAD_AGENT_ID", "the agent id is not valid", "use 1 to 64 of a-z 0-9 . _ -")
    request = urllib.request.Request(  # noqa: S310 - url_problem lets only http and https through
        http_url(server_url, REGISTER_PATH),
        data=msgspec.json.encode(RegisterRequest(enrolment_token, agent_id, version)),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
        method="POST",
    )
    try:
        return _response_of(_exchange(request, server_url, ca_file, timeout_seconds), server_url)
    except EnrollError as error:
        # A server may repeat what it was sent.
        raise EnrollError(
            error.code, error.reason.replace(enrolment_token, "[token]"), error.remedy
        ) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer, not an order: the enrolment token goes only where it was meant to go."""

    def redirect_request(self, *_: object) -> None:
        return None


def http_opener(server_url: str, ca_file: Path | None) -> urllib.request.OpenerDirector:
    """For requests with a token to `server_url`: verifies TLS, follows nobody. Raises EnrollError."""
    tls = urllib.request.HTTPSHandler(context=_tls_context(ca_file))
    # A proxy of the environment is for the network; this machine itself is reached directly.
    proxies = urllib.request.ProxyHandler({} if is_loopback(server_url) else None)
    return urllib.request.build_opener(tls, proxies, _NoRedirect)


def _exchange(
    request: urllib.request.Request, server_url: str, ca_file: Path | None, timeout_seconds: float
) -> bytes:
    try:
        with http_opener(server_url, ca_file).open(request, timeout=timeout_seconds) as response:
            return _capped(response, server_url)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, server_url) from None
    except urllib.error.URLError as error:
        raise _unreachable(error.reason, server_url, timeout_seconds) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unreachable(error, server_url, timeout_seconds) from None


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ValueError) as error:
        raise EnrollError(
            "BAD_CA_FILE", f"{ca_file} cannot be used: {error}", "name a PEM file with the server's CA"
        ) from None


def _capped(response: http.client.HTTPResponse | urllib.error.HTTPError, server_url: str) -> bytes:
    body = response.read(MAX_RESPONSE_BYTES + 1)
    if len(body) > MAX_RESPONSE_BYTES:
        raise _no_stream_server(server_url, f"it answered with more than {MAX_RESPONSE_BYTES} bytes")
    return body


def _response_of(body: bytes, server_url: str) -> RegisterResponse:
    try:
        return msgspec.json.decode(body, type=RegisterResponse)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise _no_stream_server(server_url, "its answer is not a registration") from None


def _refusal(error: urllib.error.HTTPError, server_url: str) -> EnrollError:
    if 300 <= error.code < 400:
        where = _shown(error.headers.get("Location", "another address"))
        return EnrollError("REDIRECTED", f"{server_url} redirects to {where}", "use that address as --server")
    try:
        answer = msgspec.json.decode(_capped(error, server_url), type=_ErrorBody)
    except (msgspec.DecodeError, UnicodeError, RecursionError, OSError, http.client.HTTPException):
        return _no_stream_server(server_url, f"it answered with status {error.code}")
    except EnrollError as too_large:
        return too_large
    remedy = _REMEDIES.get(answer.code) or _REMEDIES.get(error.code) or "see the server's log"
    return EnrollError(_shown(answer.code), _shown(answer.message or f"status {error.code}"), remedy)


def _unreachable(cause: object, server_url: str, timeout_seconds: float) -> EnrollError:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return EnrollError(
            "TLS",
            f"the certificate of {server_url} is not trusted: {cause.verify_message}",
            "give the CA with ca_file, and check this machine's clock",
        )
    if isinstance(cause, ssl.SSLError):
        reason = cause.reason or "no TLS there"
        return EnrollError("TLS", f"no TLS with {server_url}: {reason}", "is it http:// instead of https://?")
    if isinstance(cause, TimeoutError):
        reason = f"no answer within {timeout_seconds:g} s"
    else:
        reason = _shown(getattr(cause, "strerror", None) or type(cause).__name__)
    return EnrollError(
        "UNREACHABLE",
        f"{server_url} cannot be reached: {reason}",
        "check the URL, the network and the server",
    )


def _no_stream_server(server_url: str, reason: str) -> EnrollError:
    remedy = str(_REMEDIES[404])
    return EnrollError("NOT_A_STREAM_SERVER", f"{server_url} is no stream server: {reason}", remedy)


def _shown(text: str) -> str:
    """Text of the other side, made safe for a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text[:_SHOWN_CHARACTERS])
