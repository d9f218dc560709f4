"""What a handler imports, read from the code alone: nothing is run, and no branch is missed."""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OUR_PACKAGES = ("authorizer", "functions", "infra", "local", "tests")


def reachable(root: Path, module: str) -> tuple[set[str], set[str]]:
    """Return the modules of ours that `module` needs, itself included, and the others' packages.

    Imports inside functions count; those for type checkers do not.
    """
    ours: set[str] = set()
    others: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in ours:
            continue
        ours.add(name)
        path = _path(root, name)
        if path is None:
            raise AssertionError(f"{name} is imported and is nowhere in {root}")
        waiting += [".".join(name.split(".")[:end]) for end in range(1, name.count(".") + 1)]
        for imported, attributes in _imports(ast.parse(path.read_bytes())):
            package = imported.partition(".")[0]
            if package in OUR_PACKAGES:
                waiting.append(imported)
                submodules = (f"{imported}.{attribute}" for attribute in attributes)
                waiting += [submodule for submodule in submodules if _path(root, submodule)]
            elif package not in sys.stdlib_module_names:
                others.add(package)
    return ours, others


def _path(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(node: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, ()) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        yield node.module or "", tuple(alias.name for alias in node.names)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        for otherwise in node.orelse:
            yield from _imports(otherwise)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _imports(child)
