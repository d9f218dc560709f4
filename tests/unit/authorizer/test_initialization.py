"""The work of Lambda's initialization."""

import gc
from functools import partial
from threading import Event

import pytest

from authorizer.initialization import initialize

TYPE = "AWS_LAMBDA_INITIALIZATION_TYPE"


@pytest.mark.parametrize(
    ("kind", "broken", "expected"),
    [
        ("", "", []),
        ("on-demand", "", ["build", "fetch"]),
        ("provisioned-concurrency", "", ["build", "fetch"]),
        ("snap-start", "", ["build"]),
        ("on-demand", "build", ["build"]),
        ("on-demand", "fetch", ["build", "fetch"]),
    ],
)
def test_each_type_does_its_work_and_ignores_failures(kind: str, broken: str, expected: list[str]) -> None:
    done: list[str] = []

    def work(name: str) -> None:
        done.append(name)
        if name == broken:
            raise ValueError(name)

    initialize(partial(work, "build"), partial(work, "fetch"), {TYPE: kind})
    assert done == expected


def test_collector_works_after_the_initialization() -> None:
    gc.disable()
    try:
        initialize(object, object, {TYPE: "on-demand"})
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_slow_fetch_does_not_delay_the_first_request() -> None:
    may_end, ended = Event(), Event()

    def fetch() -> None:
        may_end.wait()
        ended.set()

    initialize(object, fetch, {TYPE: "on-demand"}, max_seconds=0.01)
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(10)
