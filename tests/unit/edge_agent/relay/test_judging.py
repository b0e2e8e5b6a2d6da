"""Which frames may go, and why the others never will."""

from __future__ import annotations

from msgspec.structs import replace

from can_stream.frames.batches import FrameFlag, batch_of
from can_stream.protocol.relay_control import Totals
from edge_agent.config.transmit import AllowEntry, RelaySection, ReplayRule
from edge_agent.relay.bus_facts import BusFacts
from edge_agent.relay.judging import Fate, Judge, Judged
from edge_agent.relay.waiting import Rows, WaitingItem
from edge_agent.transmit.policy import RelayPolicy, TargetBus

SECOND = 10**9
NOW = 100 * SECOND
TX, ERROR, FD = int(FrameFlag.TX), int(FrameFlag.ERROR), int(FrameFlag.FD)
ALL = RelaySection(
    transmit="all", max_age_seconds=2, policy=[ReplayRule(1, "never"), ReplayRule(2, "latest")]
)
UP = BusFacts(TargetBus(listen_only=False, fd=False), "bus")


def item(position: int, *frames: tuple[int, int], age: float | None = 0.5, fresh: bool = True) -> WaitingItem:
    rows = batch_of([(0, one, flags, 0, b"") for one, flags in frames])
    born_ns = None if age is None else NOW - int(age * SECOND)
    return WaitingItem("00" * 8, position, rows, born_ns, fresh)


def judge(*head: WaitingItem, bus: BusFacts = UP, section: RelaySection = ALL, behind: int = 0) -> Judged:
    judged = Judge(RelayPolicy(section), lambda item: not item.fresh)
    return judged.judge(head[: len(head) - behind], head[len(head) - behind :], bus, NOW)


def fates(*head: WaitingItem, bus: BusFacts = UP, section: RelaySection = ALL) -> list[Fate]:
    return judge(*head, bus=bus, section=section).fates


def test_each_row_has_one_fate() -> None:
    rows = [(3, 0), (3, TX), (3, ERROR), (1, 0), (3, FD)]
    assert fates(item(0, *rows)) == ["may_go", "no_part", "no_part", "never", "unsupported"]


def test_own_echoes_and_error_frames_are_in_no_count_whatever_else_they_are() -> None:
    rows = [(3, TX), (3, ERROR)]
    for one in (item(0, *rows, fresh=False), item(0, *rows, age=9), item(0, *rows, age=None)):
        judged = judge(one)
        assert judged.fates == ["no_part", "no_part"]
        assert judged.refused(2) == (2, Totals())


def test_an_age_that_is_not_known_or_lies_ahead_is_too_old() -> None:
    assert fates(item(0, (3, 0), age=None)) == ["too_old"]
    assert fates(item(0, (3, 0), age=-0.1)) == ["too_old"]
    assert fates(item(0, (3, 0), age=2.0), item(1, (3, 0), age=2.01)) == ["may_go", "too_old"]


def test_what_somebody_may_have_sent_is_in_doubt_and_no_newer_value() -> None:
    assert fates(item(0, (2, 0)), item(1, (2, 0), fresh=False)) == ["may_go", "in_doubt"]
    assert fates(item(0, (2, 0)), item(1, (2, TX))) == ["may_go", "no_part"]
    assert fates(item(0, (2, 0)), item(1, (2, 0))) == ["superseded", "may_go"]


def test_what_waits_behind_the_head_supersedes_too() -> None:
    assert judge(item(0, (2, 0)), item(1, (2, 0)), behind=1).fates == ["superseded"]


def test_what_comes_from_a_log_goes_only_where_the_file_says_so() -> None:
    def log() -> WaitingItem:  # what is found of an item holds for one policy
        return replace(item(0, (3, 0), (1, 0), (3, FD), (3, TX)), from_log=True, rows=Rows())

    assert fates(log(), item(4, (3, 0))) == ["not_allowed", "not_allowed", "unsupported", "no_part", "may_go"]
    assert fates(log(), bus=replace(UP, confirms="none"))[0] == "unconfirmed"
    assert fates(log(), section=replace(ALL, from_logs=True)) == ["may_go", "never", "unsupported", "no_part"]


def test_the_bus_refuses_what_the_policy_does_not() -> None:
    rows = item(0, (3, 0), (1, 0))
    assert fates(rows, bus=replace(UP, asleep=True)) == ["asleep", "never"]
    assert fates(rows, bus=replace(UP, disabled=True)) == ["disabled", "never"]
    assert fates(rows, bus=replace(UP, gate_closed=True)) == ["gate", "never"]
    assert fates(rows, bus=replace(UP, gate_closed=True, disabled=True)) == ["disabled", "never"]
    assert fates(rows, bus=replace(UP, target=TargetBus(listen_only=True, fd=False))) == ["listen_only"] * 2
    assert fates(rows, section=RelaySection()) == ["not_allowed"] * 2


def test_only_what_the_list_names_goes_to_the_bus_of_an_allowlist() -> None:
    section = RelaySection(transmit="allowlist", allow=[AllowEntry("0x3")], max_age_seconds=2)
    assert fates(item(0, (3, 0), (4, 0)), section=section) == ["may_go", "not_allowed"]


def test_where_nothing_confirms_nothing_is_sent_and_a_bus_that_is_away_may_come_back() -> None:
    rows = item(0, (3, 0), (1, 0), (3, FD))
    silent = replace(UP, confirms="none")
    assert fates(rows, bus=silent) == ["unconfirmed", "unconfirmed", "unsupported"]
    assert fates(rows, bus=replace(silent, is_up=False)) == ["may_go", "never", "unsupported"]


def test_a_burst_takes_along_what_never_goes_between_and_behind_its_frames() -> None:
    judged = judge(item(10, (3, 0), (1, 0), (3, 0), (3, TX), (1, 0)), item(20, (4, 0)))
    assert judged.may_go() == [0, 2, 5]
    cut = judged.cut([0, 2])
    assert (cut.positions, cut.through, cut.refused) == ([10, 12], 15, [(11, "never"), (14, "never")])
    assert judged.cut([0]).through == 12
    assert judged.cut([0, 2, 5]).through == 21


def test_what_is_in_doubt_is_in_no_burst() -> None:
    judged = judge(item(0, (3, 0), (1, 0)), item(2, (3, 0), (3, 0), fresh=False), item(4, (3, 0)))
    assert judged.together(judged.may_go()) == [0]
    assert judged.cut([0]).through == 2
    assert judge(item(2, (3, 0), (3, TX), fresh=False)).refused(2) == (4, Totals(in_doubt=1))


def test_from_where_on_it_is_sure_that_nobody_had_it() -> None:
    assert judge(item(0, (3, 0), fresh=False), item(7, (3, 0))).sure_from == 7
    assert judge(item(0, (3, 0), fresh=False)).sure_from is None


def test_what_is_refused_is_told_by_id() -> None:
    judged = judge(item(10, (1, 0), (3, TX), (4, FD), (3, 0), (1, 0)))
    assert judged.told(3) == [(1, "never"), (4, "unsupported")]
    assert judged.cut([3]).refused_ids == [1]


def test_a_look_at_some_rows_says_of_them_what_a_look_at_all_says() -> None:
    head = [item(0, (3, 0), (1, 0), (3, TX)), item(3, (3, 0), (4, FD), (2, 0), age=2.5), item(6, (2, 0))]
    for section in (ALL, RelaySection(transmit="all", max_age_seconds=2)):
        whole = judge(*head, section=section)
        for rows in range(1, 8):
            some = Judge(RelayPolicy(section), lambda item: not item.fresh).judge(head, [], UP, NOW, rows)
            assert some.fates == whole.fates[:rows]
            assert some.positions == whole.positions[:rows]
            assert some.keys == whole.keys[:rows]


def test_a_frame_that_waited_is_judged_as_things_are_at_the_last_moment() -> None:
    """What is known of it from an earlier look is none of age, doubt and how the bus stands."""
    one = item(0, (3, 0), (1, 0), (3, TX), (3, FD))
    doubtful = [False]
    judged = Judge(RelayPolicy(ALL), lambda _: doubtful[0])

    def look(now_ns: int = NOW, bus: BusFacts = UP) -> list[Fate]:
        return judged.judge([one], [], bus, now_ns).fates

    assert look() == ["may_go", "never", "no_part", "unsupported"]
    assert look(bus=replace(UP, disabled=True)) == ["disabled", "never", "no_part", "unsupported"]
    assert look(NOW + 3 * SECOND) == ["too_old", "never", "no_part", "unsupported"]
    fd = TargetBus(listen_only=False, fd=True)
    assert look(bus=replace(UP, target=fd)) == ["may_go", "never", "no_part", "may_go"]
    rest = replace(one, position=3, frames=one.frames[3:])
    assert judged.judge([rest], [], UP, NOW).fates == ["unsupported"]
    assert look(bus=replace(UP, target=replace(fd, listen_only=True)))[:2] == ["listen_only"] * 2
    doubtful[0] = True
    assert look() == ["in_doubt", "in_doubt", "no_part", "in_doubt"]
    doubtful[0] = False
    assert look() == ["may_go", "never", "no_part", "unsupported"]
