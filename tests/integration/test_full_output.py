"""Standard output that cannot be written: one sentence, and no secret that nobody has seen."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import select

from stream_server.storage import data_directory
from stream_server.storage import server_schema as schema
from tests.helpers.processes import END_SECONDS, installed_command

FULL: Final = Path("/dev/full")
SAID: Final = "standard output: No space left on device"
LINES: Final = (
    "edge-agent --help",
    "edge-agent run --help",
    "edge-agent --version",
    "edge-agent completion bash",
    "edge-agent dongles --json",
    "edge-agent check-config good.toml",
    "edge-agent replay drive.log --print",
    "edge-agent decode drive.log --dbc obd2",
    "edge-agent simulate --dbc obd2 --to virtual:x --seconds 0.1",
    "stream-server --help",
    "stream-server token list --data-dir data",
)
SECRETS: Final = ("token create --role viewer", "enroll create", "admin-link --url http://x")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    with data_directory.locked(home / "data"):
        data_directory.prepare(home / "data")
    # Longer than what is held back before it is written.
    (home / "drive.log").write_text("(1766417462.000000) can0 7E8#0341050000000000\n" * 5_000)
    server = '[server]\nurl = "http://127.0.0.1:9"\n'
    dongle = '[[dongles]]\ninterface = "virtual"\nchannel = "x"\n'
    (home / "good.toml").write_text(f'[agent]\nid = "van7"\n{server}{dongle}')
    return home


def run(home: Path, words: Sequence[str], stdout: int) -> subprocess.CompletedProcess[str]:
    command = [str(part) for part in [*installed_command(words[0]), *words[1:]]]
    return subprocess.run(
        command, cwd=home, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=END_SECONDS, check=False
    )


@contextmanager
def full() -> Iterator[int]:
    with FULL.open("wb") as file:
        yield file.fileno()


@contextmanager
def unread() -> Iterator[int]:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("line", LINES)
def test_a_full_standard_output_is_one_sentence(line: str, home: Path) -> None:
    with full() as stdout:
        done = run(home, line.split(), stdout)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert "No space left on device" in done.stderr
    if " decode " not in line:  # which writes past what Python holds back, and has words of its own
        assert done.stderr.count(SAID) == 1


def test_a_reader_that_has_gone_is_nothing_to_talk_about(home: Path) -> None:
    for line in ("edge-agent --help", "edge-agent replay drive.log --print"):
        with unread() as stdout:
            assert run(home, line.split(), stdout).stderr == ""


def valid_secrets(home: Path) -> int:
    tokens, enrolments, links = schema.api_tokens, schema.enrolments, schema.admin_links
    chosen = (
        select(tokens).where(tokens.c.revoked_at_ns.is_(None)),
        select(enrolments).where(enrolments.c.revoked_at_ns.is_(None)),
        select(links).where(links.c.used_at_ns.is_(None)),
    )
    directory = data_directory.existing(home / "data")
    return directory.administer(
        lambda connection: sum(len(connection.execute(query).all()) for query in chosen)
    )


@pytest.mark.parametrize("line", SECRETS)
def test_a_secret_that_nobody_has_seen_is_none(line: str, home: Path) -> None:
    words = ["stream-server", *line.split(), "--data-dir", "data"]
    before = valid_secrets(home)
    with full() as stdout:
        done = run(home, words, stdout)
    assert done.returncode == 1
    assert f"{SAID}: the new secret is void again" in done.stderr
    with unread() as stdout:
        done = run(home, words, stdout)
    assert done.returncode == 1
    assert "Error" not in done.stderr
    assert valid_secrets(home) == before

    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *map(str, installed_command(words[0])), *words[1:]],
        cwd=home, stderr=subprocess.PIPE, text=True, timeout=END_SECONDS, check=False,
    )  # fmt: skip
    assert closed.returncode == 1
    assert "standard output, where alone a secret is shown, is closed: none was made" in closed.stderr
    assert valid_secrets(home) == before

    with (home / "seen").open("wb") as seen:
        assert run(home, words, seen.fileno()).returncode == 0
    assert valid_secrets(home) == before + 1
