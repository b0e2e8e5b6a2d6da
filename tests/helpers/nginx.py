"""nginx in front of a server of this machine, on a port that it keeps when it is started again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.helpers.lanes import require_lane

_SECONDS: Final = 20.0
_CONFIG: Final = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/a; uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c;
  server {{ listen 127.0.0.1:{port}; {rules} }}
}}
"""


def require_nginx(lane: str) -> None:
    """Skips the module that calls this, or fails it, where nginx is missing."""
    require_lane(lane, _binary() is not None, "nginx is missing: `apt install nginx-light`")


class Nginx:
    """Passes on to `port`, with `options` as nginx writes them, until it is started otherwise.

    Use it as a context manager.
    """

    def __init__(self, folder: Path, port: int, options: str = "") -> None:
        self._folder = folder
        self._passing_on = f"location / {{ proxy_pass http://127.0.0.1:{port}; {options} }}"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: Final[int] = free.getsockname()[1]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, rules: str = "") -> None:
        """Stop what runs, which cuts every connection, and begin anew, with `rules` before passing on."""
        self.stop()
        config = self._folder / "nginx.conf"
        rules = f"{rules} {self._passing_on}"
        config.write_text(_CONFIG.format(folder=self._folder, port=self.port, rules=rules))
        binary = _binary()
        assert binary is not None
        self._process = subprocess.Popen([binary, "-p", str(self._folder), "-c", str(config)])
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "error.log").read_text()
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.01)

    def stop(self) -> None:
        """End it; whoever asks is refused."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_SECONDS)
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _binary() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
