from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from functions.shared.lambda_function import Event, LambdaHandler, WarmInstance


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


class Function:
    """A function with a preparation."""

    def __init__(self) -> None:
        self.prepared = 0

    def __call__(self, event: Event) -> int:
        return self.prepared

    def prepare(self) -> None:
        self.prepared += 1


@pytest.mark.parametrize(("kind", "prepared"), [("on-demand", 1), ("snap-start", 0)])
def test_handler_is_built_during_lambdas_initialization(
    kind: str, prepared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    built: list[Function] = []

    def build() -> Function:
        built.append(Function())
        return built[-1]

    handle = LambdaHandler(build)
    assert len(built) == 1
    assert handle({}, None) == prepared
    assert len(built) == 1


def test_handler_is_built_at_its_first_event_elsewhere() -> None:
    builds: Iterator[Function] = iter([Function()])
    handle = LambdaHandler(lambda: next(builds))
    assert handle({}, None) == 0
    assert not list(builds)


def test_function_without_preparation_is_built_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    assert LambdaHandler(lambda: len)({}, None) == 0
