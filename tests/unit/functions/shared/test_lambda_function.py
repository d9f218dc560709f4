from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from functions.shared.lambda_function import WarmInstance


def test_instance_is_built_once_lazily() -> None:
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


def test_failed_build_is_retried() -> None:
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


def test_cleared_instance_is_rebuilt() -> None:
    warm = WarmInstance(object)
    first = warm()
    warm.reset()
    assert warm() is not first
