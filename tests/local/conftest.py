"""One laptop edition for all tests of this folder, and a load test that runs concurrently."""

import contextlib
import fcntl
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.laptop import ROOT, Laptop, free_environment, running
from tests.support.measured import measured

_NODE = ROOT / "tests" / "local" / "node"


@pytest.fixture(scope="session")
def laptop() -> Iterator[Laptop]:
    """The laptop edition after its walkthrough, with the MCP server of docs/examples/mcp: see `make mcp`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--stack", "docs/examples/mcp/template.yaml", "--stack-port", str(port))
    with running(free_environment(), *options, with_coverage=True) as laptop:
        laptop.wait_for_line("Everything is up")
        yield laptop


@pytest.fixture(scope="session")
def spares() -> Iterator[Callable[[], Laptop]]:
    """Start another one, or return the one that is running."""
    laptops: list[Laptop] = []
    with contextlib.ExitStack() as stack:

        def spare() -> Laptop:
            if not laptops or laptops[-1].process.poll() is not None:
                laptops.append(stack.enter_context(running(free_environment())))
                laptops[-1].wait_for_line("Everything is up")
            return laptops[-1]

        yield spare


@pytest.fixture
def spare_laptop(spares: Callable[[], Laptop]) -> Laptop:
    """Another one, for tests that depend on its clients and keys, change its keys, or end it."""
    return spares()


@pytest.fixture(scope="session")
def mcp_server(laptop: Laptop) -> str:
    """The URL of the MCP server."""
    line = laptop.wait_for_line("Starting the stack of docs/examples/mcp/template.yaml")
    return line.split(" on ")[1].removesuffix(" …\n") + "/mcp"


@pytest.fixture(scope="session", autouse=True)
def load_test(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str] | None]:
    """The process of test_rotation_load.py, started with the first test of the session.

    It takes most of a minute, and waits most of that time.
    """
    if not any(item.path.name == "test_rotation_load.py" for item in request.session.items):
        yield None
        return
    options = ("--seconds", "47", "--clients", "2", "--pause", "0.1")
    process = subprocess.Popen(
        [sys.executable, "-m", "local.cli", "tests.benchmarks.rotation_load", *options],
        cwd=ROOT,
        env=measured(free_environment()),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    process.terminate()
    process.communicate(timeout=15)


@pytest.fixture(scope="session")
def packages() -> Path:
    """The packages of the lock file, installed if missing, by one test process. Skips without npm."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("Node and npm are not installed here.")
    lock = _NODE / "package-lock.json"
    installed = _NODE / "node_modules" / ".package-lock.json"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            _install()
            installed.touch()
    return _NODE


def _install() -> None:
    """Install the packages. Networks fail now and then, so twice if need be."""
    command = ["npm", "ci", "--no-audit", "--no-fund"]
    if subprocess.run(command, cwd=_NODE, check=False, timeout=120).returncode != 0:
        subprocess.run(command, cwd=_NODE, check=True, timeout=120)
