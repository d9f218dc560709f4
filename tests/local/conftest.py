"""One laptop edition for all tests of this folder, and a storm that blows while they run."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.laptop import ROOT, Laptop, free_environment, running


@pytest.fixture(scope="session")
def laptop() -> Iterator[Laptop]:
    """The laptop edition, up and past its walkthrough."""
    with running(free_environment()) as laptop:
        laptop.wait_for_line("Everything is up")
        yield laptop


@pytest.fixture(scope="session", autouse=True)
def storm(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str] | None]:
    """The storm that test_storm.py is about, if that is among the tests.

    It takes most of a minute, in which it mostly waits. So it begins with the first test.
    """
    if not any(item.path.name == "test_storm.py" for item in request.session.items):
        yield None
        return
    options = ("--seconds", "47", "--clients", "2", "--pause", "0.1")
    process = subprocess.Popen(
        [sys.executable, "-m", "local.storm", *options],
        cwd=ROOT,
        env=free_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    process.terminate()
    process.communicate(timeout=15)
