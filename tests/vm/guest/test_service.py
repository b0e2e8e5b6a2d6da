"""The services as `edge-agent install --system` sets them up: under a real systemd, in their sandbox."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.agents import recorded_frames, recorded_lines, wait_for_recorded
from tests.helpers.conditions import eventually
from tests.helpers.processes import Process, StreamServer, installed_command, run_command
from tests.vm.can_utils import send

AGENT, SERVER = "edge-agent.service", "stream-server.service"
CONFIG = Path("/etc/edge-agent/agent.toml")
TOKEN = Path("/var/lib/edge-agent/token")
DATABASE = CONFIG.with_name("vehicle.dbc")
DONGLE = "van7-vcan0"
# While this exists, the driver below does not return.
HANG = Path("/run/the-driver-hangs")
EXAMPLES = {str(CONFIG), "/etc/stream-server/server.toml"}
RESTART_SECONDS = 30.0

DRIVER = f"""
import pathlib, time
import can

class HangingBus(can.BusABC):
    def __init__(self, channel, **options):
        super().__init__(channel, **options)
    def _recv_internal(self, timeout):
        while pathlib.Path({str(HANG)!r}).exists():
            time.sleep(0.05)
        time.sleep(timeout or 0)
        return None, False
    def send(self, msg, timeout=None):
        raise NotImplementedError
"""
MESSAGE = (
    'VERSION ""\nBU_:\nBO_ 291 {name}: 1 Vector__XXX\n SG_ Speed : 0|8@1+ (1,0) [0|0] "km/h" Vector__XXX\n'
)


def configuration(*dongles: str) -> str:
    head = '[agent]\nid = "van7"\n[server]\nurl = "http://127.0.0.1:8080"\n'
    return head + "".join(f"[[dongles]]\n{lines}\n" for lines in dongles)


def system_files() -> set[str]:
    """Every file of the system's configuration, and of the services' own places."""
    places = ("/etc", "/usr/lib/systemd", "/usr/lib/udev", "/usr/local")
    return {str(path) for place in places for path in Path(place).rglob("*") if not path.is_dir()}


def install(*options: str) -> str:
    return run_command([*installed_command("edge-agent"), "install", "--system", *options])


def told(*command: str) -> str:
    """What a command says that is asked again and again, so without a trace in the report."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def shown(unit: str, name: str) -> str:
    return told("systemctl", "show", "--value", "-p", name, unit).strip()


def journal(unit: str, *options: str) -> str:
    return told("journalctl", "--no-pager", "-o", "cat", "-u", unit, *options)


def systemctl(*words: str) -> None:
    run_command(["systemctl", *words])


@pytest.fixture(scope="module")
def driver() -> Iterator[None]:
    """An interface of python-can that hangs when it is told to, installed as any other package."""
    site = Path(sysconfig.get_path("purelib"))
    module, info = site / "hanging_bus.py", site / "hanging_bus-1.dist-info"
    module.write_text(DRIVER)
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hanging-bus\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[can.interface]\nhanging = hanging_bus:HangingBus\n")
    yield
    module.unlink()
    shutil.rmtree(info)


@pytest.fixture(scope="module")
def installed() -> set[str]:
    """What has been put in place; the files that were there before."""
    before = system_files()
    install()
    return before


@pytest.fixture(scope="module")
def server(installed: set[str]) -> Iterator[StreamServer]:
    """The server as a service."""
    systemctl("start", SERVER)
    running = StreamServer(Path("/var/lib/stream-server"))
    running.port = 8080
    yield running
    subprocess.run(["systemctl", "stop", SERVER], check=False)  # which may be gone


@pytest.fixture(scope="module")
def enrolled(server: StreamServer) -> StreamServer:
    """The server at which the agent is enrolled, as the manual says."""
    secret = server.administer("enroll", "create", "--agent-id", "van7")
    command = [*installed_command("edge-agent"), "enroll", "--server", server.url, "--token-file", "-"]
    run_command([*command, "--agent-id", "van7"], stdin=secret)
    assert TOKEN.exists()
    return server


@contextlib.contextmanager
def agent(*dongles: str) -> Iterator[None]:
    """The agent as a service, started with these dongles."""
    CONFIG.write_text(configuration(*dongles))
    systemctl("start", AGENT)
    try:
        yield
    finally:
        sys.stderr.write(f"--- end of the journal of {AGENT}\n{journal(AGENT)[-3000:]}\n")
        systemctl("stop", AGENT)


def test_a_second_installation_changes_nothing_and_a_dry_one_neither(installed: set[str]) -> None:
    before = system_files()
    again = install()
    assert "created" not in again
    assert "updated" not in again
    unit = Path("/etc/systemd/system") / AGENT
    scripts = sysconfig.get_path("scripts")
    assert f"ExecStart={scripts}/edge-agent run --config {CONFIG}\n" in unit.read_text()
    unit.write_text(unit.read_text() + "# an older version\n")
    assert f"would update  {unit}" in install("--dry-run")
    assert f"     updated  {unit}" in install()
    assert system_files() == before


def test_without_a_token_the_agent_says_what_to_do(installed: set[str]) -> None:
    assert not TOKEN.exists()
    with Process(["systemctl", "start", AGENT]) as process:
        assert process.wait() != 0
    systemctl("stop", AGENT)
    assert "is empty: run `edge-agent enroll --server " in journal(AGENT)


def test_the_limit_of_receive_buffers_is_in_force(installed: set[str]) -> None:
    assert int(Path("/proc/sys/net/core/rmem_max").read_text()) == 8 << 20


def test_udev_understands_the_rules(installed: set[str]) -> None:
    done = subprocess.run(
        ["udevadm", "test", "/sys/class/tty/tty0"], check=False, capture_output=True, text=True
    )
    assert "Reading rules file: /etc/udev/rules.d/70-can-adapters.rules" in done.stderr
    assert "70-can-adapters.rules:" not in done.stderr


@pytest.mark.parametrize(("unit", "limit"), [(AGENT, 1.5), (SERVER, 2.0)])
def test_the_sandbox_leaves_little_open(installed: set[str], unit: str, limit: float) -> None:
    report = told("systemd-analyze", "security", "--no-pager", unit)
    level = float(report.rpartition("exposure level for")[2].split(":")[1].split()[0])
    assert level <= limit, report


@pytest.mark.parametrize("unit", [AGENT, SERVER])
def test_systemd_has_nothing_to_say_against_the_unit(installed: set[str], unit: str) -> None:
    done = subprocess.run(["systemd-analyze", "verify", unit], check=True, capture_output=True, text=True)
    assert [line for line in done.stderr.splitlines() if unit in line] == []


def test_it_is_active_when_it_is_ready_and_streams(enrolled: StreamServer) -> None:
    token = enrolled.create_token()
    with agent('channel = "vcan0"'):
        assert shown(AGENT, "ActiveState") == "active"
        eventually(lambda: "dongles OK: 1/1; uplink: streaming" in shown(AGENT, "StatusText"), "status")
        before = recorded_frames(enrolled, DONGLE, token)
        send("vcan0", *["123#11"] * 20)
        wait_for_recorded(enrolled, DONGLE, token, before + 20)
        status = Path(f"/proc/{shown(AGENT, 'MainPID')}/status").read_text()
        for line in ("CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            assert line in status
        assert "receive buffer" not in journal(AGENT)
    assert shown(AGENT, "Result") == "success"
    assert shown(SERVER, "StatusText") == "listening on http://127.0.0.1:8080"


def test_a_configuration_with_mistakes_never_becomes_active(enrolled: StreamServer) -> None:
    CONFIG.write_text(configuration('channel = "vcan0"\nbitrat = 5'))
    with Process(["systemctl", "start", AGENT]) as process:
        assert process.wait() != 0
    try:
        assert shown(AGENT, "ActiveState") != "active"
        assert "bitrat" in journal(AGENT)
    finally:
        systemctl("stop", AGENT)


def test_reload_loads_the_databases_again_in_the_sandbox(enrolled: StreamServer) -> None:
    token = enrolled.create_token()

    def values() -> dict[str, object]:
        return {
            one["message"]: one
            for one in enrolled.read_json(f"/api/v1/dongles/{DONGLE}/signals", token)["signals"]
        }

    DATABASE.write_text(MESSAGE.format(name="Before"))
    with agent(f'channel = "vcan0"\ndatabases = ["{DATABASE.name}"]'):
        process = shown(AGENT, "MainPID")
        eventually(lambda: "1 message" in journal(AGENT), "the database is loaded")
        send("vcan0", "123#11")
        eventually(lambda: "Before" in values(), "a value")
        DATABASE.write_text(MESSAGE.format(name="After"))
        systemctl("reload", AGENT)
        eventually(lambda: shown(AGENT, "ActiveState") == "active", "the reload is over")

        def decoded_anew() -> bool:
            send("vcan0", "123#22")
            return "After" in values()

        eventually(decoded_anew, "a value of the new database")
        assert shown(AGENT, "MainPID") == process


def test_what_the_spool_holds_survives_a_kill_of_the_service(enrolled: StreamServer) -> None:
    token = enrolled.create_token()
    with agent('channel = "vcan0"'):
        eventually(lambda: "uplink: streaming" in shown(AGENT, "StatusText"), "status")
        before = recorded_frames(enrolled, DONGLE, token)
        systemctl("stop", SERVER)
        eventually(lambda: "uplink: streaming" not in shown(AGENT, "StatusText"), "the server is away")
        send("vcan0", *(f"123#{number:04X}" for number in range(200)))
        time.sleep(1.0)  # four times as long as it may take until they are on disk
        first = shown(AGENT, "MainPID")
        systemctl("kill", "--signal", "KILL", AGENT)
        eventually(lambda: shown(AGENT, "MainPID") not in {first, "0"}, "a new process", RESTART_SECONDS)
        systemctl("start", SERVER)
        wait_for_recorded(enrolled, DONGLE, token, before + 200)
        lines = recorded_lines(enrolled, DONGLE, token)[before:]
        assert [line.rpartition("#")[2] for line in lines] == [f"{number:04X}" for number in range(200)]
        assert Path("/var/lib/private/edge-agent/spool/spool.sqlite3").exists()
        assert "spool: keeps what waits in /var/lib/edge-agent/spool" in journal(AGENT)


def test_a_silent_bus_is_not_restarted_and_a_driver_that_hangs_is(
    enrolled: StreamServer, driver: None
) -> None:
    with agent('channel = "vcan0"', 'id = "van7-stick"\ninterface = "hanging"\nchannel = "stick"'):
        eventually(lambda: "dongles OK: 2/2" in shown(AGENT, "StatusText"), "both are read")
        first = shown(AGENT, "MainPID")
        # Both are silent for longer than the watchdog waits.
        watchdog_seconds = int(shown(AGENT, "WatchdogUSec").removesuffix("s"))
        silent_until = time.monotonic() + 1.5 * watchdog_seconds
        eventually(lambda: time.monotonic() > silent_until, "silence", 3 * watchdog_seconds)
        assert shown(AGENT, "MainPID") == first
        HANG.touch()
        try:
            hung_at = time.monotonic()
            eventually(lambda: shown(AGENT, "NRestarts") == "1", "the restart", RESTART_SECONDS)
            eventually(lambda: shown(AGENT, "MainPID") not in {first, "0"}, "a new process", RESTART_SECONDS)
            assert time.monotonic() - hung_at <= RESTART_SECONDS
        finally:
            HANG.unlink()
        eventually(lambda: "dongles OK: 2/2" in shown(AGENT, "StatusText"), "both are read again")
    said = journal(AGENT)
    reason = (
        "the watchdog is not fed, systemd will restart the agent: the driver of van7-stick has not returned"
    )
    assert said.index(reason) < said.index("Watchdog timeout")
    assert reason in journal(AGENT, "--priority", "err")


def test_uninstall_takes_away_what_install_has_put_there(installed: set[str]) -> None:
    systemctl("enable", AGENT, SERVER)
    files, links = 9, 2
    assert len(system_files() - installed - EXAMPLES - {str(DATABASE)}) == files + links
    uninstall = [*installed_command("edge-agent"), "uninstall", "--system"]
    assert run_command(uninstall).count("removed") == files
    assert system_files() - installed <= EXAMPLES | {str(DATABASE)}
    assert all(Path(example).exists() for example in EXAMPLES)
    assert shown(AGENT, "LoadState") == shown(SERVER, "LoadState") == "not-found"
    assert "nothing" in run_command(uninstall)
