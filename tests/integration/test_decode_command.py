"""`edge-agent decode` and `edge-agent dbc lint` as installed, on our own databases and the demo drive."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.helpers.conditions import eventually
from tests.helpers.processes import ENVIRONMENT, installed_command

DECODE: Final = [*map(str, installed_command("edge-agent")), "decode"]
ROOT: Final = Path(__file__).resolve().parents[2]
DATABASES: Final = sorted((ROOT / "dbc").glob("*.dbc"))


def edge_agent(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*map(str, installed_command("edge-agent")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def databases() -> list[str | Path]:
    return [part for path in DATABASES for part in ("--dbc", path)]


def csv_rows(log: Path, *options: str) -> list[dict[str, str]]:
    done = edge_agent("decode", log, *databases(), "--format", "csv", *options)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(done.stdout.splitlines()))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "drive.log"
    made = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo_drive.py"], capture_output=True, check=True
    )
    path.write_bytes(made.stdout)
    return path


def decoded(log: Path, *options: str | Path) -> list[dict[str, Any]]:
    done = edge_agent("decode", log, *databases(), *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_frame_of_the_demo_drive_has_its_message_and_plausible_values(log: Path) -> None:
    frames = decoded(log)
    assert len(frames) == len(log.read_text().splitlines())
    assert all("message" in frame and frame["signals"] for frame in frames)
    speeds = [f["signals"]["WheelBasedVehicleSpeed"] for f in frames if f["id"] == "0x18FEF100"]
    assert speeds[0] < 1
    assert 45 < max(speeds) < 55
    assert not any("undecoded" in frame for frame in frames)


def test_signals_ids_and_raw_numbers_are_chosen(log: Path) -> None:
    frames = decoded(log, "--signals", "*.WheelBasedVehicleSpeed", "--raw")
    assert {frame["id"] for frame in frames} == {"0x18FEF100"}
    assert all(set(frame["signals"]) == {"WheelBasedVehicleSpeed"} for frame in frames)
    assert all(
        f["signals_raw"]["WheelBasedVehicleSpeed"] == f["signals"]["WheelBasedVehicleSpeed"] * 256
        for f in frames
    )
    assert {frame["id"] for frame in decoded(log, "--id", "7E8")} == {"0x7E8"}


def test_csv_has_a_row_for_each_value(log: Path) -> None:
    done = edge_agent("decode", log, *databases(), "--format", "csv", "--id", "7E8", "--raw")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert {row["message"] for row in rows} == {"ObdAnswer1"}
    assert len({row["ts"] for row in rows}) == sum(" 7E8#" in line for line in log.read_text().splitlines())
    assert all(row["raw"] for row in rows)


def test_what_could_not_be_decoded_is_summed_up_and_still_shown(tmp_path: Path) -> None:
    log = tmp_path / "odd.log"
    log.write_text("(1.000000) can0 100#00\n(2.000000) can0 5AA#0102\nno frame\n")
    done = edge_agent("decode", log, *databases())
    short, unknown = (json.loads(line) for line in done.stdout.splitlines())
    assert short["undecoded"]
    assert "message" not in unknown
    assert "1 frames of 1 unknown ids" in done.stderr
    assert "line 3" in done.stderr


def test_lines_are_in_the_order_of_the_log_also_where_two_buses_alternate(tmp_path: Path) -> None:
    log = tmp_path / "two.log"
    log.write_text("".join(f"({at}.000000) can{at % 2} 7E8#03410D{at:02X}\n" for at in range(1, 9)))
    frames = decoded(log)
    assert [frame["bus"] for frame in frames] == ["can1", "can0"] * 4
    assert [frame["ts"][17:19] for frame in frames] == [f"{at:02}" for at in range(1, 9)]
    rows = csv_rows(log, "--signals", "*Speed*")
    assert [row["bus"] for row in rows] == ["can1", "can0"] * 4
    assert [float(row["value"]) for row in rows] == list(range(1, 9))


def test_a_signal_that_no_frame_has_gives_nothing(log: Path) -> None:
    assert decoded(log, "--signals", "NoSuchSignal") == []
    assert csv_rows(log, "--signals", "NoSuchSignal") == []


def test_csv_and_json_lines_say_the_same(log: Path) -> None:
    rows = [(row["ts"], row["signal"], row["value"], row["raw"]) for row in csv_rows(log, "--raw")]
    told = [
        (frame["ts"], name, str(value), str(frame["signals_raw"][name]))
        for frame in decoded(log, "--raw")
        for name, value in frame["signals"].items()
    ]
    assert rows == told


LONG_FRAMES: Final = 60_000


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several processes decode it; its frames repeat, as those of most buses do."""
    path = tmp_path_factory.mktemp("long") / "long.log"
    path.write_text("".join(f"({at}.000000) can0 7E8#03410D{at % 200:02X}\n" for at in range(LONG_FRAMES)))
    return path


def test_a_long_log_is_decoded_to_its_last_frame_in_order(long_log: Path) -> None:
    done = edge_agent("decode", long_log, *databases())
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    seconds = [datetime.fromisoformat(frame["ts"]).timestamp() for frame in frames]
    assert seconds == list(range(LONG_FRAMES))
    assert [frame["data_hex"][-2:] for frame in frames] == [f"{at % 200:02X}" for at in range(LONG_FRAMES)]
    assert f"{LONG_FRAMES} frames, {LONG_FRAMES} of known messages" in done.stderr
    rows = csv_rows(long_log, "--signals", "*Speed*")
    assert [float(row["value"]) for row in rows] == [at % 200 for at in range(LONG_FRAMES)]
    assert [float(frame["signals"][row["signal"]]) for frame, row in zip(frames, rows, strict=True)] == [
        float(row["value"]) for row in rows
    ]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_said(long_log: Path, form: str, unbuffered: str) -> None:
    command = [*DECODE, str(long_log), "--format", form, *map(str, databases())]
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment
        )
    assert done.returncode == 1
    assert done.stderr == "Error: what is decoded cannot be written: No space left on device\n"


def test_a_disk_that_becomes_full_within_a_part_is_said_too(long_log: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [*DECODE, str(long_log), *map(str, databases())],
            stdout=out, stderr=subprocess.PIPE, check=False, preexec_fn=limit,
            env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    assert done.returncode == 1
    assert b"cannot be written: File too large" in done.stderr


def test_a_closed_standard_output_is_said(log: Path) -> None:
    command = shlex.join([*DECODE, str(log), *map(str, databases())])
    done = subprocess.run(["sh", "-c", f"{command} >&-"], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: what is decoded cannot be written: standard output is closed\n"


def mind_ctrl_c() -> None:
    """As a shell's foreground does: what runs these tests may itself run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def decoding_stalled(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that has written some of a log, and waits for somebody to read it."""
    command = [*DECODE, *map(str, [log] * 4), *map(str, databases())]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=mind_ctrl_c,  # noqa: PLW1509 - there are no threads
    ) as process:
        assert process.stdout is not None
        assert b"can_frame" in process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    """In the order in which they were started: first the one that reads, then those that decode."""
    return sorted(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))


def are_gone(processes: list[int]) -> bool:
    return not any(Path(f"/proc/{one}").exists() for one in processes)


@pytest.mark.parametrize(("which", "said"), [(0, "that reads the logs"), (1, "that decodes")])
def test_a_process_that_is_killed_is_no_silent_end_of_the_log(long_log: Path, which: int, said: str) -> None:
    with decoding_stalled(long_log) as process:
        children = children_of(process)
        os.kill(children[which], signal.SIGKILL)
        text, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert f"process {said} has ended" in errors.decode()
        assert are_gone(children)
    if which == 0:
        # What had been read is there, to the end of a line.
        assert text.endswith(b"}\n")


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_once_the_command_is_killed(long_log: Path, with_signal: signal.Signals) -> None:
    with decoding_stalled(long_log) as process:
        children = children_of(process)
        process.send_signal(with_signal)
        process.wait(timeout=60)
        # Nobody has read on: they end though they are in the middle of a line.
        eventually(lambda: are_gone(children), "the helpers end with the command")


def test_ctrl_c_ends_all_of_it(long_log: Path) -> None:
    with decoding_stalled(long_log) as process:
        children = children_of(process)
        # As a terminal does: to all of the foreground.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert errors.decode() == "interrupted\n"
        assert are_gone(children)


def test_what_runs_in_the_background_does_not_mind_ctrl_c(long_log: Path) -> None:
    command = [*DECODE, str(long_log), *map(str, databases())]
    script = f"trap '' INT; exec {shlex.join(command)}"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        assert len((first + process.stdout.read()).splitlines()) == LONG_FRAMES
    assert process.returncode == 0


def test_a_reader_that_has_seen_enough_ends_it_quietly(log: Path) -> None:
    log.write_bytes(log.read_bytes() * 5)
    with subprocess.Popen(
        [*map(str, installed_command("edge-agent")), "decode", log, *databases()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"can_frame" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_terminal_sees_how_far_it_is_unless_the_lines_go_there_too(log: Path) -> None:
    frames = len(log.read_text().splitlines())
    command = [*map(str, installed_command("edge-agent")), "decode", str(log), *map(str, databases())]
    assert f"100%  {frames:,} frames decoded" in on_terminal([*command], lines_too=False)
    assert "frames decoded" not in on_terminal([*command], lines_too=True)
    assert "frames decoded" not in edge_agent("decode", log, *databases()).stderr


def on_terminal(command: list[str], *, lines_too: bool) -> str:
    """What a command shows on a terminal, which has its standard output too or not."""
    ours, theirs = pty.openpty()
    shown = bytearray()
    with subprocess.Popen(
        command, stdout=theirs if lines_too else subprocess.DEVNULL, stderr=theirs, close_fds=True
    ) as process:
        os.close(theirs)
        # Linux ends a terminal that nobody has open any more with EIO.
        with contextlib.suppress(OSError):
            while some := os.read(ours, 65536):
                shown += some
    os.close(ours)
    assert process.returncode == 0
    return shown.decode()


def test_errors_are_one_sentence(tmp_path: Path, log: Path) -> None:
    wrong: list[tuple[list[str | Path], str]] = [
        (["decode", log, "--dbc", tmp_path / "missing.dbc"], "missing.dbc"),
        (["decode", tmp_path / "missing.log", "--dbc", DATABASES[0]], "missing.log"),
        (["decode", log, "--dbc", *DATABASES[:2]], "a database, not a log: each one needs its own --dbc"),
    ]
    for arguments, said in wrong:
        done = edge_agent(*arguments)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_lint_finds_nothing_wrong_with_our_own_databases_and_names_what_is_wrong_elsewhere(
    tmp_path: Path,
) -> None:
    ours = edge_agent("dbc", "lint", *DATABASES)
    assert ours.returncode == 0
    assert all(": info: " in line for line in ours.stdout.splitlines())
    broken = tmp_path / "broken.dbc"
    broken.write_text(
        'VERSION ""\nBO_ 256 Good: 8 Vector__XXX\n SG_ A : 0|8@1+ (1,0) [0|0] "" Vector__XXX\n'
        "\nBO_ nonsense\n"
    )
    found = edge_agent("dbc", "lint", broken)
    assert found.returncode == 1
    assert f"{broken}:5: error" in found.stdout
