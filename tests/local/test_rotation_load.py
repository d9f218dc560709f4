"""A key rotation while clients request and use tokens."""

import subprocess
from collections import Counter

import pytest

from local.addresses import Addresses
from tests.benchmarks.rotation_load import LoadTest, report


def test_rotation_under_load_rejects_no_token(load_test: subprocess.Popen[str]) -> None:
    output, _ = load_test.communicate(timeout=150)
    assert load_test.returncode == 0, output
    assert "signed by the new key" in output
    assert "signed by the old key" in output
    assert output.endswith("No valid token was rejected.\n")


@pytest.mark.parametrize(
    ("tokens", "rejections"), [({"old": 3, "new": 4}, ["401 for a token of key new"]), ({"old": 3}, [])]
)
def test_rejection_or_missing_rotation_fails(tokens: dict[str, int], rejections: list[str]) -> None:
    test = LoadTest(Addresses(), 0.0, 0.0, Counter(tokens), sum(tokens.values()), rejections)
    assert report(test, "new") == 1
