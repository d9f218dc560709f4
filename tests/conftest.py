"""Settings of every test: Hypothesis profiles, markers, distribution to workers, shared caches."""

import contextlib
import functools
import os
from collections.abc import Generator
from pathlib import Path

import botocore.loaders
import botocore.session
import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

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
STARTS = frozenset(
    f"tests/local/test_{name}.py"
    for name in (
        "authorizer_gateway", "docs", "prefork", "rotation_load", "run", "separate_apis", "signing_algorithms", "site",
        "start_order",
    )
)  # fmt: skip
"""Files of tests/local that do not use the fixture `laptop`."""
ARTIFACTS = frozenset(f"tests/artifacts/test_{name}.py" for name in ("boot", "contents", "snapshots"))
"""Files that use the built artifacts."""
FIRST = ("laptop", "tests/local/test_docs.py", "tests/local/test_rotation_load.py", "tests/artifacts/test_cdk.py")
"""Units that take longest."""


def unit_of(nodeid: str) -> str:
    """Return the unit of a test. One xdist worker runs all tests of a unit, and creates its fixtures."""
    file = nodeid.partition("::")[0]
    if file in ARTIFACTS:
        return "artifacts"
    return "laptop" if file.startswith("tests/local/") and file not in STARTS else file


class UnitScheduling(LoadScopeScheduling):
    """Assigns units to workers in their order. xdist's own groups have no effect with pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> UnitScheduling:
    """Replace the scheduler of --dist."""
    config.option.loadscopereorder = False
    return UnitScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one more worker than cores: tests of the laptop edition wait for most of their time."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by folder. Workers begin with the longest units."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in SLOW_FOLDERS:
            item.add_marker(pytest.mark.slow)
        if folder == "local":
            item.add_marker(pytest.mark.laptop)
    if hasattr(config, "workerinput"):
        ranks = {unit: rank for rank, unit in enumerate(FIRST)}
        items.sort(key=lambda item: ranks.get(unit_of(item.nodeid), len(ranks)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure few of the processes that tests of the laptop edition start."""
    is_laptop = item.get_closest_marker("laptop") is not None
    with unmeasured_processes() if is_laptop else contextlib.nullcontext():
        return (yield)
