import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from local.aws_gate import AwsGate
from local.followers import Answer, Followers, follow

NEVER = "import sys; sys.stdin.read()"


@contextmanager
def a_process() -> Iterator[int]:
    """Run until the block is left."""
    with subprocess.Popen([sys.executable, "-c", NEVER], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def everything_else(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("418 I'm a teapot", [])
    return []


@contextmanager
def serving(followers: Followers) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, followers.in_front_of(everything_else))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_last_of_the_followers_decides() -> None:
    with a_process() as second:
        with a_process() as first:
            followers = Followers(first)
            with serving(followers) as port:
                assert follow(port, second, None) is Answer.YES
        assert followers.remain()
    assert not followers.remain()


def test_who_comes_after_the_last_has_ended_is_told_to_wait() -> None:
    with a_process() as first:
        followers = Followers(first)
    with serving(followers) as port, a_process() as late:
        assert follow(port, late, None) is Answer.NOT_YET
    assert not followers.remain()


def test_a_process_that_has_ended_counts_as_gone_before_anybody_asked_how() -> None:
    with subprocess.Popen([sys.executable, "-c", NEVER], stdin=subprocess.PIPE) as process:
        followers = Followers(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not followers.remain()


def test_nobody_and_a_stranger_are_told_apart() -> None:
    server = make_server("127.0.0.1", 0, everything_else)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    assert follow(server.server_port, 1, None) is Answer.STRANGER
    server.shutdown()
    thread.join()
    server.server_close()
    assert follow(server.server_port, 1, None) is Answer.NOBODY


def test_a_moto_that_is_being_provisioned_or_has_another_key_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server = make_server("127.0.0.1", 0, everything_else)
    gate = AwsGate(server.server_port)
    server.app = gate.in_front_of(Followers(os.getpid()).in_front_of(everything_else))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    assert follow(server.server_port, os.getpid(), None) is Answer.NOT_YET
    gate.open()
    assert follow(server.server_port, os.getpid(), "of-an-earlier-run") is Answer.NOT_YET
    assert follow(server.server_port, os.getpid(), gate.access_key) is Answer.YES
    server.shutdown()
    thread.join()
    server.server_close()
