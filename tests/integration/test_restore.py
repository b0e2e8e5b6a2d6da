"""The restore drill of docs/operations.md, word for word, on a real server that an agent streams to."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.helpers.agents import recorded_frames, wait_for_recorded
from tests.helpers.candump_logs import write_log
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
DONGLE: Final = "van7-can0"


def drill() -> list[str]:
    """The commands of the page, without those for a service manager."""
    _, _, section = PAGE.read_text().partition("### Restore")
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    lines = [line.partition(" #")[0].strip() for line in block[1].splitlines()]
    return [line.replace("sudo ", "") for line in lines if "systemctl" not in line]


def audited(server: StreamServer) -> list[dict[str, Any]]:
    records = server.read_json("/api/v1/audit", server.create_token("admin"))["records"]
    return [record for record in records if record["action"] == "storage.restored"]


def test_what_a_backup_holds_is_there_again_and_agents_go_on(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup.sqlite3"
    with StreamServer(data) as server:
        agent, viewer = EnrolledAgent(server, "van7", tmp_path), server.create_token()
        with agent.replay(write_log(tmp_path / "one.log", 2000, 1000), options=["--speed", "max"]) as replay:
            replay_summary(replay)
        server.administer("backup", backup)
        assert not audited(server), "the server itself is no copy"
        with agent.replay(write_log(tmp_path / "two.log", 500, 1000), options=["--speed", "max"]) as replay:
            replay_summary(replay)
        assert recorded_frames(server, DONGLE, viewer) == 2500
        server.process.kill()
        script = "\n".join(drill()).replace("/var/lib/stream-server", str(data))
        script = script.replace("/backups/stream-server.backup", str(backup))
        subprocess.run(["sh", "-e", "-x", "-c", script], check=True)
        server.start()
        assert recorded_frames(server, DONGLE, viewer) == 2000
        (record,) = audited(server)
        assert record["after"]["backup_of"].startswith("20")
        assert "this is what a backup of" in server.process.errors
        with agent.replay(tmp_path / "two.log", options=["--speed", "max"]) as replay:
            replay_summary(replay)
        wait_for_recorded(server, DONGLE, viewer, 2500)
        server.restart()
        assert len(audited(server)) == 1, "it is told once"
