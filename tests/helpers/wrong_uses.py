"""Wrong uses of both programs, each with what must be said: the thing that is wrong, and the next step.

A row is the command line (`agent ...` or `server ...`) and parts of the sentence. The files are those of
`write_files`.
"""

# ruff: noqa: E501 - a table, of which each row is a line

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from edge_agent.uplink.enrolled import store_enrolled_id
from stream_server.storage import data_directory

NOWHERE: Final = "http://127.0.0.1:9"  # discard: nobody listens there
UNKNOWN: Final = "https://no-such-host.invalid"
LONG: Final = 300 * "n"  # no file can be called so


class WrongUse(NamedTuple):
    """`parts` of what is said; the first names what is wrong, the others what to do."""

    line: str
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return self.line


def _uses(*rows: tuple[str, ...]) -> list[WrongUse]:
    return [WrongUse(line, tuple(parts)) for line, *parts in rows]


_NO_DIRECTORY: Final = ("there is no directory {home}/typo", "name the directory of a server", "--data-dir")
_NO_DATABASE: Final = ("there is no database in {home}/empty-directory", "--data-dir")

AGENT: Final = _uses(
    # commands and options
    ("agent rnu", "'rnu'", "Did you mean 'run'?"),
    ("agent run --confg good.toml", "'--confg'", "Did you mean '--config'?"),
    ("agent dbc lnit van.dbc", "'lnit'", "Did you mean 'lint'?"),
    ("agent dongles --jsn", "'--jsn'", "Did you mean '--json'?"),
    ("agent completion tcsh", "'tcsh'", "'bash', 'zsh', 'fish'"),
    ("agent install", "--system"),
    ("agent uninstall", "--system"),
    # run
    ("agent run --config typo.toml", "typo.toml: cannot be read: No such file", "name the file with --config"),
    ("agent run --config broken.toml", "broken.toml: line 1, column 8", "Expected ']'"),
    ("agent run --config other-id.toml", "agent.id: is 'van8'", "mine is that of 'van7'", "--agent-id van8 --out {home}/mine`"),
    ("agent run --config no-token.toml", "{home}/nope: no token here", "run `edge-agent enroll --server URL --token-file FILE --out {home}/nope`"),
    ("agent run --config open-token.toml", "others can read this token", "chmod 600 {home}/open"),
    ("agent run --config key.toml", "server.tokenfile: unknown key", "did you mean `token_file`?"),
    # check-config
    ("agent check-config typo.toml", "typo.toml: cannot be read", "--config"),
    ("agent check-config .", ".: cannot be read: Is a directory", "--config"),
    ("agent check-config no-server.toml", "server: is required", 'url = "https://stream.example.com"'),
    ("agent check-config no-url.toml", "server.url: is required", 'url = "https://stream.example.com"'),
    ("agent check-config no-dongles.toml", "dongles: is required", "edge-agent dongles --config"),
    ("agent check-config no-channel.toml", "dongles[0].channel: is required", "edge-agent dongles"),
    ("agent check-config url.toml", "server.url", "must be like https://stream.example.com"),
    ("agent check-config bitrate.toml", "dongles[0].bitrate", "500000"),
    ("agent check-config twice.toml", "dongles[1].id", "name each with `id`"),
    ("agent check-config transmit.toml", "transmit.mode", 'needs `mode = "normal"`'),
    ("agent check-config relay.toml", "relay.max_age_seconds", "is required where `transmit` is not off"),
    ("agent check-config interface.toml", "'sockecan'", "did you mean 'socketcan'?"),
    ("agent check-config database.toml", "dongles[0].databases: no file matches missing.dbc"),
    ("agent check-config log.toml", "dongles[0].channel: {home}/gone.log", "check the name"),
    ("agent check-config ca.toml", "server.ca_file: {home}/ca.pem", "name a PEM file with the server's CA"),
    ("agent check-config other-id.toml", "agent.id: is 'van8'", 'set it to "van7"'),
    # enroll
    ("agent enroll --token-file secret", "'--server'", "--help"),
    (f"agent enroll --server {NOWHERE}", "give the enrolment token", "--token-file"),
    (f"agent enroll --server {NOWHERE} --token-file typo", "typo: there is no such file", "`stream-server enroll create`"),
    (f"agent enroll --server {NOWHERE} --token-file nothing", "nothing: is empty", "`stream-server enroll create`"),
    (f"agent enroll --server {NOWHERE} --token-file words", "words: is not a token", "`stream-server enroll create`"),
    (f"agent enroll --server {NOWHERE} --token-file .", ".: the token cannot be read", "name a file"),
    ("agent enroll --server ftp://x --token-file secret", "URL must be like https://", "check --server"),
    (f"agent enroll --server {NOWHERE} --token-file secret --agent-id 'Van 7'", "'Van 7' is no id", "such as van-7"),
    (f"agent enroll --server {NOWHERE} --token-file secret --out /proc/nope/o", "/proc/nope/o", "name another file with --out"),
    (f"agent enroll --server {NOWHERE} --token-file secret --out empty-directory", "empty-directory", "name another file with --out"),
    (f"agent enroll --server {NOWHERE} --token-file secret --out new/below/token", "cannot be reached", "check the port in --server"),
    (f"agent enroll --server {UNKNOWN} --token-file secret", UNKNOWN, "check"),
    ("agent enroll --server https://127.0.0.1:9 --token-file secret --ca-file typo.pem", "typo.pem", "--ca-file"),
    # replay
    ("agent replay", "LOG", "--help"),
    ("agent replay drive.log", "give exactly one of --server, --to and --print"),
    (f"agent replay drive.log --print --server {NOWHERE}", "give exactly one of --server, --to and --print"),
    ("agent replay typo.log --print", "typo.log: No such file", "check the name of the log"),
    ("agent replay bad.log --print", "bad.log: not a log of a known format", "candump"),
    ("agent replay drive.zip --print", "drive.zip: a ZIP archive", "unpack it with unzip"),
    ("agent replay - --print --loop", "--loop reads a log again", "name a file"),
    (f"agent replay - --server {NOWHERE} --resume place", "--resume reads a log again", "name a file"),
    (f"agent replay - --server {NOWHERE} --token-file -", "standard input is the log or the token", "name a file"),
    ("agent replay - /dev/stdin --print", "standard input can be read once", "name - once"),
    ("agent replay drive.log --print --start-time soon", "'soon' is no time", "2025-01-05T08:00:00"),
    ("agent replay drive.log --print --start-time 3000-01-01", "out of range", "the years 1900 to 2100"),
    (f"agent replay drive.log --server {NOWHERE}", "no token here", "--token-file"),
    ("agent replay drive.log --server nonsense --token-file mine", "--server must be like https://"),
    (f"agent replay drive.log --server {NOWHERE} --token-file typo", "typo: there is no such file", "enroll create"),
    (f"agent replay drive.log --server {NOWHERE} --token-file mine --agent-id van9", "mine is that of 'van7'", "leave --agent-id out"),
    (f"agent replay drive.log --server {NOWHERE} --token-file bare --agent-id 'Van 9'", "'Van 9' is no id", "such as van-9"),
    (f"agent replay drive.log --server {UNKNOWN} --token-file bare --resume place", UNKNOWN, "check"),
    (f"agent replay drive.log --server {UNKNOWN} --token-file secret --resume place", UNKNOWN, "check"),
    (f"agent replay drive.log --server {NOWHERE} --token-file bare --resume no/where", "no/where cannot be written"),
    (f"agent replay drive.log --server {NOWHERE} --token-file mine --resume {LONG}", "cannot be read: File name too long"),
    (f"agent replay drive.log --server {NOWHERE} --token-file secret --ca-file nope", "--ca-file is not used", "Use https://"),
    ("agent replay drive.log --print --resume place", "--resume works with --server only"),
    ("agent replay drive.log --print --speed fast", "'fast'", "max"),
    ("agent replay drive.log --print --id XYZ", "'XYZ' is no arbitration id", "write 7E8"),
    ("agent replay drive.log --print --id 7FF-100", "'7FF-100' is out of range", "the lower one first"),
    ("agent replay drive.log --print --map can0", "'can0'", "can0=can1"),
    ("agent replay drive.log --print --map can0=a --map can0=b", "'--map'", "can0 gets two names, a and b: leave one out"),
    ("agent replay drive.log --print --start yesterday", "'yesterday'", "2025-01-05T08:00:00"),
    ("agent replay drive.log --print --flush-seconds 99", "'99'", "0.005 to 10"),
    ("agent replay drive.log --to vcan0", "'vcan0'", "socketcan:can0"),
    ("agent replay drive.log --to virtual:x --config good.toml", "nothing is sent to virtual:x: good.toml has it as", "or give --force"),
    ("agent replay drive.log --to virtual:x --config typo.toml", "typo.toml: cannot be read", "or give --force"),
    ("agent replay drive.log --print --force", "--force and --config are about what --to may send to"),
    ("agent simulate --dbc van.dbc --to virtual:x --config good.toml", "good.toml has it as", 'Set `mode = "normal"`'),
    ("agent replay drive.log --to virtual:x --config typo.toml", "typo.toml: cannot be read", "give --force"),
    ("agent replay drive.log --print --force", "are about what --to may send to"),
    ("agent replay drive.log --to sockecan:vcan0", "'sockecan'", "did you mean 'socketcan'?"),
    ("agent replay drive.log --print --dbc typo.dbc", "typo.dbc: No such file", "check the name of the database"),
    ("agent replay drive.log --print --dbc bad.dbc", "bad.dbc:1: Invalid syntax at line 1"),
    # decode, simulate, dbc lint
    ("agent decode drive.log", "'--dbc'", "--help"),
    ("agent decode typo.log --dbc van.dbc", "typo.log", "check the name of the log"),
    ("agent decode drive.log --dbc typo.dbc", "typo.dbc", "check the name of the database"),
    (f"agent decode drive.log --dbc {LONG}.dbc", "File name too long", "check the name of the database"),
    ("agent decode drive.log --dbc OBD2", "there is no file 'OBD2'", "did you mean the database `obd2`"),
    ("agent decode drive.log --dbc nope", "there is no file 'nope'", "the databases that come along are"),
    ("agent decode drive.log --dbc words", "words: files ending in 'nothing'", "dbc, kcd, sym, arxml"),
    ("agent decode drive.log --dbc van.dbc --format xml", "'xml'", "'jsonl', 'csv'"),
    ("agent simulate --dbc van.dbc --to nope:x --seconds 1", "'nope'", "known are"),
    ("agent simulate --dbc van.dbc --to virtual:x --rate none", "'none'", "above 0"),
    ("agent dbc lint typo.dbc", "typo.dbc: error: ", "check the name of the database"),
    # relay
    ("agent relay stpo", "'stpo'", "Did you mean 'stop'?"),
    ("agent relay show --socket nope.sock", "nope.sock", "edge-agent run --config"),
    ("agent relay stop --config typo.toml", "typo.toml: cannot be read", "--config"),
    ("agent relay stop --config good.toml", "no relay may transmit here", "`[relay] transmit` of the agent's file is off"),
    ("agent relay start van7-x --config good.toml", "to van7-x", "`[relay] transmit` of the agent's file is off"),
    ("agent can-helper --config good.toml", "started by systemd", "`systemctl start edge-agent-helper.socket`"),
    # doctor and status
    ("agent doctor --rely", "'--rely'", "'--relay'"),
    ("agent doctor --relay --config typo.toml", "typo.toml: cannot be read", "--config"),
    ("agent doctor --config typo.toml", "typo.toml: cannot be read", "--config"),
    ("agent doctor --config other-id.toml", "agent.id: is 'van8'", "--agent-id van8 --out {home}/mine`"),
    ("agent status --config typo.toml", "typo.toml: cannot be read", "--config"),
    ("agent status --config good.toml", "no agent van7 runs here", "edge-agent run --config good.toml"),
    ("agent status --socket nope.sock", "nope.sock", "edge-agent run --config"),
    ("agent status --json --prometheus", "--json or --prometheus, not both"),
    ("agent set-up-can --config typo.toml", "typo.toml: cannot be read", "--config"),
)  # fmt: skip

SERVER: Final = _uses(
    ("server rn", "'rn'", "Did you mean 'run'?"),
    ("server run --config typo.toml", "typo.toml: cannot be read", "--config"),
    ("server run --config server.toml", "server.hots: unknown key", "did you mean `host`?"),
    ("server completion tcsh", "'tcsh'", "'bash', 'zsh', 'fish'"),
    ("server run --port 99999", "'99999'", "0 to 65535"),
    ("server run --data-dir drive.log", "drive.log", "--data-dir"),
    ("server check-config server.toml", "server.port", "<= 65535"),
    ("server check-config typo.toml", "typo.toml: cannot be read", "--config"),
    ("server token create", "'--role'", "viewer"),
    ("server token create --role boss --data-dir used", "'boss'", "'viewer', 'operator', 'admin'"),
    ("server token create --role viewer --data-dir typo", *_NO_DIRECTORY),
    ("server token create --role viewer --data-dir empty-directory", *_NO_DATABASE),
    ("server token create --role viewer", "there is no directory {home}/stream-server-data", "--data-dir"),
    ("server token list --data-dir typo", *_NO_DIRECTORY),
    ("server token revoke 1 --data-dir typo", *_NO_DIRECTORY),
    ("server token revoke 7 --data-dir used", "there is no token '7'", "stream-server token list"),
    ("server token revoke x --data-dir used", "'x'", "whole number"),
    ("server enroll create --data-dir typo", *_NO_DIRECTORY),
    ("server enroll create --data-dir used --agent-id 'Van 7'", "'Van 7' is no id", "such as van-7"),
    ("server enroll create --data-dir used --uses 0", "'0'", "1 to 1000000"),
    ("server enroll create --data-dir used --valid-days 0", "'0'", "1 to 3650"),
    ("server enroll list --data-dir typo", *_NO_DIRECTORY),
    ("server enroll revoke 1 --data-dir typo", *_NO_DIRECTORY),
    ("server enroll revoke 7 --data-dir used", "there is no enrolment '7'", "stream-server enroll list"),
    ("server enroll revoke x --data-dir used", "'x'", "whole number"),
    ("server agents list --data-dir typo", *_NO_DIRECTORY),
    ("server agents revoke van7 --data-dir typo", *_NO_DIRECTORY),
    ("server agents revoke nope --data-dir used", "there is no agent 'nope'", "stream-server agents list"),
    ("server agents disable nope --data-dir used", "there is no agent 'nope'", "stream-server agents list"),
    ("server agents enable nope --data-dir used", "there is no agent 'nope'", "stream-server agents list"),
    ("server admin-link --data-dir typo", *_NO_DIRECTORY),
    ("server admin-link --data-dir used --url nonsense", "'nonsense'", "https://stream.example.com"),
    ("server backup copy --data-dir typo", *_NO_DIRECTORY),
    ("server backup copy --data-dir empty-directory", *_NO_DATABASE),
    ("server backup drive.log --data-dir used", "drive.log exists", "name a file that does not"),
    ("server backup no/where --data-dir used", "cannot write no/where", "name a new file"),
    ("server books van7-can0 --data-dir typo", *_NO_DIRECTORY),
    ("server books nope --data-dir used", "there is no dongle 'nope'", "/api/v1/dongles list them"),
    ("server holes close van7 --data-dir typo", *_NO_DIRECTORY),
    ("server holes close nope --data-dir used", "there is no agent 'nope'", "/api/v1/agents lists them"),
    ("server clock confirm --data-dir typo", *_NO_DIRECTORY),
)  # fmt: skip


def write_files(home: Path) -> None:
    """What the rows name and what is there."""
    with data_directory.locked(home / "used"):
        data_directory.prepare(home / "used")
    (home / "empty-directory").mkdir()
    for name, token in (("mine", "cea_agent_x"), ("bare", "cea_agent_y"), ("open", "cea_agent_z")):
        (home / name).write_text(token + "\n")
        (home / name).chmod(0o644 if name == "open" else 0o600)
    store_enrolled_id(home / "mine", "van7", "cea_agent_x")
    for name, text in _files(home).items():
        (home / name).write_text(text)
    (home / "drive.zip").write_bytes(b"PK\x03\x04" + bytes(60))
    (home / "bad.log").write_bytes(b"\x00\xff" * 400)


def _files(home: Path) -> dict[str, str]:
    server = f'[server]\nurl = "{NOWHERE}"\n'
    mine = f'{server}token_file = "{home}/mine"\n'
    dongle = '[[dongles]]\ninterface = "virtual"\nchannel = "x"\n'
    return {
        "drive.log": "(1766417462.000000) can0 100#01\n(1766417463.000000) can0 101#01\n",
        "van.dbc": 'VERSION ""\nBO_ 256 A: 8 X\n SG_ Speed : 0|8@1+ (1,0) [0|0] "" X\n',
        "bad.dbc": "BO_ what is this\n",
        "secret": "cea_enroll_x\n",
        "nothing": "",
        "words": "two words\n",
        "good.toml": f'[agent]\nid = "van7"\n{mine}{dongle}',
        "other-id.toml": f'[agent]\nid = "van8"\n{mine}{dongle}',
        "broken.toml": "[server\n",
        "no-token.toml": f'{server}token_file = "{home}/nope"\n{dongle}',
        "open-token.toml": f'{server}token_file = "{home}/open"\n{dongle}',
        "key.toml": f'{server}tokenfile = "x"\n{dongle}',
        "no-server.toml": dongle,
        "no-url.toml": f"[server]\n{dongle}",
        "no-dongles.toml": server,
        "no-channel.toml": f'{server}[[dongles]]\ninterface = "virtual"\n',
        "url.toml": f'[server]\nurl = "ftp://x"\n{dongle}',
        "bitrate.toml": f'{server}[[dongles]]\ninterface = "slcan"\nchannel = "/dev/ttyX"\nbitrate = 123456\n',
        "twice.toml": f"{server}{dongle}{dongle}",
        "transmit.toml": f'{server}{dongle}[transmit]\nmode = "all"\n',
        "relay.toml": f'{server}{dongle}mode = "normal"\n[relay]\ntransmit = "all"\n',
        "interface.toml": server + dongle.replace("virtual", "sockecan"),
        "database.toml": f'{server}{dongle}databases = ["missing.dbc"]\n',
        "log.toml": f'{server}[[dongles]]\ninterface = "log"\nchannel = "{home}/gone.log"\n',
        "ca.toml": f'[server]\nurl = "https://127.0.0.1:9"\nca_file = "{home}/ca.pem"\n{dongle}',
        "server.toml": '[server]\nport = 99999\nhots = "x"\n',
    }
