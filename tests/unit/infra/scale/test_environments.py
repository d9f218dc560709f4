"""A model of Lambda's environments."""

from __future__ import annotations

import pytest

from infra.scale.environments import IDLE_SECONDS, NEW_AT_ONCE, Function, serve

QUICK = Function(warm=0.1, start=1.0)


def test_a_request_that_finds_an_idle_environment_starts_none() -> None:
    played = serve([0.0, 2.0, 4.0], QUICK)
    assert played.started == 1
    assert [took for _, took in played.answered] == [1.1, 0.1, 0.1]


def test_requests_at_the_same_time_need_an_environment_each() -> None:
    assert serve([0.0, 0.0, 0.0], QUICK).started == 3


def test_an_environment_that_is_idle_for_long_is_gone() -> None:
    assert serve([0.0, 1.1 + IDLE_SECONDS - 1], QUICK).started == 1
    assert serve([0.0, 1.1 + IDLE_SECONDS + 1], QUICK).started == 2


def test_past_the_concurrency_requests_are_refused() -> None:
    played = serve([0.0] * 5, QUICK, concurrency=3)
    assert (played.started, played.refused) == (3, 2)


def test_environments_start_only_so_fast() -> None:
    played = serve([0.0] * (NEW_AT_ONCE + 10) + [0.05] * 10, QUICK, concurrency=10_000)
    assert played.started == NEW_AT_ONCE + 5
    assert played.refused == 15


def test_a_key_set_is_fetched_at_the_start_and_when_it_is_no_longer_fresh() -> None:
    played = serve([0.0, 20.0, 65.0, 70.0], Function(warm=0.1, start=1.0, fresh=60.0))
    assert played.fetches == [0.0, 65.0]
    assert played.busiest_second() == 1


def test_a_percentile_is_of_the_time_asked_for() -> None:
    played = serve([0.0, 2.0, 4.0], QUICK)
    assert played.latency(0.99) == pytest.approx(1.1)
    assert played.latency(0.99, since=1.0) == pytest.approx(0.1)
