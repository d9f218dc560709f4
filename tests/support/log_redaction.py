"""Searches every log line of a test run for credentials, and fails the run that has one.

Lines of this process are taken where they are written, whatever a test does with them; those of
other processes from what they printed. A line is searched at once for what looks like a credential
and for those of its own request; at the end, all lines for all credentials that were used.
"""

import functools
import json
import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from threading import local
from types import SimpleNamespace
from typing import Any

import pytest

from authorizer.authorizer import LambdaAuthorizer
from functions.rotate_keys import handler as rotate_keys
from functions.shared.web.endpoint import Endpoint
from local.demo_clients import demo_clients
from tests.support import log_record
from tests.support.credential_search import shape_in, used_in, words

Emit = Callable[[str], None]


_KEPT_LINES = "lines"
_KEPT_CREDENTIALS = "credentials-*.json"

lines: list[str] = []
credentials: set[str] = set()
leaks: list[str] = []
_request = local()
_invented = SimpleNamespace(on=False)
"""True if Hypothesis generates the requests. It may send words of the code as credentials,
and lines contain those. Values with the shape of a credential are still searched for."""
_found: list[str] = []
_searched: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Record log lines; workers store theirs in their controller's folder."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="gatehouse-logs-")
        config.add_cleanup(folder.cleanup)
        os.environ[log_record.FOLDER] = folder.name
    patch = pytest.MonkeyPatch()
    patch.setattr(Endpoint, "__init__", _heard(Endpoint.__init__))
    patch.setattr(Endpoint, "__call__", _judged(Endpoint.__call__))
    patch.setattr(LambdaAuthorizer, "__init__", _heard(LambdaAuthorizer.__init__))
    patch.setattr(LambdaAuthorizer, "decide", _judged(LambdaAuthorizer.decide))
    patch.setattr(rotate_keys, "run_and_log", _heard(rotate_keys.run_and_log))
    config.add_cleanup(patch.undo)


def _heard(takes_emit: Callable[..., Any]) -> Callable[..., Any]:
    """Have us hear, too, what is written to the `emit` that a callable is given."""
    declared = signature(takes_emit)

    @functools.wraps(takes_emit)
    def heard(*args: Any, **options: Any) -> Any:
        given = declared.bind(*args, **options)
        emit = given.arguments.get("emit", declared.parameters["emit"].default)
        given.arguments["emit"] = _overheard(emit)
        return takes_emit(*given.args, **given.kwargs)

    return heard


def _overheard(emit: Emit) -> Emit:
    def overheard(line: str) -> None:
        lines.append(line)
        getattr(_request, "lines", []).append(line)
        shape = shape_in(line)
        if shape is not None:
            leaks.append(f"{shape} in {line}")
        emit(line)

    return overheard


def _judged(answers: Callable[..., Any]) -> Callable[..., Any]:
    """Search a request's lines for the credentials that it came with, and is answered with."""

    @functools.wraps(answers)
    def judged(self: object, event: Mapping[str, object], *args: object) -> Any:
        _request.lines = []
        answer = None
        try:
            answer = answers(self, event, *args)
        finally:
            used = set() if _invented.on else used_in(getattr(event, "_event", event), answer)
            credentials.update(used)
            for line in _request.lines:
                leaks.extend(f"a credential of its request in {line}" for one in used if one in line)
        return answer

    return judged


@contextmanager
def _no_leak() -> Iterator[None]:
    before = len(leaks)
    yield
    found = leaks[before:]
    if found:
        pytest.fail("log lines with credentials:\n" + "\n".join(found), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail the test during which a credential was logged."""
    _invented.on = hasattr(getattr(item, "obj", None), "hypothesis")
    with _no_leak():
        yield


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Store the recorded lines; the controller searches all of them for used credentials."""
    log_record.keep(_KEPT_LINES, (f"{line}\n" for line in lines))
    kept = log_record.new_file("credentials").with_suffix(".json")
    kept.write_text(json.dumps(sorted(credentials)), encoding="utf-8")
    if hasattr(session.config, "workerinput"):
        return
    found = list(_search(Path(os.environ[log_record.FOLDER])))
    _found.extend(found)
    if found and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _search(folder: Path) -> Iterator[str]:
    used = {f"{client.client_id}-secret" for client in demo_clients()}
    for path in folder.glob(_KEPT_CREDENTIALS):
        used.update(json.loads(path.read_text(encoding="utf-8")))
    searched = 0
    for path in folder.glob("*.log"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            searched += 1
            shape = shape_in(line)
            if shape is not None:
                yield f"{shape} in {path.stem}: {line}"
            elif not used.isdisjoint(words(line)):
                yield f"a credential that was used in {path.stem}: {line}"
    _searched.append(f"{searched} lines searched for {len(used)} credentials")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was searched, and what was found."""
    if _found:
        terminalreporter.section("credentials in logs", red=True, bold=True)
        for sentence in _found:
            terminalreporter.line(sentence)
    for sentence in _searched:
        terminalreporter.line(f"log redaction: {sentence}, {len(_found)} found")
