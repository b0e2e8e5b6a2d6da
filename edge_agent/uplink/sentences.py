"""What is said of each obstacle between an agent and its server, and what to do about it: one table for all.

Status, log, `doctor` and `enroll` take their words from here.
"""

from __future__ import annotations

from typing import Final

_SIGN_IN: Final = (
    "it is a captive portal or a proxy: sign in to this network with a browser, or use another one"
)
_LET_THROUGH: Final = (
    "it is a firewall, proxy or portal, not the token: have it let WebSockets through to {host}"
)
_CHECK_PROXY: Final = "check the proxy in the agent's environment (HTTPS_PROXY), or name {host} in NO_PROXY"
_INTERCEPTED: Final = "a proxy, firewall or portal on the way may answer in its place"

# Name of the sentence: the fault that it is for programs, what is so, and what to do about it.
TABLE: Final = {
    # our server, in its own words
    "refused": (
        "refused", "{url} refuses this agent's token ({what})",
        "enrol it again with {enrol}",
    ),
    "wrong_agent": ("wrong_agent", "the token is that of another agent ({what})", "{remedy}"),
    "duplicate": (
        "duplicate", "two machines use this agent's id and token ({what})",
        "give each its own: {enrol_as_id}, with another ID on one of them",
    ),
    "dongle_conflict": ("dongle_conflict", "the server says {what}", "give the dongle another `id`"),
    "busy": ("rate_limited", "{url} has been asked too often from here ({what})", "wait: it is tried again"),
    "server_error": ("server_error", "{url} is there, but cannot serve now ({what})", "see the server's log"),
    # something else, over HTTP
    "portal": ("portal", "something else answers in place of {url} ({what})", _SIGN_IN),
    "firewall": ("firewall", "something refuses in place of {url} ({what})", _LET_THROUGH),
    "proxy_between": (
        "proxy", "a proxy on the way to {url} wants a name and a password ({what})",
        "name it in the agent's environment (HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT), or have it let "
        "this machine through",
    ),
    "write_https": (
        "redirected", "{url} sends to https ({what})", "write `url = \"{where}\"` below [server]",
    ),
    "redirected": (
        "redirected", "{url} has moved ({what})",
        "write that address as `server.url` if it is your server's; else " + _INTERCEPTED,
    ),
    "no_upgrade": (
        "no_upgrade", "{url} is reached without its Upgrade header ({what})",
        "have the proxy in front of the server pass WebSockets on, see \"Behind a reverse proxy\" in "
        "docs/operations.md; a proxy on this side may drop it too",
    ),
    "gateway": (
        "gateway", "the proxy in front of {url} gets no answer from the server ({what})",
        "check whether the stream server runs",
    ),
    "not_a_stream_server": (
        "not_a_stream_server", "{url} is no stream server ({what})",
        "check `server.url`, its port and path, and the proxy in front of the server",
    ),
    "old_http": (
        "firewall", "something before {url} speaks HTTP/1.0, which has no WebSockets ({what})", _LET_THROUGH,
    ),
    "no_websocket": (
        "firewall", "{url} does not open a WebSocket as it should ({what})",
        "have whoever stands in between, a proxy or a firewall, pass WebSockets on",
    ),
    # a proxy of the environment
    "proxy_login": (
        "proxy", "the proxy {proxy} wants a name and a password ({what})",
        "write them into HTTPS_PROXY (http://NAME:PASSWORD@HOST:PORT), or name {host} in NO_PROXY",
    ),
    "proxy_refuses": (
        "proxy", "the proxy {proxy} does not let this agent through to {host} ({what})",
        "have it allow CONNECT to {host}, or name {host} in NO_PROXY",
    ),
    "proxy_cannot": ("proxy", "the proxy {proxy} cannot reach {host} ({what})", _CHECK_PROXY),
    "proxy_unreachable": ("proxy", "the proxy {proxy} cannot be reached ({what})", _CHECK_PROXY),
    "proxy_silent": ("proxy", "the proxy {proxy} gives no answer ({what})", _CHECK_PROXY),
    "proxy_unusable": ("proxy", "the proxy {proxy} cannot be used ({what})", _CHECK_PROXY),
    # TLS
    "tls_name": (
        "tls", "the certificate of {url} is for another name ({what})",
        "write the name that it is for in `server.url`, or give the server a certificate for {host}; else "
        + _INTERCEPTED,
    ),
    "tls_expired": (
        "tls_time", "the certificate of {url} has expired, as this machine's clock says {what}",
        "have it renewed at the server; where that date is wrong, set this machine's clock",
    ),
    "tls_not_yet": (
        "tls_time", "the certificate of {url} is not valid yet, as this machine's clock says {what}",
        "set this machine's clock (`timedatectl`)",
    ),
    "tls_unknown": (
        "tls", "the certificate of {url} is of a CA that this machine does not know ({what})",
        "set `server.ca_file` to its CA; else " + _INTERCEPTED,
    ),
    "tls": ("tls", "the certificate of {url} is not trusted ({what})", "give the server another certificate"),
    "clear_port": (
        "tls", "no TLS with {url} ({what})", "is it http:// instead of https://, or another port?",
    ),
    "tls_cut": (
        "tls", "{url} ends TLS before it has begun ({what})",
        "check the port in `server.url`, and firewalls on the way",
    ),
    "tls_port": (
        "tls", "{url} wants TLS, and http:// has none ({what})", "write https:// in `server.url`",
    ),
    # no answer
    "no_network": (
        "no_network", "this machine has no way to the network ({what})",
        "check the cable, the modem or the Wi-Fi (`ip route`)",
    ),
    "name_unknown": (
        "name_not_resolved", "the name in {url} is not known ({what})",
        "check `server.url` and the name server (`resolvectl status`)",
    ),
    "no_name_server": (
        "name_not_resolved", "no name server tells where {url} is ({what})",
        "check the network, and the name server (`resolvectl status`)",
    ),
    "silent": (
        "unreachable", "{url} does not answer ({what})",
        "check firewalls on the way, and whether the server runs",
    ),
    "mute": (
        "mute", "{url} takes the connection and says nothing ({what})",
        "check the port in `server.url`, and firewalls on the way",
    ),
    "unreachable": (
        "unreachable", "{url} cannot be reached ({what})",
        "check the port in `server.url`, and whether the server runs",
    ),
}  # fmt: skip
