"""Errors of `gatehouse`: one sentence and an exit code, never a traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from tests.support.laptop import ROOT, Laptop, gatehouse, wait_until

COMMAND = (sys.executable, "-m", "infra.cli")  # a process of its own


@pytest.fixture
def unwritable() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """A pipe without a reader, and a full disk."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as gone, open("/dev/full", "wb") as full:
        yield gone, full


def test_ascii_terminal_is_supported(laptop: Laptop) -> None:
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    listed = gatehouse(laptop, "keys", "list", command=COMMAND, **plain)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.isascii()
    assert ". upcoming  # current  - retired  | now" in listed.stdout


def test_home_directory_is_optional(laptop: Laptop, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    for command in (COMMAND, ("env", "-u", "HOME", *COMMAND)):
        listed = gatehouse(laptop, "clients", "list", "--json", command=command, HOME=str(tmp_path))
        assert (listed.returncode, listed.stderr) == (0, "")


@pytest.mark.parametrize(
    ("environ", "options", "said"),
    [
        ({}, (), "No AWS region is set. Add --region, or set AWS_DEFAULT_REGION."),
        ({}, ("--region", "eu-west-1"), "No AWS credentials were found. Run 'aws configure'"),
        ({"AWS_ACCESS_KEY_ID": "A"}, ("--region", "eu-west-1"), "Partial credentials found in env"),
        (
            {
                "AWS_ACCESS_KEY_ID": "A",
                "AWS_SECRET_ACCESS_KEY": "B",
                "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
                "AWS_MAX_ATTEMPTS": "1",
            },
            ("--region", "eu-west-1"),
            "127.0.0.1:9 does not respond: no connection.",
        ),
    ],
)
def test_unreachable_account_is_one_sentence(
    laptop: Laptop, environ: dict[str, str], options: tuple[str, ...], said: str
) -> None:
    away = {"HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", **environ}
    kept = {name: value for name, value in laptop.environ.items() if not name.startswith("AWS_")}
    command = [*COMMAND, "--stack", "gatehouse", *options, "keys", "list"]
    refused = subprocess.run(
        command, cwd=ROOT, env=kept | away, capture_output=True, text=True, timeout=60, check=False
    )
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.startswith(said)
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("completion", "bash"), ("clients", "list"), ("clients", "list", "--json")],
    ids=" ".join,
)
def test_unwritable_output_has_its_exit_code(
    laptop: Laptop, arguments: tuple[str, ...], unwritable: tuple[IO[bytes], IO[bytes]]
) -> None:
    """Python 3.13 and later exit with 120 when their last flush fails."""
    for output, code in zip(unwritable, (1, 4), strict=True):
        ended = gatehouse(laptop, *arguments, command=COMMAND, stdout=output)
        assert ended.returncode == code, ended.stderr
        if code == 4 and arguments[-1] in {"list", "--json"}:
            assert "The result cannot be written: No space left on device." in ended.stderr
        assert "Traceback" not in ended.stderr
        assert "Exception ignored" not in ended.stderr


def test_unprinted_secret_is_reported_as_lost(laptop: Laptop, unwritable: tuple[IO[bytes], IO[bytes]]) -> None:
    for output, command in zip(unwritable, ("create", "rotate-secret"), strict=True):
        ended = gatehouse(laptop, "clients", command, "unheard", command=COMMAND, stdout=output)
        assert ended.returncode == 4, ended.stderr
        assert "lost. Create another: gatehouse --local clients rotate-secret unheard." in ended.stderr
    assert gatehouse(laptop, "clients", "delete", "unheard", "--yes").returncode == 0


def test_ctrl_c_exits_with_130(laptop: Laptop) -> None:
    # Whatever started the tests may ignore the signal, which processes inherit.
    begin = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from infra.cli.app import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", begin, "--local", "token", "inspect"],
        cwd=ROOT,
        env=laptop.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as waiting:
        assert waiting.stdin is not None
        assert waiting.stderr is not None
        # It has begun once it reads what is piped in; a pipe takes so much before it blocks.
        waiting.stdin.write(b"a" * (1 << 17))
        waiting.stdin.flush()
        wait_until(lambda: _is_asleep(waiting.pid))  # Python overlooks a signal that comes before a read
        while waiting.poll() is None:
            waiting.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                waiting.wait(5)  # a second one during its end would kill it
        assert waiting.returncode == 130
        assert b"Traceback" not in waiting.stderr.read()


def _is_asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "S"
