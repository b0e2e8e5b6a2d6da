"""Logs that other tools write and that are not read: known by a line, so that the refusal can say the remedy.

Public sources: the tools' own files, as SavvyCAN's source (collin80/SavvyCAN) quotes and reads them.
"""

from __future__ import annotations

import re
from typing import Final

_BY_SAVVYCAN: Final = "load it into SavvyCAN and save it as GVRET Logs (.csv)"

_FOREIGN: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), what, remedy)
    for pattern, what, remedy in (
        (
            rb'"?Time"?,"?Bus"?,"?Type"?,"?ID"?,"?Rx/Tx',
            "a CSV export of PCAN-Explorer",
            "save the trace as .trc",
        ),
        (
            rb"Time,Channel,ID,Flags,DLC,Data",
            "a CSV log of Kvaser's tools",
            "convert it to Vector ASC (.asc)",
        ),
        (rb"Chn\s+Identifier\s+Flg", "a text log of Kvaser CanKing", "log in Vector ASC (.asc) instead"),
        (
            rb"# Logger type:\s*CL\d|Timestamp;Type;ID;Data",
            "a log of a CL1000, CL2000 or CL3000",
            _BY_SAVVYCAN,
        ),
        (rb"Time\s+ID\s+DLC\s+Data\b", "a trace of CANHacker", _BY_SAVVYCAN),
        (
            rb"TimestampEpoch;BusChannel;ID;",
            "a CSV made from a log of a CANedge or CANmod",
            "name the MF4 file that it was made from",
        ),
        (
            rb'"?No\."?[,\s]\s*"?Time"?[,\s]\s*"?Source"?[,\s]\s*"?Destination"?',
            "a list of packets that Wireshark exports",
            "save the capture itself (.pcapng)",
        ),
        (
            rb"SQLite format 3\0",
            "an SQLite database, as python-can records",
            "convert it, as in `python -m can.logconvert drive.db drive.log`",
        ),
        (
            rb'\{"type":"can_frame"|ts,bus,id,message,signal,value,raw,unit\s*$',
            "what edge-agent prints",
            "name the log that it was printed from",
        ),
        (rb'Vehicle Spy|"?Line"?,"?Abs Time\(Sec\)', "a CSV export of Vehicle Spy", _BY_SAVVYCAN),
        (rb'"?ASCII Trace IXXAT', "a trace of an IXXAT tool", "export it as Vector ASC (.asc)"),
        (rb'"?Time ?\[s\]"?[,;\t]', "a CSV export of CANalyzer or CANoe", "log to .asc or .blf instead"),
        (rb"time,addr,bus,data\s*$", "a CSV of cabana", _BY_SAVVYCAN),
        (rb"ID,Data Bytes\s*$", "SavvyCAN's generic CSV, which has no times", "save it as GVRET Logs (.csv)"),
        (
            rb"[tr](?:[0-9a-f]{3}|[0-9a-f]{8})[0-8](?:[0-9a-f]{2})*\s*$",
            "what a Lawicel (slcan) adapter sends",
            "name the adapter with slcand and record with candump -l",
        ),
    )
)


def foreign_format(line: bytes) -> str | None:
    """The sentence that refuses the log that has this line; None where nothing is known by it."""
    text = line.strip()
    for pattern, what, remedy in _FOREIGN:
        if pattern.match(text):
            return f"{what}, which is not read: {remedy}"
    return None
