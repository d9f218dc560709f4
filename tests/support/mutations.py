"""Documents with something wrong in one place: for readers that must not be led astray by any."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

Place = tuple[str | int, ...]

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 10**30, "", "x", [], {}),
    *([None], [1], ["x"], [[]], [{}], {"x": "y"}),
)


def mutations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the document with each member, at any depth, left out or replaced; and where."""
    for place in _places(document):
        *path, last = place
        for value in (..., *ODD_VALUES):
            changed: Any = deepcopy(document)
            inner = changed
            for step in path:
                inner = inner[step]
            if value is ...:
                del inner[last]
            else:
                inner[last] = value
            yield f"{place} = {value!r}", changed


def _places(part: Any, place: Place = ()) -> Iterator[Place]:
    if place:
        yield place
    steps = part if isinstance(part, dict) else range(len(part) if isinstance(part, list) else 0)
    for step in steps:
        yield from _places(part[step], (*place, step))
