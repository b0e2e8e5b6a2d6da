"""`stream-server run` as a process: its first lines, its refusals, its signals, administration meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

SERVER = [sys.executable, "-c", "from stream_server.main import main; main()"]


def command(*arguments: str | Path) -> list[str]:
    return [*SERVER, *map(str, arguments)]


@contextlib.contextmanager
def running(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        command("run", "--port", "0", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line or process.communicate()[1]
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def test_a_server_on_every_address_names_one_that_opens(tmp_path: Path) -> None:
    arguments = command("run", "--port", "0", "--host", "0.0.0.0", "--data-dir", tmp_path)
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            line, link = process.stdout.readline(), process.stdout.readline()
        finally:
            process.terminate()
            _, errors = process.communicate()
    found = re.fullmatch(r"listening on (http://\S+) and every other address of this machine\n", line)
    assert found, line
    address = urlsplit(found[1]).hostname
    assert address != "0.0.0.0"
    socket.create_server((address, 0)).close()  # only an address of this machine can be bound
    assert link.startswith(f"sign in with {found[1]}/#link=")
    assert (f"{found[1]} is not encrypted" in errors) is (address != "127.0.0.1")


def ask(url: str, path: str, token: str = "", body: object = None) -> tuple[int, object]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    method = "GET" if body is None else "POST"
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    content = json.loads(response.read())
    connection.close()
    return response.status, content


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=30, check=False)


def refused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_first_run_prints_a_link_until_somebody_has_used_one(tmp_path: Path) -> None:
    for _ in range(2):
        with running("--data-dir", tmp_path) as (process, url):
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(rf"sign in with {url}/#link=(cea_link_\S+)\n", line)
            assert found, line
    with running("--data-dir", tmp_path) as (process, url):
        assert process.stdout is not None
        token = process.stdout.readline().strip().partition("#link=")[2]
        assert ask(url, "/api/v1/auth/link", body={"token": token})[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    with running("--data-dir", tmp_path) as (process, _url):
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
        assert out == ""


@pytest.mark.parametrize(("number", "exit_status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_stops_it_cleanly_with_an_open_stream(
    tmp_path: Path, number: signal.Signals, exit_status: int
) -> None:
    with running("--data-dir", tmp_path) as (process, url):
        enrolment = run("enroll", "create", "--data-dir", tmp_path).stdout.strip()
        token = run("token", "create", "--role", "viewer", "--data-dir", tmp_path).stdout.strip()
        body = {"enrolment_token": enrolment, "agent_id": "van7"}
        status, answer = ask(url, "/api/v1/agents/register", body=body)
        assert status == 201
        assert isinstance(answer, dict)
        dongle = {"dongle_id": "d", "interface": "virtual", "channel": "c"}
        report = "/api/v1/agents/devices/report"
        assert ask(url, report, answer["agent_token"], {"dongles": [dongle]})[0] == 200
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        headers = {"Authorization": f"Bearer {token}"}
        connection.request("GET", "/api/v1/streams/dongles/d/console", headers=headers)
        response = connection.getresponse()
        process.send_signal(number)
        assert b"event: presence" in response.read()
        assert process.wait(10) == exit_status
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_administration_works_while_it_runs(tmp_path: Path) -> None:
    with running("--data-dir", tmp_path) as (_process, url):
        token = run("token", "create", "--role", "viewer", "--data-dir", tmp_path).stdout.strip()
        assert ask(url, "/api/v1/auth/me", token)[0] == 200
        assert run("backup", "--data-dir", tmp_path, tmp_path / "copy").returncode == 0
        assert run("token", "revoke", "--data-dir", tmp_path, "1").returncode == 0
        assert ask(url, "/api/v1/auth/me", token)[0] == 401
    with contextlib.closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert copy.execute("SELECT count(*) FROM api_tokens").fetchone() == (1,)


def test_what_stops_it_from_starting_is_one_sentence_with_the_remedy(tmp_path: Path) -> None:
    with running("--data-dir", tmp_path):
        assert "another stream-server" in refused("run", "--port", "0", "--data-dir", tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "--port" in refused("run", "--port", port, "--data-dir", tmp_path / "other")
    assert "--host" in refused("run", "--host", "no.such.host.invalid", "--data-dir", tmp_path / "other")
    (tmp_path / "file").write_text("")
    assert "data directory" in refused("run", "--data-dir", tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: run as an ordinary user")
def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert str(tmp_path) in refused("run", "--port", "0", "--data-dir", tmp_path)


def test_a_kill_leaves_a_directory_that_starts_again(tmp_path: Path) -> None:
    with running("--data-dir", tmp_path) as (process, _url):
        process.kill()
        process.wait()
    with running("--data-dir", tmp_path) as (_process, url):
        assert ask(url, "/readyz") == (200, {"status": "ok"})


def test_what_it_keeps_is_for_its_own_user_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    earlier = os.umask(0o022)
    try:
        with running("--data-dir", data) as (process, url):
            assert ask(url, "/healthz")[0] == 200
            modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in data.iterdir()}
            process.terminate()
            _, errors = process.communicate()
    finally:
        os.umask(earlier)
    assert {"server.sqlite3-wal", "recording.sqlite3-shm"} <= modes.keys()
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert f"others could enter {data}: it is for its owner alone now" in errors
