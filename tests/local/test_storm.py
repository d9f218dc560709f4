"""A rotation in the middle of a storm of token requests."""

import subprocess
from collections import Counter

import pytest

from local.addresses import Addresses
from local.storm import Storm, report


def test_a_rotation_under_load_refuses_no_good_token(storm: subprocess.Popen[str]) -> None:
    told, _ = storm.communicate(timeout=150)
    assert storm.returncode == 0, told
    assert "signed by the new key" in told
    assert "signed by the old key" in told
    assert told.endswith("No good token was refused.\n")


@pytest.mark.parametrize(
    ("tokens", "refusals"),
    [({"old": 3, "new": 4}, ["401 for a token of key new"]), ({"old": 3}, [])],
)
def test_a_refused_token_and_a_rotation_that_never_came_are_failures(
    tokens: dict[str, int], refusals: list[str]
) -> None:
    storm = Storm(Addresses(), 0.0, 0.0, Counter(tokens), sum(tokens.values()), refusals)
    assert report(storm, "new") == 1
