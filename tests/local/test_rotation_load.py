"""A key rotation while clients request and use tokens."""

import subprocess
import sys
from collections import Counter

import pytest

from local.addresses import Addresses
from tests.benchmarks.rotation_load import LoadTest, report
from tests.support.laptop import ROOT, free_environment
from tests.support.measured import measured


def test_rotation_under_load_rejects_no_token() -> None:
    options = ("--seconds", "47", "--clients", "2", "--pause", "0.25")
    ended = subprocess.run(
        [sys.executable, "-m", "local.cli", "tests.benchmarks.rotation_load", *options],
        cwd=ROOT, env=measured(free_environment()), capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    output = ended.stdout
    assert ended.returncode == 0, output + ended.stderr
    assert "signed by the new key" in output
    assert "signed by the old key" in output
    assert output.endswith("No valid token was rejected.\n")


@pytest.mark.parametrize(
    ("tokens", "rejections"), [({"old": 3, "new": 4}, ["401 for a token of key new"]), ({"old": 3}, [])]
)
def test_rejection_or_missing_rotation_fails(tokens: dict[str, int], rejections: list[str]) -> None:
    test = LoadTest(Addresses(), 0.0, 0.0, Counter(tokens), sum(tokens.values()), rejections)
    assert report(test, "new") == 1
