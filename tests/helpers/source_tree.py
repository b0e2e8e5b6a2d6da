"""Python files by what they import, call and hold, read without running them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


class Import(msgspec.Struct, frozen=True):
    """`import module`, or `from module import name`."""

    module: str
    name: str | None
    for_types_only: bool
    """Below `if TYPE_CHECKING`."""

    @property
    def dotted(self) -> str:
        """As one name, which may be that of a module or of something in it."""
        return self.module if self.name is None else f"{self.module}.{self.name}"


class Class(msgspec.Struct, frozen=True):
    """A class with what it adds to its bases."""

    name: str
    bases: tuple[str, ...]
    attributes: frozenset[str]
    methods: frozenset[str]


class Source(msgspec.Struct, frozen=True):
    """What a file says."""

    imports: tuple[Import, ...]
    names: frozenset[str]
    """What it uses, and the last two parts of what is dotted, like `datetime.now`; never by its aliases."""
    functions: tuple[tuple[str, int], ...]
    """By qualified name, with their lengths in lines."""
    classes: tuple[Class, ...]
    line_count: int
    is_empty: bool
    """But for its docstring."""


class Module(msgspec.Struct, frozen=True):
    """A file of the tree."""

    name: str
    path: str
    """Below the root."""
    source: Source


Tree = Mapping[str, Module]
"""By dotted names."""


def read_tree(root: Path, folders: tuple[str, ...]) -> Tree:
    """Every Python file below the folders of the root."""
    return {
        module.name: module
        for folder in folders
        for path in sorted((root / folder).rglob("*.py"))
        for module in [_module(path.relative_to(root), path.read_text())]
    }


def resolved(tree: Tree, imported: Import) -> str | None:
    """The module of the tree that the import reaches, through packages that only pass a name on."""
    if imported.dotted in tree:
        return imported.dotted
    package = tree.get(imported.module)
    if package is None:
        return None
    if package.path.endswith("/__init__.py"):
        for passed_on in package.source.imports:
            if passed_on.name == imported.name and passed_on.module in tree:
                return resolved(tree, passed_on)
    return package.name


def with_bases(tree: Tree, module: Module, one: Class) -> Iterator[Class]:
    """The class and those of the tree that it is derived from."""
    yield one
    for base in one.bases:
        home = next((item for item in module.source.imports if item.name == base), None)
        found = tree.get(resolved(tree, home) or "") if home else module
        for candidate in found.source.classes if found else ():
            if candidate.name == base:
                assert found is not None
                yield from with_bases(tree, found, candidate)


def _module(path: Path, text: str) -> Module:
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    return Module(name, path.as_posix(), parsed(text))


@cache
def parsed(text: str) -> Source:
    """What the text of a file says. Raises ValueError for a relative import, which nobody follows."""
    tree = ast.parse(text)
    return Source(
        imports=tuple(_imports(tree, for_types_only=False)),
        names=frozenset(_names(tree)),
        functions=tuple(_functions(tree, "")),
        classes=tuple(_class(node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)),
        line_count=len(text.splitlines()),
        is_empty=len(tree.body) <= 1 and ast.get_docstring(tree) is not None,
    )


def _imports(node: ast.AST, *, for_types_only: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, None, for_types_only) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.level or node.module is None:
            raise ValueError(f"relative import in line {node.lineno}")
        yield from (Import(node.module, alias.name, for_types_only) for alias in node.names)
    elif isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
        for statement in node.body:
            yield from _imports(statement, for_types_only=True)
        for statement in node.orelse:
            yield from _imports(statement, for_types_only=for_types_only)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, for_types_only=for_types_only)


def _names(tree: ast.AST) -> Iterator[str]:
    own_names = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield own_names.get(node.id, node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{own_names.get(node.value.id, node.value.id)}.{node.attr}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            yield f"{node.value.attr}.{node.attr}"


def _functions(node: ast.AST, outer: str) -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        name = outer
        if isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            name = f"{outer}.{child.name}".removeprefix(".")
        if isinstance(child, _FUNCTIONS):
            yield name, (child.end_lineno or child.lineno) - child.lineno + 1
        yield from _functions(child, name)


def _class(node: ast.ClassDef) -> Class:
    attributes = {
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    attributes |= {
        item.attr
        for item in ast.walk(node)
        if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store)
        if isinstance(item.value, ast.Name) and item.value.id == "self"
    }
    return Class(
        name=node.name,
        bases=tuple(ast.unparse(base) for base in node.bases),
        attributes=frozenset(attributes),
        methods=frozenset(item.name for item in node.body if isinstance(item, _FUNCTIONS)),
    )
