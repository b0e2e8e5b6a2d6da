"""Real processes for tests: the stream server, the edge agent, and their command lines.

Everything that waits, waits for something that happens (a line, an end) and has a bound. What a process wrote
is shown with every failure, and its standard error by pytest wherever a test fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

Argument = str | int | Path
Role = Literal["viewer", "operator", "admin"]
START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 20.0
END_SECONDS: Final = 90.0
_SHOWN_CHARACTERS: Final = 4_000
# An installed program is compiled already: to do so at each start takes a second and a megabyte.
ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ProcessError(AssertionError):
    """A process did not do what the test waits for; the message holds its command and what it wrote."""

    def __init__(
        self, problem: str, command: Sequence[str], returncode: int | None, output: str, errors: str
    ) -> None:
        state = "still running" if returncode is None else f"exit status {returncode}"
        super().__init__(
            f"{problem} ({state})\ncommand: {' '.join(command)}\n"
            f"end of its standard output:\n{_end_of(output)}\nend of its standard error:\n{_end_of(errors)}"
        )
        self.problem = problem
        self.returncode = returncode
        self.errors = errors


def _end_of(text: str) -> str:
    return text[-_SHOWN_CHARACTERS:].rstrip() or "(nothing)"


def installed_command(name: str) -> list[Argument]:
    """The command line of a script of this project, as it is installed in this environment."""
    path = Path(sysconfig.get_path("scripts")) / name
    assert path.exists(), f"{path} is missing: install the project first (`pip install -e '.[server]'`)"
    return [sys.executable, str(path)]


class Process:
    """A child process whose output is read while it runs.

    Use it as a context manager: what still runs at the end is killed.
    """

    def __init__(
        self, command: Sequence[Argument], *, stdin: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self.command: Final = [str(part) for part in command]
        self._news = threading.Condition()
        self._output: list[str] = []
        self._errors: list[str] = []
        self._seen = 0
        self._output_ended = False
        self._popen = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        self._readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._popen.stdin as pipe:
            pipe.write(stdin)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill it where it still runs, and leave what it wrote to standard error in the test's report."""
        self.kill()
        sys.stderr.write(f"--- standard error of {' '.join(self.command)}\n{self.errors}")

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def output(self) -> str:
        """What it has written to standard output so far."""
        with self._news:
            return "".join(self._output)

    @property
    def errors(self) -> str:
        """What it has written to standard error so far."""
        with self._news:
            return "".join(self._errors)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def wait_for_line(self, pattern: str, timeout_seconds: float = START_SECONDS) -> re.Match[str]:
        """The next whole line of standard output that matches; those before it are passed over."""
        deadline = time.monotonic() + timeout_seconds
        with self._news:
            while True:
                while self._seen < len(self._output):
                    self._seen += 1
                    found = re.fullmatch(pattern, self._output[self._seen - 1].rstrip("\n"))
                    if found:
                        return found
                left = deadline - time.monotonic()
                if self._output_ended or left <= 0:
                    break
                self._news.wait(left)
        if self._output_ended:
            self.wait(STOP_SECONDS)
            raise self.failure(f"it ended without a line that matches {pattern!r}")
        raise self.failure(f"no line matches {pattern!r} in {timeout_seconds} s")

    def wait(self, timeout_seconds: float = END_SECONDS) -> int:
        """Its exit status once it has ended and all it wrote is read. ProcessError when it does not."""
        try:
            status = self._popen.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise self.failure(f"not ended in {timeout_seconds} s") from None
        for reader in self._readers:
            reader.join(STOP_SECONDS)
        return status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._popen.send_signal(number)

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """SIGTERM; its exit status once it has ended. ProcessError when it does not end."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_seconds)

    def kill(self) -> None:
        """SIGKILL; nothing where it has ended."""
        self._popen.kill()
        self.wait(STOP_SECONDS)

    def failure(self, problem: str) -> ProcessError:
        """An error to raise, with what the process wrote."""
        return ProcessError(problem, self.command, self._popen.poll(), self.output, self.errors)

    def _read_output(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as pipe:
            for line in pipe:
                with self._news:
                    self._output.append(line)
                    self._news.notify_all()
        with self._news:
            self._output_ended = True
            self._news.notify_all()

    def _read_errors(self) -> None:
        assert self._popen.stderr is not None
        with self._popen.stderr as pipe:
            for line in pipe:
                with self._news:
                    self._errors.append(line)


def run_command(command: Sequence[Argument], *, stdin: str = "", timeout_seconds: float = END_SECONDS) -> str:
    """What a command that must succeed writes to standard output. ProcessError."""
    with Process(command, stdin=stdin) as process:
        if process.wait(timeout_seconds):
            raise process.failure("the command failed")
        return process.output


class StreamServer:
    """`stream-server run` on a data directory, on a free port that it keeps when it is started again.

    Use it as a context manager: it runs inside, and is killed at the end where the test has not stopped it.
    `arguments` are further options of `run`. `program` is what runs from the next start on.
    """

    def __init__(
        self, data_dir: Path, *arguments: Argument, program: Sequence[Argument] | None = None
    ) -> None:
        self.data_dir: Final = data_dir
        self.program = [*(program or installed_command("stream-server"))]
        self.port = 0
        self._arguments = arguments
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.close()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> Process:
        """The process, also after its end."""
        assert self._process is not None, "the server was not started"
        return self._process

    def start(self) -> None:
        """Start it and wait until it takes requests. ProcessError."""
        if self._process is not None:
            self._process.close()
        command: list[Argument] = [*self.program, "run", "--port", self.port]
        self._process = Process([*command, "--data-dir", self.data_dir, *self._arguments])
        try:
            self.port = int(self._process.wait_for_line(r"listening on http://127\.0\.0\.1:(\d+)")[1])
        except ProcessError:
            self._process.close()
            raise

    def stop(self) -> None:
        """SIGTERM, as a service manager does. ProcessError when it does not end well."""
        if self.process.stop():
            raise self.process.failure("the server did not stop cleanly")

    def restart(self) -> None:
        """Stop it cleanly and start it on the same port."""
        self.stop()
        self.start()

    def sign_in_link(self) -> str:
        """The link that a server prints until somebody has signed in. ProcessError where it prints none."""
        return self.process.wait_for_line(r"sign in with (http\S+)")[1]

    def administer(self, *arguments: Argument) -> str:
        """What an administration command on the same data directory prints, without the line's end."""
        command = [*self.program, *arguments, "--data-dir", self.data_dir]
        return run_command(command).rstrip("\n")

    def create_token(self, role: Role = "viewer") -> str:
        """A new API token."""
        return self.administer("token", "create", "--role", role)

    def read(self, path: str, token: str) -> bytes:
        """The body of a GET with a Bearer token; urllib's HTTPError for a status that is no success."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        with _OPENER.open(request, timeout=END_SECONDS) as response:
            body: bytes = response.read()
        return body

    def read_json(self, path: str, token: str) -> Any:
        """`read`, decoded."""
        return json.loads(self.read(path, token))


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """The last line of `edge-agent replay`."""

    frames: int
    acknowledged: int
    lost: int
    seconds: float
    unreadable: int
    others: Mapping[str, int]
    error_frames: int = 0


class EnrolledAgent:
    """An agent with a token of its own in `directory`, registered at `server`."""

    def __init__(self, server: StreamServer, agent_id: str, directory: Path) -> None:
        self.agent_id: Final = agent_id
        self.token_file: Final = directory / f"{agent_id}.token"
        self._server = server
        secret = server.administer("enroll", "create", "--agent-id", agent_id)
        command: list[Argument] = [*installed_command("edge-agent"), "enroll", "--token-file", "-"]
        options: list[Argument] = ["--server", server.url, "--agent-id", agent_id, "--out", self.token_file]
        run_command([*command, *options], stdin=secret)

    def replay(self, *logs: Path, options: Sequence[Argument] = ()) -> Process:
        """`edge-agent replay` of logs to the server, started; a context manager like every Process."""
        command: list[Argument] = [*installed_command("edge-agent"), "replay", *logs, *options]
        target: list[Argument] = ["--server", self._server.url, "--agent-id", self.agent_id]
        return Process([*command, *target, "--token-file", self.token_file])


def replay_summary(process: Process, timeout_seconds: float = END_SECONDS) -> ReplaySummary:
    """What a replay that must succeed says in the end. ProcessError."""
    if process.wait(timeout_seconds):
        raise process.failure("the replay failed")
    return ReplaySummary(**json.loads(process.output.splitlines()[-1]))
