"""A fresh copy of a bare Debian in which commands run, as on a machine that was just installed.

    with BareRoot("trixie") as bare:
        bare.run("sudo apt-get install -y git make python3-venv")
        bare.run(f"git clone {bare.REPOSITORY} can-edge-agent")

`make roots` makes what is copied. The copy shares the network with this host, which also lends it its
mirrors, package index and certificates. Nothing that is done in it is seen outside, or outlives the `with`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal, Self

Suite = Literal["bookworm", "trixie"]
User = Literal["user", "root"]

ROOT: Final = Path(__file__).resolve().parents[2]
SUITES: Final[tuple[Suite, ...]] = ("bookworm", "trixie")
_ROOTS: Final = ROOT / ".roots"
# util-linux makes both namespaces before it forks, so that those of `unshare` itself can be entered.
_ISOLATED: Final = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child"]
_HOLDS: Final = r"""
set -e
copy=$1 lower=$2
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$copy/upper,workdir=$copy/work" "$copy/root"
cd "$copy/root"
hostname bare
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 dev dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
# The shell that stays, as the first process of the copy, waits for orphans. Everything ends with it.
exec chroot . bash -c 'echo ready; read -r _'
"""
# What of pip's configuration says how an index is reached.
_PIP_KEYS: Final = ("cert", "extra-index-url", "index-url", "proxy", "retries", "timeout", "trusted-host")
_CERTIFICATES: Final = "etc/ssl/host-certificates.crt"
_ARCHIVES: Final = "var/cache/apt/archives"
_PROXIES: Final = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_MOST_SECONDS: Final = 600


def what_is_missing(suite: Suite) -> str | None:
    """Why no copy of this root can be had here and how to get it, or None."""
    if os.geteuid() != 0:
        return "a copy of a root file system needs root: run 'sudo make test'"
    check = subprocess.run([ROOT / "tests" / "roots" / "build", suite, "--check"], check=False)
    return f"the root of {suite} is not built: run 'sudo make roots'" if check.returncode else None


class BareRoot:
    """A copy of a root; needs `what_is_missing` to be None.

    What is written there lies in `.roots` and not on a tmpfs: libraries are files in the page cache, as on
    any machine, and counted like that.
    """

    REPOSITORY: Final = "/srv/can-edge-agent.git"
    """In the copy: this tree as it is, as a repository of one commit."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self._copy = _ROOTS / f"{suite}-{os.getpid()}-{id(self):x}"
        self._debs = _ROOTS / f"debs-{suite}"
        self._holder: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        for directory in ("upper", "work", "root"):
            (self._copy / directory).mkdir(parents=True)
        for left in _ROOTS.glob("*-*-*"):
            # Of a run that was killed, and nothing is mounted there any more.
            if not Path("/proc", left.name.split("-")[1]).exists():
                shutil.rmtree(left)
        self._debs.mkdir(exist_ok=True)
        _link_debs(self._debs, self.upper / _ARCHIVES)
        lower = _ROOTS / self.suite / "root"
        holder = [*_ISOLATED, "bash", "-c", _HOLDS, "hold", str(self._copy), str(lower)]
        self._holder = subprocess.Popen(
            holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            self._wait_until_ready()
            self._lend_network()
            self._put_repository()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._holder is not None
        with contextlib.suppress(BrokenPipeError):
            self._holder.communicate()
        _link_debs(self.upper / _ARCHIVES, self._debs)
        shutil.rmtree(self._copy)

    def run(
        self, script: str, *, user: User = "user", timeout_seconds: float = _MOST_SECONDS, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """What came of a script of bash, `-euo pipefail`, which begins in the user's home.

        Raises AssertionError, with what it wrote, for a status other than 0 unless `check` is off, and
        subprocess.TimeoutExpired.
        """
        done = subprocess.run(
            self.command(script, user=user),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_seconds,
        )
        assert done.returncode == 0 or not check, (
            f"{script!r} ended with {done.returncode} on {self.suite}:\n{done.stdout}"
        )
        return done

    def command(self, script: str, *, user: User = "user") -> list[str]:
        """What this host starts to run the script there: for processes that go on beside others."""
        assert self._holder is not None
        of = f"/proc/{self._holder.pid}/ns"
        home = {"user": "/home/user", "root": "/root"}[user]
        enter = ["nsenter", f"--mount={of}/mnt", f"--uts={of}/uts", f"--pid={of}/pid_for_children"]
        there = ["chroot", f"--userspec={user}:{user}", str(self._copy / "root")]
        environment = {
            "HOME": home,
            "USER": user,
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "DEBIAN_FRONTEND": "noninteractive",
            "PATH": "/usr/local/bin:/usr/bin:/bin"
            + (":/usr/local/sbin:/usr/sbin:/sbin" if user == "root" else ""),
        }
        environment |= {name: os.environ[name] for name in _PROXIES if name in os.environ}
        settings = [f"{name}={value}" for name, value in environment.items()]
        shell = ["bash", "-euo", "pipefail", "-c", f"cd && {{\n{script}\n}}"]
        return [*enter, *there, "env", "-i", *settings, *shell]

    @property
    def upper(self) -> Path:
        """Where this host finds what was changed in the copy."""
        return self._copy / "upper"

    def put(self, path: str, text: str) -> None:
        """Writes a file below the copy's root, readable by all."""
        script = f"mkdir -p {shlex.quote(str(Path('/', path).parent))} && cat > {shlex.quote('/' + path)}"
        subprocess.run(self.command(script, user="root"), check=True, input=text, text=True)

    def _wait_until_ready(self) -> None:
        assert self._holder is not None
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline()
        assert said == "ready\n", f"no copy of {self.suite}: {said}{self._holder.stdout.read()}"

    def _lend_network(self) -> None:
        self.put("etc/resolv.conf", Path("/etc/resolv.conf").read_text())
        self.put("etc/hosts", f"{Path('/etc/hosts').read_text()}\n127.0.0.1 bare\n")
        settings = _pip_settings()
        if certificates := settings.get("cert"):
            self.put(_CERTIFICATES, Path(certificates).read_text())
            settings["cert"] = f"/{_CERTIFICATES}"
        lines = [f"{key} = {value}" for key, value in settings.items()]
        self.put("etc/pip.conf", "\n".join(["[global]", *lines, ""]))

    def _put_repository(self) -> None:
        """The tree without what .gitignore names, whether it is a git repository or not."""
        names = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
        tree = self._copy / "tree"
        shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(".git", *names))
        git = ["git", "-c", "user.name=user", "-c", "user.email=user@localhost", "-C", str(tree)]
        for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=The tree"]):
            subprocess.run([*git, *arguments], check=True)
        self.run(f"mkdir -p {self.REPOSITORY} && chown user:user {self.REPOSITORY}", user="root")
        archive = subprocess.run(["tar", "-C", tree / ".git", "-c", "."], check=True, stdout=subprocess.PIPE)
        unpack = f"tar -C {self.REPOSITORY} -x"
        subprocess.run(self.command(unpack), check=True, input=archive.stdout)


def _link_debs(source: Path, target: Path) -> None:
    """What apt has fetched is not fetched again; it looks at the hashes of what it finds."""
    target.mkdir(parents=True, exist_ok=True)
    for deb in source.glob("*.deb"):
        with contextlib.suppress(FileExistsError):
            (target / deb.name).hardlink_to(deb)


def _pip_settings() -> dict[str, str]:
    """How this host's pip reaches its index, with the environment above the files. Directories stay here."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    settings: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if key in _PIP_KEYS and (section == ":env:" or key not in settings):
            (value,) = shlex.split(value)
            values = " ".join(part for part in value.split() if not part.startswith("file:"))
            settings |= {key: values} if values else {}
    return settings


def main(arguments: list[str]) -> int:
    """tests/roots/run [--root] SUITE SCRIPT...: the exit status of the script, which has this terminal."""
    user: User = "user"
    if arguments[:1] == ["--root"]:
        user, arguments = "root", arguments[1:]
    suite = next((suite for suite in SUITES if arguments[:1] == [suite]), None)
    if suite is None or len(arguments) < 2:
        sys.exit(f"usage: tests/roots/run [--root] {'|'.join(SUITES)} SCRIPT...")
    if missing := what_is_missing(suite):
        sys.exit(missing)
    with BareRoot(suite) as bare:
        return subprocess.run(bare.command("\n".join(arguments[1:]), user=user), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
