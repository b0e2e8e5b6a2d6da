"""Names of their own for signals that bear the same one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from can_stream.databases.lint import lint
from can_stream.databases.loading import load_databases
from can_stream.databases.naming import numbered
from can_stream.frames.batches import FrameBatch
from can_stream.signals.evaluate import decode
from can_stream.signals.model import MessageModel, SignalModel
from can_stream.text.frame_json import FrameOrigin
from can_stream.text.signals_json import JsonLines, frame_members
from edge_agent.simulation.messages import simulated_messages
from tests.helpers.cantools_oracle import frames_of

SYM: Final = Path(__file__).parents[3] / "data" / "databases" / "names_under_two_multiplexers.sym"
TWICE: Final = (
    'BO_ 256 M: 8 A\n SG_ Speed : 16|8@1+ (1,0) [0|50] "" A\n SG_ Speed : 0|16@1+ (1,0) [0|9] "" A\n'
    ' SG_ Other : 32|8@1+ (1,0) [0|0] "" A\n'
)


def named(*signals: SignalModel) -> list[str]:
    message = MessageModel("M", 1, False, False, 8, signals)
    return [signal.name for signal in numbered(message, lambda index: index)[0].signals]


def test_both_values_of_a_name_are_shown_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "twice.dbc"
    path.write_text(TWICE)
    table = load_databases([path]).table
    frame: FrameBatch = frames_of([(256, False, bytes.fromhex("3412560007"))])
    decoded = decode(table, frame)
    values = {"Speed": 0x56, "Speed#2": 0x1234, "Other": 7}
    assert decoded.values_of(0) == values
    assert b'"Speed#2":4660' in frame_members(decoded, 0)
    line = JsonLines(table).lines(decoded, frame, FrameOrigin(None, "can0"), count=None)
    assert b'"Speed":86' in line
    assert b'"Speed#2":4660' in line
    (said,) = [finding for finding in lint([path]) if finding.code == "duplicate_signal"]
    assert (said.line, said.message) == (3, "M.Speed exists more than once: this one is shown as Speed#2")
    (made,), _ = simulated_messages([path])
    limits = dict(zip((signal.name for signal in made.model.signals), made.limits, strict=True))
    assert limits == {"Speed": (0, 50), "Speed#2": (0, 9), "Other": (None, None)}


def test_names_that_are_never_there_together_stay_and_no_name_is_taken_twice() -> None:
    selector = SignalModel("S", 0, 8)
    first, second = (SignalModel("A", 8, 8, selector=0, ranges=((at, at),)) for at in (1, 2))
    always = SignalModel("A", 16, 8)
    assert named(selector, first, second) == ["S", "A", "A"]
    assert named(selector, first, second, always) == ["S", "A", "A", "A#2"]
    assert named(always, always, SignalModel("A#2", 24, 8), always) == ["A", "A#3", "A#2", "A#4"]


def test_a_sym_file_has_its_lines_and_one_finding_for_a_range_of_ids() -> None:
    found = lint([SYM])
    assert [(f.line, f.message) for f in found if f.code == "duplicate_message"] == [
        (40, "RangeMsg is the message of 16 ids: their values bear the same names")
    ]
    assert {f.line for f in found if f.code in ("overlap", "outside_message")} == {30, 31, 32}
    assert not [f for f in found if f.code == "duplicate_signal"], "its multiplexer picks one of them"


def test_what_is_wrong_with_a_message_of_many_ids_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "range.sym"
    path.write_text(
        'FormatVersion=6.0 // Do not edit this line!\nTitle="x"\n\n{SEND}\n\n[M]\nID=300h-30Fh\nLen=1\n'
        "Var=P unsigned 0,8\nVar=Q unsigned 4,8\n"
    )
    assert [(f.code, f.line) for f in lint([path]) if f.code != "loaded"] == [
        ("outside_message", 10),
        ("overlap", 10),
        ("duplicate_message", 6),
    ]


def test_a_sym_file_that_ends_within_a_line_may_be_cut(tmp_path: Path) -> None:
    path = tmp_path / "cut.sym"
    text = 'FormatVersion=6.0 // Do not edit this line!\nTitle="x"\n\n{SEND}\n\n[M]\nID=300h\nLen=1\n'
    for last, codes in (("Var=P unsigned 0,8 /f:0.0", ["open_end"]), ("Var=P unsigned 0,8 /f:0.01\n", [])):
        path.write_text(text + last)
        found = [finding for finding in lint([path]) if finding.code != "loaded"]
        assert [finding.code for finding in found] == codes
        assert all(finding.line == 9 for finding in found)
