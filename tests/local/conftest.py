"""One laptop edition for all tests of this folder, another one that they may change, and npm packages."""

import contextlib
import fcntl
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.laptop import ROOT, Laptop, free_environment, free_port, running

_NODE = ROOT / "tests" / "local" / "node"


@pytest.fixture(scope="session")
def laptop() -> Iterator[Laptop]:
    """The laptop edition after its walkthrough, with the MCP server of docs/examples/mcp: see `make mcp`."""
    options = ("--stack", "docs/examples/mcp/template.yaml", "--stack-port", str(free_port()))
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
