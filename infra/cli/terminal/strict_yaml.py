"""Files that people write: YAML, of which JSON is a part, read without doubt and without loss."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import yaml

from infra.cli.terminal.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_TEXT: Final = "tag:yaml.org,2002:str"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_NOT_IN_JSON: Final = frozenset(
    {_TIMESTAMP, *(f"tag:yaml.org,2002:{name}" for name in ("binary", "set", "omap", "pairs"))}
)


def read_text(path: Path) -> str:
    """Read a file of text.

    Raises:
        NotFoundError: there is no such file, or it cannot be read.
        UsageError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8.") from error


def parse_yaml(text: str, source: str) -> object:
    """Parse YAML, of which JSON is a part.

    Raises:
        UsageError: it is neither, has a key twice, or a value that JSON does not have.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UsageError(f"{source} is not YAML: {where}{error.problem}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not YAML: {error}.") from error
    except RecursionError as error:
        raise UsageError(f"{source} is nested too deeply.") from error


def line_of(text: str, path: Iterable[str | int]) -> int:
    """Return the line, from 1, on which a member of a YAML document stands: as far as it is there.

    `path` are names of members and numbers of entries, from the outermost inwards.
    """
    node = yaml.compose(text, Loader=_StrictLoader)
    line = node.start_mark.line if node else 0
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
    return int(line) + 1


class _StrictLoader(yaml.SafeLoader):
    """A safe loader of what JSON can say too, which is how clients are kept: dates are texts.

    It refuses what is said twice: the first one would be lost unseen.
    """

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:  # noqa: ANN401 - the library's signature
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # no types there
        return _TEXT if tag == _TIMESTAMP and implicit[0] else tag

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the library's signature
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise _refused(f"{name} is there twice", key)
            seen.add(name)
        made = super().construct_mapping(node, deep)
        for key in made:
            if not isinstance(key, str):
                raise _refused(f"{key} names a field and is no text (it needs quotes)", node)
        return made

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - the library's signature
        if node.tag in _NOT_IN_JSON:
            raise _refused(f"{node.tag.rpartition(':')[2]} is a type that JSON does not have", node)
        try:
            value = super().construct_object(node, deep)
        except ValueError as error:
            raise _refused("a number is too long", node) from error
        if not isinstance(value, float):
            return value
        if not isfinite(value):
            raise _refused(f"{value} is a number that JSON does not have", node)
        return int(value) if value.is_integer() else value


def _refused(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
