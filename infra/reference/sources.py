"""What a source file says beside what it does: comments and docstrings, which Python drops."""

from __future__ import annotations

import ast
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

ROOT: Final = Path(__file__).resolve().parents[2]


class _Loader(yaml.SafeLoader):
    """YAML in which CloudFormation's functions are left out: nothing of theirs is documented."""


_Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


def template(path: Path = ROOT / "template.yaml") -> dict[str, Any]:
    """Return a template, as far as it can be read without CloudFormation."""
    return read_yaml(path.read_text(encoding="utf-8"))


def read_yaml(text: str) -> dict[str, Any]:
    """Return a template, or a part of one."""
    document: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    return document


def parse(module: ModuleType) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))


def docstrings(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield each name that is assigned or annotated and has a docstring below it, with that."""
    for statement, below in pairwise(body):
        if isinstance(statement, ast.AnnAssign):
            target: ast.expr = statement.target
        elif isinstance(statement, ast.Assign):
            target = statement.targets[0]
        else:
            continue
        if (
            isinstance(target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            yield target.id, " ".join(cleandoc(below.value.value).split())


def class_named(tree: ast.Module, name: str) -> ast.ClassDef:
    """Return a class of a module."""
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
