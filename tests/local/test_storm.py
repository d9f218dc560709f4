"""A rotation in the middle of a storm of token requests."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from local.addresses import Addresses
from local.storm import Storm, report
from tests.support.laptop import ROOT, free_environment


def test_a_rotation_under_load_refuses_no_good_token() -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "local.storm",
            "--seconds",
            "47",
            "--clients",
            "2",
            "--pause",
            "0.05",
        ],
        cwd=ROOT,
        env=free_environment(),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "signed by the new key" in result.stdout
    assert "signed by the old key" in result.stdout
    assert result.stdout.endswith("No good token was refused.\n")


@pytest.mark.parametrize(
    ("tokens", "refusals"),
    [({"old": 3, "new": 4}, ["401 for a token of key new"]), ({"old": 3}, [])],
)
def test_a_refused_token_and_a_rotation_that_never_came_are_failures(
    tokens: dict[str, int], refusals: list[str]
) -> None:
    storm = Storm(Addresses(), 0.0, 0.0, Counter(tokens), sum(tokens.values()), refusals)
    assert report(storm, "new") == 1
