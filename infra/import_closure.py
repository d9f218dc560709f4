"""Modules that a module imports, directly or indirectly, read from the code without running it.

Imports inside functions are included, so that no branch is missed. Imports under
`if TYPE_CHECKING` are not.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FIRST_PARTY = frozenset({"authorizer", "functions", "infra", "local", "tests"})

_NEVER_TRUE = frozenset({"TYPE_CHECKING", "typing.TYPE_CHECKING"})


class ImportClosureError(Exception):
    """Raised when imports cannot be followed. The message is one sentence."""


@dataclass(frozen=True, slots=True)
class Closure:
    """The files of Gatehouse's modules by name, and the names of third-party packages."""

    modules: Mapping[str, Path]
    packages: frozenset[str]


def closure(root: Path, module: str) -> Closure:
    """Return the imports of `module`, itself and its parent packages included.

    Raises:
        ImportClosureError: a module is not below `root`, or an import is relative.
    """
    modules: dict[str, Path] = {}
    packages: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in modules:
            continue
        modules[name] = path = _file(root, name)
        waiting += _packages_around(name)
        for imported, attributes in _imports(ast.parse(path.read_bytes()), name):
            package = imported.partition(".")[0]
            if package in FIRST_PARTY:
                candidates = [f"{imported}.{attribute}" for attribute in attributes]
                waiting += [imported, *(each for each in candidates if _exists(root, each))]
            elif package not in sys.stdlib_module_names:
                packages.add(package)
    return Closure(modules, frozenset(packages))


def _packages_around(module: str) -> Iterator[str]:
    while module := module.rpartition(".")[0]:
        yield module


def _exists(root: Path, module: str) -> bool:
    return any(path.is_file() for path in _candidates(root, module))


def _file(root: Path, module: str) -> Path:
    for path in _candidates(root, module):
        if path.is_file():
            return path
    raise ImportClosureError(f"There is no module {module} in {root}.")


def _candidates(root: Path, module: str) -> tuple[Path, Path]:
    base = root.joinpath(*module.split("."))
    return base.with_suffix(".py"), base / "__init__.py"


def _imports(node: ast.AST, importer: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each imported module and the names imported from it."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, ()) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.module is None or node.level:
            raise ImportClosureError(f"{importer} has a relative import in line {node.lineno}.")
        yield node.module, tuple(alias.name for alias in node.names)
    else:
        for child in _executed(node):
            yield from _imports(child, importer)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and ast.unparse(node.test) in _NEVER_TRUE:
        yield from node.orelse
    else:
        yield from ast.iter_child_nodes(node)
