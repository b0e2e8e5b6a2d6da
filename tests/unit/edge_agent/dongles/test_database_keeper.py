"""Databases are loaded when told to, once for all dongles that name the same, and while all else goes on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from can_stream.databases.configured import ConfiguredDatabases
from can_stream.databases.options import DatabaseOptions
from edge_agent.config.dongle import DongleSection
from edge_agent.dongles.database_keeper import DatabaseKeeper
from tests.helpers.agent_parts import AgentParts, log_section
from tests.helpers.conditions import Gathered, running

DBC = Path(__file__).resolve().parents[4] / "dbc" / "demo-vehicle.dbc"
Used = tuple[str, ConfiguredDatabases | None]


class Kept:
    """A keeper, and whom it tells what."""

    def __init__(self, sections: Sequence[DongleSection]) -> None:
        self.dongles = AgentParts(sections).dongles
        self.used: Gathered[Used] = Gathered()
        self.done: Gathered[int] = Gathered()
        self.keeper = DatabaseKeeper(
            self.dongles,
            lambda dongle, databases: self.used.append((dongle.dongle_id, databases)),
            lambda: self.done.append(len(self.used)),
        )


async def test_each_dongle_gets_its_own_in_their_order_and_then_they_are_known(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.dbc")
    sections = [
        log_section("van7-a", databases=[str(DBC)]),
        log_section("van7-b"),
        log_section("van7-c", databases=[missing]),
        log_section("van7-d", databases=[str(DBC)]),
    ]
    kept = Kept(sections)
    async with running(kept.keeper.run()):
        await kept.done.until(1)
        assert kept.keeper.known.is_set()
    assert kept.done == [4], "when all have theirs"
    found = dict(kept.used)
    assert list(found) == ["van7-a", "van7-b", "van7-c", "van7-d"]
    assert found["van7-a"] is not None
    assert found["van7-a"].files == (DBC,)
    assert found["van7-d"] is found["van7-a"], "loaded once"
    assert found["van7-b"] is None
    assert found["van7-c"] is not None
    assert found["van7-c"].table is None
    assert found["van7-c"].problems == (f"no file matches {missing}",)


async def test_the_same_files_are_another_table_where_something_else_is_said_of_them(tmp_path: Path) -> None:
    path = tmp_path / "n2k.dbc"
    path.write_text('BO_ 2582713086 Heading: 8 A\n SG_ sid : 0|8@1+ (1,0) [0|255] "" A\n')
    told = [DatabaseOptions("n2k*", protocol="j1939")]
    plain = log_section("van7-a", databases=[str(path)])
    kept = Kept([plain, log_section("van7-b", databases=[str(path)], database_options=told)])
    async with running(kept.keeper.run()):
        await kept.done.until(1)
    by_group = [found.table.messages[0].by_pgn for _, found in kept.used if found and found.table]
    assert by_group == [False, True]


async def test_nothing_is_loaded_again_until_it_is_told_to(tmp_path: Path) -> None:
    database = tmp_path / "vehicle.dbc"
    kept = Kept([log_section(databases=[str(tmp_path / "*.dbc")])])
    async with running(kept.keeper.run()):
        await kept.done.until(1)
        shutil.copy(DBC, database)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(kept.used) == 1
        kept.keeper.load_again()
        await kept.done.until(2)
        (dongle,) = kept.dongles
        dongle.section = replace(dongle.section, databases=[])
        kept.keeper.load_again()
        await kept.done.until(3)
    first, second, third = (databases for _, databases in kept.used)
    assert first is not None
    assert first.table is None
    assert second is not None
    assert second.files == (database,)
    assert third is None, "what its section says now counts"


async def test_what_is_told_while_it_loads_is_loaded_behind_it(tmp_path: Path) -> None:
    kept = Kept([log_section(databases=[str(tmp_path / "none.dbc")])])
    async with running(kept.keeper.run()):
        await asyncio.sleep(0)  # it has begun
        kept.keeper.load_again()
        kept.keeper.load_again()
        await kept.done.until(2)
        for _ in range(10):
            await asyncio.sleep(0)
    assert kept.done == [1, 2]


async def test_the_event_loop_goes_on_meanwhile() -> None:
    kept, turns = Kept([log_section(databases=[str(DBC)])]), 0
    async with running(kept.keeper.run()):
        while not kept.done:
            turns += 1
            await asyncio.sleep(0.001)
    assert turns > 5
