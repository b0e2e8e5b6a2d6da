"""The rules of the house: rooms and arrows, what is pure, and how large things may be."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec

from tests.helpers.source_tree import Class, Import, Module, Tree, read_tree, resolved, with_bases

PAGE: Final = "docs/architecture.md"
NO_IO: Final = {
    "__future__", "base64", "bisect", "collections", "collections.abc", "contextlib", "dataclasses",
    "datetime", "decimal", "difflib", "enum", "errno", "fnmatch", "functools", "hashlib", "heapq", "hmac",
    "ipaddress", "itertools", "json", "math", "operator", "re", "string", "struct", "types",
    "typing", "urllib.parse", "zlib", "msgspec", "msgspec.inspect", "msgspec.json",
    "msgspec.structs", "numpy", "numpy.typing",
}  # fmt: skip
"""What a pure module may import of others. Nothing here does I/O, reads a clock or is random."""
NO_IO_NAMES: Final = {
    "pathlib": {"PurePath", "PurePosixPath"},
    "random": {"Random"},
    "shlex": {"join", "quote"},
    "sys": {"byteorder", "intern", "maxsize"},
}
"""Of these modules it may import some names; `Random`, seeded, is the same again each time."""
IO_NAMES: Final = {
    "open", "input", "print", "exec", "eval", "compile", "breakpoint", "__import__", "datetime.now",
    "datetime.today", "datetime.utcnow", "date.today", "numpy.ctypeslib", "numpy.fromfile",
    "numpy.fromregex", "numpy.genfromtxt", "numpy.load", "numpy.loadtxt", "numpy.memmap", "numpy.random",
    "numpy.save", "numpy.savetxt", "numpy.savez",
}  # fmt: skip
"""What it could do without importing more."""
IO_METHODS: Final = {
    "dump", "file_digest", "fromfile", "memmap", "now", "open_memmap", "read_bytes", "read_text",
    "savez_compressed", "today", "tofile", "utcnow", "write_bytes", "write_text",
}  # fmt: skip
"""Whatever they are called on: a class or a module may have got another name."""
MAY_IMPORT_BY_NAME: Final = {
    "can_stream.command_line.listed_group": "loads a command when it is asked for",
    "can_stream.databases.cantools_loading": "a part of cantools without the rest, which costs memory",
    "can_stream.logs.formats.foreign": "asks whether an optional library is there",
    "edge_agent.cli.set_up.install": "finds the files that the wheel brings",
    "edge_agent.diagnosis.dongle_probe": "tries whether a driver's library can be loaded",
}
FOR_EVERY_ROOM: Final = {"errors", "state"}
MAX_FILES: Final = 20
MAX_MODULE_LINES: Final = 400
MAX_FUNCTION_LINES: Final = 40
MAX_ATTRIBUTES: Final = 20
MAX_METHODS: Final = 25
_MIGRATIONS: Final = "stream_server.storage.migrations."


class Room(msgspec.Struct, frozen=True):
    """A row of the table."""

    name: str
    does_io: tuple[str, ...]
    """Patterns of modules below the room; `*` is the whole room."""
    may_import: tuple[str, ...]


class House(msgspec.Struct, frozen=True):
    """The tree, and the table of rooms that it should follow."""

    tree: Tree
    packages: Mapping[str, tuple[str, ...]]
    """With what each may import of the others."""
    rooms: Mapping[str, Sequence[Room]]

    def room(self, module: str) -> Room | None:
        """The row of the table that the module falls under."""
        package, *path = module.split(".")
        return next((room for room in self.rooms[package] if path[:1] == [room.name]), None)

    def does_io(self, module: str) -> bool:
        """Whether the table marks the module."""
        room = self.room(module)
        return room is not None and any(fnmatchcase(_place(module), mark) for mark in room.does_io)

    def arrows(self) -> Iterator[tuple[Module, str, Import]]:
        """Who imports whom of ours."""
        for module in self.tree.values():
            for imported in module.source.imports:
                target = resolved(self.tree, imported)
                if target is not None and target != module.name:
                    yield module, target, imported


def read_house(root: Path) -> House:
    """The three packages below the root, and the tables of the page there."""
    page = (root / PAGE).read_text()
    packages = {
        row[0].strip("`"): tuple(re.findall(r"`(\w+)`", row[2])) for row in table_rows(page, "| package |")
    }
    rooms = {name: _rooms(page, name) for name in packages}
    return House(read_tree(root, tuple(packages)), packages, rooms)


def faults(root: Path) -> set[str]:
    """Whatever below the root is against a rule, one line each."""
    house = read_house(root)
    rules = (_folders, _rows, _across, _arrows, _unused, _purity, _marks, _by_name, _circles, _sizes)
    return {fault for rule in rules for fault in rule(house)}


def table_rows(page: str, head: str) -> Iterator[list[str]]:
    """The cells of the first table that begins so."""
    lines = page[page.index(head) :].splitlines()
    for line in lines[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def _rooms(page: str, package: str) -> list[Room]:
    rooms: list[Room] = []
    for name, _, marks, arrows in table_rows(page, f"| room of `{package}` |"):
        above = tuple(room.name for room in rooms)
        may_import = above if arrows == "everything above" else _words(arrows)
        rooms.append(Room(name, _words(marks), may_import))
    return rooms


def _same_package(one: str, other: str) -> bool:
    return one.partition(".")[0] == other.partition(".")[0]


def _words(cell: str) -> tuple[str, ...]:
    return tuple(cell.removeprefix("-").split())


def _place(module: str) -> str:
    """Where in its room a module lies, like `formats/candump`."""
    return "/".join(module.split(".")[2:]) or "__init__"


def _folders(house: House) -> Iterator[str]:
    files: dict[str, int] = defaultdict(int)
    for module in house.tree.values():
        folder, _, file = module.path.rpartition("/")
        if file != "__init__.py":
            files[folder] += 1
        if "." in module.name and house.room(module.name) is None:
            yield f"{module.path}: its room is not in the table"
    yield from (f"{folder}: over {MAX_FILES} files" for folder, count in files.items() if count > MAX_FILES)


def _rows(house: House) -> Iterator[str]:
    """Rows name rooms that are there, and stand below all that they name: so rooms form no circle."""
    for package, rooms in house.rooms.items():
        above: set[str] = set()
        for room in rooms:
            modules = [name for name in house.tree if f"{name}.".startswith(f"{package}.{room.name}.")]
            if not modules:
                yield f"table of {package}: nothing lies in {room.name}"
            for mark in room.does_io:
                if not any(fnmatchcase(_place(name), mark) for name in modules):
                    yield f"table of {package}: {room.name} has no {mark}"
            for name in set(room.may_import) - above:
                yield f"table of {package}: {name} is not above {room.name}"
            above.add(room.name)


def _across(house: House) -> Iterator[str]:
    """Packages import what the table of packages says, and nobody a whole package or folder."""
    for module, target, _ in house.arrows():
        package, other = module.name.split(".")[0], target.split(".")[0]
        if not _same_package(module.name, target) and other not in house.packages[package]:
            yield f"{module.path}: {package} imports {other}"
        if house.tree[target].source.is_empty:
            yield f"{module.path}: imports the folder {target}"
    for module in house.tree.values():
        if "." not in module.name and not module.source.is_empty:
            yield f"{module.path}: passes on what every room could then have"
        for imported in module.source.imports:
            top = imported.module.split(".")[0]
            if top in {"tests", "bench", "scripts"}:
                yield f"{module.path}: imports {imported.module}"
            if imported.name == "*":
                yield f"{module.path}: imports whatever {imported.module} has"
            if top in house.packages and resolved(house.tree, imported) is None:
                yield f"{module.path}: imports {imported.dotted}, which is not there"
            # With one module's name a whole package can be reached: edge_agent.spool.spool.Spool.
            if top in house.packages and imported.name is None:
                yield f"{module.path}: imports {imported.module} without saying what of it"


def _arrows(house: House) -> Iterator[str]:
    for module, target, _ in house.arrows():
        room, other = house.room(module.name), house.room(target)
        if room is None or other is None or room == other or not _same_package(module.name, target):
            continue
        if other.name not in {*room.may_import, *FOR_EVERY_ROOM}:
            yield f"{module.path}: imports {target}, no arrow {room.name} -> {other.name}"


def _unused(house: House) -> Iterator[str]:
    used = defaultdict(set)
    for module, target, _ in house.arrows():
        used[".".join(module.name.split(".")[:2])].add(".".join(target.split(".")[:2]))
    for package, rooms in house.rooms.items():
        above: tuple[str, ...] = ()
        for room in rooms:
            if room.may_import != above:
                for name in room.may_import:
                    if f"{package}.{name}" not in used[f"{package}.{room.name}"]:
                        yield f"table of {package}: nothing uses {room.name} -> {name}"
            above = (*above, room.name)


def _purity(house: House) -> Iterator[str]:
    for module in house.tree.values():
        if not house.does_io(module.name):
            for reason in _impurities(house, module):
                yield f"{module.path}: is pure, but {reason}"


def _impurities(house: House, module: Module) -> Iterator[str]:
    for imported in module.source.imports:
        target = resolved(house.tree, imported)
        # A type says nothing about I/O, but for Path: whoever has one can read the file.
        if imported.for_types_only and imported.module != "pathlib":
            continue
        if target is None:
            if not _is_harmless(imported):
                yield f"imports {imported.dotted if imported.module in NO_IO_NAMES else imported.module}"
        elif house.does_io(target):
            yield f"imports {target}, which does I/O"
    yield from (f"uses {name}" for name in module.source.names & IO_NAMES)
    methods = {name.rpartition(".")[2] for name in module.source.names if "." in name}
    yield from (f"calls {name}" for name in methods & IO_METHODS)


def _is_harmless(imported: Import) -> bool:
    if imported.module in NO_IO_NAMES:
        return imported.name in NO_IO_NAMES[imported.module]
    return imported.module in NO_IO and f"numpy.{imported.name}" not in IO_NAMES


def _marks(house: House) -> Iterator[str]:
    """A mark by name is needed: without it the module would not pass as pure."""
    for module in house.tree.values():
        room = house.room(module.name)
        if room and _place(module.name) in room.does_io and not any(_impurities(house, module)):
            yield f"{module.path}: is marked as doing I/O, but is pure"


def _by_name(house: House) -> Iterator[str]:
    users = {
        module.name
        for module in house.tree.values()
        if "__import__" in module.source.names
        or any(item.module.split(".")[0] in {"importlib", "runpy", "imp"} for item in module.source.imports)
    }
    yield from (f"{house.tree[name].path}: imports by name" for name in users - MAY_IMPORT_BY_NAME.keys())
    yield from (f"{name}: has no need to import by name" for name in MAY_IMPORT_BY_NAME.keys() - users)


def _circles(house: House) -> Iterator[str]:
    """Files that import each other, also where only inside a function; types alone make no circle."""
    arrows: dict[str, set[str]] = defaultdict(set)
    for module, target, imported in house.arrows():
        if not imported.for_types_only:
            arrows[module.name].add(target)
    reached = {name: _reached(arrows, name) for name in list(arrows)}
    for name, others in reached.items():
        circle = sorted(other for other in others if name in reached.get(other, ()))
        if name in others and name == circle[0]:
            yield f"circle: {' '.join(circle)}"


def _reached(arrows: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = arrows.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found


def _sizes(house: House) -> Iterator[str]:
    for module in house.tree.values():
        if module.source.line_count > MAX_MODULE_LINES:
            yield f"{module.path}: over {MAX_MODULE_LINES} lines"
        if not module.name.startswith(_MIGRATIONS):
            for name, lines in module.source.functions:
                if lines > MAX_FUNCTION_LINES:
                    yield f"{module.path}: {name} has over {MAX_FUNCTION_LINES} lines"
        for one in module.source.classes:
            yield from _class_faults(one, module, list(with_bases(house.tree, module, one)))


def _class_faults(one: Class, module: Module, family: Sequence[Class]) -> Iterator[str]:
    attributes = {name for each in family for name in each.attributes}
    methods = {name for each in family for name in each.methods}
    is_value = any(base.endswith("Struct") for each in family for base in each.bases) and not methods
    if len(attributes) > MAX_ATTRIBUTES and not is_value:
        yield f"{module.path}: {one.name} has over {MAX_ATTRIBUTES} attributes"
    if len(methods) > MAX_METHODS:
        yield f"{module.path}: {one.name} has over {MAX_METHODS} methods"
