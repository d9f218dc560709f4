"""The work of Lambda's initialization."""

import gc
from threading import Event

import pytest

from authorizer.initialization import initialize

TYPE = "AWS_LAMBDA_INITIALIZATION_TYPE"


class Work:
    """Counts what the initialization did."""

    def __init__(self, *, broken: str = "") -> None:
        self.done: list[str] = []
        self._broken = broken

    def build(self) -> None:
        self._do("build")

    def fetch(self) -> None:
        self._do("fetch")

    def _do(self, name: str) -> None:
        self.done.append(name)
        if name == self._broken:
            raise ValueError(name)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, []),
        ({TYPE: "on-demand"}, ["build", "fetch"]),
        ({TYPE: "provisioned-concurrency"}, ["build", "fetch"]),
        ({TYPE: "snap-start"}, ["build"]),
    ],
)
def test_each_initialization_type_does_its_work(environ: dict[str, str], expected: list[str]) -> None:
    work = Work()
    initialize(work.build, work.fetch, environ)
    assert work.done == expected


@pytest.mark.parametrize(("broken", "expected"), [("build", ["build"]), ("fetch", ["build", "fetch"])])
def test_failures_are_left_to_the_first_request(broken: str, expected: list[str]) -> None:
    work = Work(broken=broken)
    initialize(work.build, work.fetch, {TYPE: "on-demand"})
    assert work.done == expected


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
