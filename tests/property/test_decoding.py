"""Any layout decodes as plain integer arithmetic says; any bytes make a table or TableError; any text loads

in part or not at all, and what loads decodes as cantools does.
"""

from __future__ import annotations

import math
import random
import re
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from can_stream.databases.lint import lint
from can_stream.databases.loading import load_databases
from can_stream.errors import DatabaseError
from can_stream.frames.batches import FD_LENGTHS
from can_stream.signals.changes import ChangeFilter
from can_stream.signals.errors import TableError
from can_stream.signals.evaluate import decode
from can_stream.signals.exact import raw_of, scaled
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from can_stream.signals.table import SignalTable, read_table
from tests.helpers.cantools_oracle import compare, frames_of, load_both, random_data

FACTORS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-10, 10),
    st.floats(allow_nan=False),
    st.sampled_from([0.1, 0.5, -0.25, 1.0, 2.0, 1e300]),
)


@st.composite
def signals(draw: st.DrawFn, name: str) -> SignalModel:
    encoding = draw(st.sampled_from(Encoding))
    length = draw(st.sampled_from([16, 32, 64]) if encoding is Encoding.FLOAT else st.integers(1, 70))
    return SignalModel(
        name,
        draw(st.integers(0, 140)),
        length,
        draw(st.booleans()),
        encoding,
        draw(st.one_of(st.just(1), FACTORS)),
        draw(st.one_of(st.just(0), FACTORS)),
    )


@st.composite
def messages(draw: st.DrawFn) -> MessageModel:
    placed: list[SignalModel] = []
    for at in range(draw(st.integers(0, 6))):
        signal = draw(signals(f"S{at}"))
        able = [-1, *(i for i in range(at) if can_select(placed[i]))]
        selector = draw(st.sampled_from(able))
        ranges = draw(st.lists(st.tuples(st.integers(-3, 9), st.integers(0, 5)), min_size=1, max_size=3))
        spans = tuple((first, first + more) for first, more in ranges) if selector >= 0 else ()
        fields = {field: getattr(signal, field) for field in signal.__struct_fields__}
        placed.append(SignalModel(**{**fields, "selector": selector, "ranges": spans}))
    return MessageModel("M", 1, False, False, 20, tuple(placed))


def can_select(signal: SignalModel) -> bool:
    return signal.encoding is not Encoding.FLOAT and signal.length <= 64


def by_hand(message: MessageModel, data: bytes) -> tuple[dict[str, int | float], set[str]]:
    """Values and undecodable signals of one frame, one signal after the other."""
    values: dict[str, int | float] = {}
    lost: set[str] = set()
    for signal in message.signals:
        if signal.selector >= 0:
            above = message.signals[signal.selector]
            if above.name in lost:
                lost.add(signal.name)
                continue
            if above.name not in values:
                continue
            raw = raw_of(above, data)
            siblings = [other for other in message.signals if other.selector == signal.selector]
            if not any(first <= raw <= last for other in siblings for first, last in other.ranges):
                lost.add(signal.name)
                continue
            if not any(first <= raw <= last for first, last in signal.ranges):
                continue
        if signal.needed_bytes > len(data):
            lost.add(signal.name)
        else:
            values[signal.name] = scaled(signal, raw_of(signal, data))
    return values, lost


def same(mine: object, other: object) -> bool:
    if isinstance(mine, float) and isinstance(other, float) and math.isnan(mine):
        return math.isnan(other)
    return type(mine) is type(other) and repr(mine) == repr(other)


@given(messages(), st.lists(st.binary(max_size=64), min_size=1, max_size=20))
@settings(deadline=None)
def test_every_layout_decodes_as_integer_arithmetic_says(message: MessageModel, data: list[bytes]) -> None:
    table = SignalTable([message])
    # An even byte more makes more multiplexer values that exist.
    payloads = [payload[: max(size for size in FD_LENGTHS if size <= len(payload))] for payload in data]
    payloads += [bytes(byte % 8 for byte in payload) for payload in payloads]
    decoded = decode(table, frames_of([(1, False, payload) for payload in payloads]))
    for row, payload in enumerate(payloads):
        values, lost = by_hand(message, payload)
        ours = decoded.values_of(row)
        assert ours.keys() == values.keys()
        assert all(same(ours[name], value) for name, value in values.items())
        assert set(decoded.undecoded_of(row)) == lost
    assert ChangeFilter(table).changed(decoded).tolist().count(True) >= len(set(decoded.signal.tolist()))
    assert read_table(table.to_bytes()).hash == table.hash


@given(st.binary(max_size=300))
def test_any_bytes_make_a_table_or_the_documented_error(data: bytes) -> None:
    for candidate in (data, b"SIGT" + data, b"SIGT" + zlib.compress(data)):
        with suppress(TableError):
            decode(read_table(candidate), frames_of([(1, False, data[:8])]))


@given(messages(), st.integers(0, 2**32), st.integers(1, 4))
@settings(deadline=None)
def test_damaged_tables_decode_or_are_refused(message: MessageModel, seed: int, edits: int) -> None:
    dice = random.Random(seed)
    plain = bytearray(zlib.decompress(SignalTable([message]).to_bytes()[4:]))
    for _ in range(edits):
        plain[dice.randrange(len(plain))] = dice.randrange(256)
    try:
        table = read_table(b"SIGT" + zlib.compress(bytes(plain)))
    except TableError:
        return
    decoded = decode(table, frames_of([(1, False, dice.randbytes(64)), (1, False, dice.randbytes(3))]))
    assert len(list(decoded.rows())) == 2


SAMPLE = """VERSION ""
NS_ :
\tCM_
\tBA_DEF_
BU_: ECU
BO_ 256 Engine: 8 ECU
 SG_ Speed : 0|16@1+ (0.25,0) [0|16000] "rpm" ECU
 SG_ Temp : 23|8@0- (1,-40) [-40|215] "degC" ECU
BO_ 2566844926 Modes: 8 ECU
 SG_ Mode M : 0|4@1+ (1,0) [0|15] "" ECU
 SG_ First m0 : 8|16@1+ (2,1) [0|0] "" ECU
 SG_ Second m1 : 8|32@1- (1,0) [0|0] "" ECU
BO_ 512 Deep: 8 ECU
 SG_ Outer M : 0|4@1+ (1,0) [0|15] "" ECU
 SG_ Inner m1M : 4|4@1+ (1,0) [0|15] "" ECU
 SG_ Leaf m2 : 8|16@1+ (1,0) [0|0] "" ECU
 SG_ Other m3 : 8|16@0+ (1,0) [0|0] "" ECU
 SG_ Real : 32|32@1- (1,0) [0|0] "" ECU
CM_ SG_ 256 Speed "the crankshaft's";
BA_DEF_ "ProtocolType" STRING ;
BA_DEF_DEF_ "ProtocolType" "";
BA_ "ProtocolType" "J1939";
VAL_ 2566844926 Mode 0 "Off" 1 "On" ;
SIG_VALTYPE_ 2566844926 Second : 1;
SIG_VALTYPE_ 512 Real : 1;
SG_MUL_VAL_ 2566844926 Second Mode 1-2, 5-7;
SG_MUL_VAL_ 512 Inner Outer 1-1;
SG_MUL_VAL_ 512 Leaf Inner 2-2, 4-4;
SG_MUL_VAL_ 512 Other Outer 3-3;
"""


KCD_SAMPLE = """<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0">
<Document name="n"/><Node id="1" name="Motor"/>
<Bus name="Main">
<Message id="0x010" name="Status" length="8">
<Signal name="Speed" offset="0" length="16"><Value slope="0.25" intercept="-4" unit="rpm"/></Signal>
<Signal name="Temp" endianess="big" offset="16" length="8"><Value type="signed"/></Signal>
<Multiplex name="Mode" offset="28" length="4">
<MuxGroup count="0"><Signal name="First" offset="32" length="16"/></MuxGroup>
<MuxGroup count="1"><Signal name="Second" offset="32" length="32"><Value type="single"/></Signal></MuxGroup>
</Multiplex>
</Message>
<Message id="0x12345" name="Control" format="extended" length="2">
<Signal name="State" offset="0" length="8"><LabelSet><Label name="On" value="1"/></LabelSet></Signal>
</Message>
</Bus>
</NetworkDefinition>
"""
SYM_SAMPLE = """FormatVersion=6.0 // Do not edit this line!
Title="sample"

{ENUMS}
Enum=VtState(0="Off", 1="On")

{SIGNALS}
Sig=Speed unsigned 16 /u:rpm /f:0.25 /o:-4
Sig=Temp signed 8 -m
Sig=State unsigned 8 /e:VtState
Sig=Real float

{SEND}

[Status]
ID=010h
Len=8
Sig=Speed 0
Sig=Temp 16
Sig=Real 32

[Control]
Type=Extended
ID=00012345h
Len=2
Sig=State 0
"""


@st.composite
def damaged(draw: st.DrawFn, text: str = SAMPLE) -> str:
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text) - 1))
        size = draw(st.integers(0, 12))
        put = draw(st.one_of(st.text('0123456789-+.:|@()[]",;mM \n', max_size=4), st.text(max_size=3)))
        text = text[:at] + put + text[at + size :]
    return text


PYTHON_WORDS = re.compile(
    r"index out of range|invalid literal|could not convert|object has no|NoneType|not subscriptable|unpack"
    r"|positional argument|codec can't|Error\b|Traceback"
)
DAMAGED = st.one_of(
    st.tuples(st.just("dbc"), damaged()),
    st.tuples(st.just("dbc"), damaged()),
    st.tuples(st.just("kcd"), damaged(KCD_SAMPLE)),
    st.tuples(st.just("sym"), damaged(SYM_SAMPLE)),
)


@pytest.mark.parametrize(("suffix", "text"), [("dbc", SAMPLE), ("kcd", KCD_SAMPLE), ("sym", SYM_SAMPLE)])
def test_what_is_damaged_below_is_right_before(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"sample.{suffix}"
    path.write_text(text)
    assert {finding.code for finding in lint([path])} == {"loaded"}
    assert len(meanings(path)) >= 4


@given(DAMAGED, st.integers(0, 2**32))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_database_loads_in_part_or_says_where_and_why(file: tuple[str, str], seed: int) -> None:
    suffix, text = file
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"damaged.{suffix}"
        path.write_text(text, encoding="utf-8", newline="")
        findings = lint([path])
        assert findings
        assert all(1 <= finding.line <= text.count("\n") + text.count("\r") + 1 for finding in findings)
        assert not [finding for finding in findings if PYTHON_WORDS.search(finding.message)]
        if any(finding.code == "not_loaded" for finding in findings):
            with pytest.raises(DatabaseError) as caught:
                load_databases([path])
            assert (caught.value.path, bool(caught.value.reason)) == (path, True)
            return
        assert any(finding.code == "loaded" for finding in findings)
        dice = random.Random(seed)
        table, database = load_both(path)
        known = {(m.frame_id, m.is_extended_frame): m for m in database.messages}
        rows = [(m, random_data(m, dice)) for m in known.values() if m.length <= 64 for _ in range(4)]
        # Where ours is another value on purpose, and where cantools has none that can be compared.
        unusual = {finding.code for finding in findings} & {
            "unsupported", "duplicate_signal", "overlap", "scaled_multiplexer", "not_finite",
        }  # fmt: skip
        if rows and not unusual:
            assert compare(table, rows)[2] == []


SIGN = "\N{SECTION SIGN}"


@st.composite
def scarred(draw: st.DrawFn) -> str:
    """The sample with signs that stand nowhere in a DBC, with lines run together, with lines cut off."""
    # What a line was cannot be told from less than two letters of it, nor that there was one at all.
    kept = [line[: max(draw(st.integers(0, len(line))), 3)] + SIGN for line in SAMPLE.split("\n")]
    cut = draw(st.sets(st.integers(0, len(kept) - 1), max_size=1))
    text = "\n".join(kept[at] if at in cut else line for at, line in enumerate(SAMPLE.split("\n")))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text) - 1))
        if draw(st.booleans()):
            text = text[:at] + SIGN + text[at:]
        else:
            text = text[:at] + text[at:].replace("\n", " ", 1)
    return text


def meanings(path: Path) -> dict[tuple[int, str], list[object]]:
    """What decides the value of every signal, its multiplexers included."""
    found: dict[tuple[int, str], list[object]] = {}
    for message in load_databases([path]).table.messages:
        for signal in message.signals:
            at, chain = signal, found.setdefault((message.arbitration_id, signal.name), [])
            while True:
                chain += [at.start, at.length, at.big_endian, at.encoding, at.scale, at.offset, at.ranges]
                if at.selector < 0:
                    break
                at = message.signals[at.selector]
    return found


@st.composite
def switches(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """A message of six signals with any marks, any SG_MUL_VAL_; the marks of the signals."""
    names = [f"S{at}" for at in range(6)]
    marks = {name: draw(st.sampled_from(["", "M", "m0", "m1", "m0M", "m1M", "m300", "mx"])) for name in names}
    lines = ["BU_: A", "BO_ 1 Any: 8 A"]
    lines += [
        f' SG_ {name} {mark} : {8 * at}|8@1+ (1,0) [0|0] "" A'
        for at, (name, mark) in enumerate(marks.items())
    ]
    some = st.sampled_from([*names, "S9"])
    for _ in range(draw(st.integers(0, 5))):
        first, last = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        lines.append(f"SG_MUL_VAL_ 1 {draw(some)} {draw(some)} {first}-{last};")
    return "\n".join([*lines, ""]), marks


@given(switches())
@settings(deadline=None)
def test_a_signal_that_is_picked_by_something_is_never_one_that_is_always_there(
    file: tuple[str, dict[str, str]],
) -> None:
    text, marks = file
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "switches.dbc"
        path.write_text(text)
        (message,) = load_databases([path]).table.messages
        for signal in message.signals:
            is_picked = signal.selector >= 0
            assert is_picked or marks[signal.name] in ("", "M", "mx"), text
            assert not is_picked or marks[message.signals[signal.selector].name].endswith("M")
        aside = {finding.code for finding in lint([path])} & {"set_aside", "unreachable", "multiplexing"}
        assert len(message.signals) == len(marks) or aside


@given(scarred())
@settings(deadline=None)
def test_what_is_left_of_a_damaged_database_means_what_it_meant(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "sample.dbc"
        path.write_text(SAMPLE)
        whole = meanings(path)
        path.write_text(text, encoding="utf-8")
        with suppress(DatabaseError):
            for signal, meaning in meanings(path).items():
                assert meaning == whole[signal]


@given(st.sampled_from(["dbc", "kcd", "sym", "arxml", "txt"]), st.binary(max_size=400))
@settings(deadline=None)
def test_any_bytes_are_a_database_or_the_documented_error(suffix: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"any.{suffix}"
        path.write_bytes(data)
        codes = {finding.code for finding in lint([path])}
        assert ("loaded" in codes) != ("not_loaded" in codes)
