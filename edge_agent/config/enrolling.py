"""The command that enrols an agent, as remedies print it: it can be copied."""

from __future__ import annotations

from shlex import join

from edge_agent.config.server_url import clear_text, url_problem


def enrol_command(server_url: object = None, *, agent_id: str = "", token_file: object = "") -> str:
    """`edge-agent enroll` with what it needs, in backticks; where there is no usable `server_url`, `URL`.

    `token_file` is where the token belongs, "" for where `enroll` puts it anyway. `FILE` stays open: it is
    the enrolment token, which only the server's administrator has; the command says so where it is missing.
    """
    known = server_url if isinstance(server_url, str) and url_problem(server_url) is None else "URL"
    words = ["edge-agent", "enroll", "--server", known, "--token-file", "FILE"]
    words += ["--allow-clear-text"] if clear_text(known) else []
    words += ["--agent-id", agent_id] if agent_id else []
    words += ["--out", str(token_file)] if token_file else []
    return f"`{join(words)}`"
