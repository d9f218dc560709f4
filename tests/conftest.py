"""Settings of every test: Hypothesis profiles, markers, shared caches."""

import contextlib
import functools
from collections.abc import Generator
from pathlib import Path

import botocore.loaders
import botocore.session
import hypothesis
import pytest

from tests.support.measured import unmeasured_processes

pytest_plugins = ("tests.support.privilege_plugin", "tests.support.log_redaction")

# `make test` runs the profile "quick", `make fuzz` the profile "fuzz" (--hypothesis-profile).
for profile, examples in {"quick": 25, "fuzz": 1_000}.items():
    hypothesis.settings.register_profile(
        profile,
        max_examples=examples,
        deadline=None,  # a slow machine is not a failure
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile("quick")

# Each boto3 session parses megabytes of service models. A cached loader saves half the CPU of the
# tests with moto.
botocore.session.create_loader = functools.cache(botocore.loaders.create_loader)

TESTS = Path(__file__).parent
SLOW_FOLDERS = {"artifacts", "contract", "local"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by folder. Tests that share the laptop's processes run on one xdist worker."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in SLOW_FOLDERS:
            item.add_marker(pytest.mark.slow)
        if folder == "local":
            item.add_marker(pytest.mark.laptop)
            item.add_marker(pytest.mark.xdist_group("laptop"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure few of the processes that tests of the laptop edition start."""
    is_laptop = item.get_closest_marker("laptop") is not None
    with unmeasured_processes() if is_laptop else contextlib.nullcontext():
        return (yield)
