"""Two network namespaces with two wires between them: one for an agent, one for the way to its server.

Nothing of this machine's own network is touched. Servers stay outside: a `Front` listens in there for them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Final, Self

import pytest

from tests.helpers.processes import Argument

_CLONE_NEWNET: Final = 0x40000000
# Whoever is asked for these gives no answer, not even that they are not there.
DEAD_NEIGHBOURS: Final = ("fd99::dead", "10.99.0.53", "10.99.0.66")
SERVER: Final = "10.97.0.1"
"""An address of the far side that no wire carries by itself: a route must lead there."""


class NetworkLab:
    """`a0`-`s0` is 10.99.0.2 to 10.99.0.1 and fd99::2 to fd99::1, `a1`-`s1` 10.98.0.2 to 10.98.0.1.

    `hosts` and `resolv_conf` are the agent's /etc/hosts and /etc/resolv.conf. A context manager; skips where
    namespaces cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self.hosts = directory / "hosts"
        self.resolv_conf = directory / "resolv.conf"
        self.hosts.write_text("127.0.0.1 localhost\n")
        self.resolv_conf.write_text("nameserver 10.99.0.53\n")
        self._holders: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or not all(shutil.which(one) for one in ("unshare", "nsenter", "ip")):
            pytest.skip("only root can make network namespaces, with unshare, nsenter and ip")
        try:
            self._far, self._near = self._namespace("--net"), self._namespace("--net", "--mount")
            self._wire()
        except (subprocess.CalledProcessError, OSError) as error:
            self._end()
            pytest.skip(f"network namespaces cannot be made here: {error}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def inside(self) -> Sequence[Argument]:
        """What a command begins with that is to run where the agent is."""
        return ["nsenter", f"--target={self._near}", "--net", "--mount", f"--wd={Path.cwd()}", "--"]

    def ip(self, *arguments: str, far: bool = False) -> None:
        """`ip` on the agent's side, or on the far one."""
        pid = self._far if far else self._near
        subprocess.run(
            ["nsenter", f"--target={pid}", "--net", "ip", *arguments], check=True, capture_output=True
        )

    def listen(self, address: str) -> socket.socket:
        """A socket that listens at a free port of this address, on the far side."""
        made: list[socket.socket] = []

        def work() -> None:
            with open(f"/proc/{self._far}/ns/net", "rb") as namespace:  # noqa: PTH123 - its number is wanted
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) == 0:
                    family = socket.AF_INET6 if ":" in address else socket.AF_INET
                    made.append(socket.create_server((address, 0), family=family))

        thread = Thread(target=work)  # a namespace is a thread's own
        thread.start()
        thread.join()
        return made[0]

    def _namespace(self, *kinds: str) -> int:
        holder = subprocess.Popen(
            ["unshare", *kinds, "--", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE
        )
        self._holders.append(holder)
        assert holder.stdout is not None
        if not holder.stdout.readline():
            raise OSError("unshare fails")
        return holder.pid

    def _wire(self) -> None:
        for number, net in (("0", "10.99.0"), ("1", "10.98.0")):
            peer = ("peer", "name", f"s{number}", "netns", str(self._far))
            self.ip("link", "add", f"a{number}", "type", "veth", *peer)
            for far, name, host in ((False, f"a{number}", 2), (True, f"s{number}", 1)):
                self.ip("address", "add", f"{net}.{host}/24", "dev", name, far=far)
                self.ip("link", "set", name, "up", far=far)
        self.ip("-6", "address", "add", "fd99::2/64", "dev", "a0", "nodad")
        self.ip("-6", "address", "add", "fd99::1/64", "dev", "s0", "nodad", far=True)
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "lo", "up", far=True)
        self.ip("address", "add", f"{SERVER}/32", "dev", "lo", far=True)
        for last, address in enumerate(DEAD_NEIGHBOURS):
            nobody = f"02:00:00:00:00:{last:02x}"
            self.ip("neigh", "add", address, "lladdr", nobody, "dev", "a0", "nud", "permanent")
        for path, place in ((self.hosts, "/etc/hosts"), (self.resolv_conf, "/etc/resolv.conf")):
            command: list[Argument] = [*self.inside, "mount", "--bind", path, os.path.realpath(place)]
            subprocess.run([str(one) for one in command], check=True, capture_output=True)

    def _end(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()
            with contextlib.suppress(AttributeError):
                holder.stdout.close()  # type: ignore[union-attr]
