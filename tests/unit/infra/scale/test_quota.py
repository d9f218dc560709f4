"""A model of a quota, and of API Gateway's cache."""

from __future__ import annotations

from random import Random

import pytest

from functions.shared.runtime.aws_clients import ATTEMPTS
from infra.scale.answers import remembered_share
from infra.scale.arrivals import arrivals
from infra.scale.quota import sign


def seeded() -> Random:
    return Random(1)  # noqa: S311 - nothing secret: a simulation


def test_below_the_quota_everyone_is_served() -> None:
    signed = sign([at / 5 for at in range(100)], 10, seeded())
    assert (signed.served, signed.refused) == (100, 0)


def test_a_throttled_call_is_tried_again_as_often_as_boto3_does() -> None:
    assert ATTEMPTS == 2
    # One is served at once; of the others each has one more try, within a second.
    signed = sign([0.0] * 50, 1, seeded())
    assert signed.served + signed.refused == 50
    assert 1 <= signed.served <= 2


def test_far_above_the_quota_only_the_quota_is_served() -> None:
    signed = sign(arrivals(seeded(), [(20, 100)]), 10, seeded())
    assert signed.served == pytest.approx(10 * 20 + 10, abs=15)
    assert signed.refused_share == pytest.approx(0.9, abs=0.02)


def test_arrivals_come_at_the_rate_of_their_phase() -> None:
    times = list(arrivals(seeded(), [(10, 0), (100, 50), (10, 0)]))
    assert times == sorted(times)
    assert all(10 <= at < 110 for at in times)
    assert len(times) == pytest.approx(5_000, rel=0.05)


def test_a_second_call_with_the_same_token_is_answered_from_the_cache() -> None:
    one_client = [1.0]
    assert remembered_share([0, 1, 2, 3], one_client, 10, seeded()) == 0.75
    assert remembered_share([0, 11, 22, 33], one_client, 10, seeded()) == 0
