"""Records the AWS calls of a test run, and fails a run that its functions' roles would not allow.

Every recorded call needs a grant. A grant without a call is reported only after a successful run of all tests.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.recorder import aws_call_recorder as recorder

_found: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Record this process and its children; workers write to their controller's folder."""
    if not _is_worker(config):
        os.environ.update(recorder.environment(tempfile.mkdtemp(prefix="gatehouse-aws-calls-")))
    sys.path.append(str(recorder.FOLDER_OF_THIS))
    recorder.listen()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Judge what was recorded, when every worker has ended."""
    if _is_worker(session.config):
        return
    folder = Path(os.environ[recorder.FOLDER])
    whole = exitstatus == 0 and _is_whole(session.config)
    if whole or any(folder.iterdir()):
        # Imports what a run without any call does without.
        from tests.support import privileges

        records, roles = privileges.read(folder), privileges.Roles.of_the_stack()
        _found.extend(privileges.refused(records, roles))
        if whole:
            _found.extend(privileges.unused(records, roles))
    shutil.rmtree(folder)
    if _found and exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was found."""
    if _found:
        terminalreporter.section("the functions' roles in template.yaml", red=True, bold=True)
        for sentence in _found:
            terminalreporter.line(sentence)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _is_whole(config: pytest.Config) -> bool:
    """Return True for a run of all tests, without any selection."""
    narrowing = ("keyword", "markexpr", "deselect", "lf", "ignore", "ignore_glob", "collectonly")
    named = config.args_source is not config.ArgsSource.TESTPATHS
    return not named and not any(config.getoption(name, default=None) for name in narrowing)
