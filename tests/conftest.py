"""What holds for every test."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ("tests.support.privilege_plugin", "tests.support.log_redaction")

# How long an example takes is the machine's business, and no fault of the code's.
hypothesis.settings.register_profile(
    "gatehouse", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("gatehouse")

LOCAL = Path(__file__).parent / "local"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share running processes on one worker of pytest-xdist."""
    for item in items:
        if LOCAL in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("laptop"))
