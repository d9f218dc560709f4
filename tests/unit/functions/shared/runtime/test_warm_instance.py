from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from functions.shared.runtime.warm_instance import WarmInstance

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_thing_is_made_once_and_not_before_it_is_used() -> None:
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    warm = WarmInstance(make)
    assert not made
    with ThreadPoolExecutor(8) as threads:
        got = set(threads.map(lambda _: warm(), range(50)))
    assert got == set(made)
    assert len(made) == 1


def test_a_failure_is_tried_again() -> None:
    results: Iterator[str | Exception] = iter([ValueError("not yet"), "thing"])

    def make() -> str:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    warm = WarmInstance(make)
    with pytest.raises(ValueError, match="not yet"):
        warm()
    assert warm() == "thing"


def test_what_is_forgotten_is_made_anew() -> None:
    warm = WarmInstance(object)
    first = warm()
    warm.forget()
    assert warm() is not first
