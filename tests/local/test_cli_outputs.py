"""Errors of `gatehouse`: one sentence and an exit code, never a traceback."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.laptop import ROOT, Laptop, free_environment, running

COMMAND = (sys.executable, "-m", "infra.cli")


def environment(laptop: Laptop, **more: str) -> dict[str, str]:
    ports = {
        "GATEHOUSE_AUTH_PORT": str(laptop.addresses.auth_port),
        "GATEHOUSE_API_PORT": str(laptop.addresses.api_port),
        "GATEHOUSE_AWS_PORT": str(laptop.addresses.aws_port),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, **ports, **more}


def run(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_ascii_terminal_is_supported(laptop: Laptop) -> None:
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    listed = run(environment(laptop, **plain), "--local", "keys", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.isascii()
    assert ". upcoming  # current  - retired  | now" in listed.stdout


def test_home_directory_is_optional(laptop: Laptop, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    without = environment(laptop)
    del without["HOME"]
    for environ in (environment(laptop, HOME=str(tmp_path)), without):
        listed = run(environ, "--local", "clients", "list", "--json")
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
    refused = run(environment(laptop, **away), "--stack", "gatehouse", *options, "keys", "list")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.startswith(said)
    assert len(refused.stderr.splitlines()) == 1


def test_closed_pipe_or_full_disk_has_no_traceback(laptop: Laptop) -> None:
    environ = environment(laptop)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as gone, open("/dev/full", "wb") as full:
        for output, options, code, said in (
            (gone, (), 1, b""),
            (full, ("--json",), 4, b"The result cannot be written: No space left on device."),
        ):
            ended = subprocess.run(
                [*COMMAND, "--local", "clients", "list", *options],
                cwd=ROOT,
                env=environ,
                stdout=output,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )
            assert ended.returncode == code, ended.stderr
            assert b"Traceback" not in ended.stderr
            assert said in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("clients", "--help"),
        ("completion", "bash"),
        ("--local", "clients", "list"),
        ("--local", "keys", "list", "--json"),
        ("--local", "clients", "show", "service-client-jwt"),
    ],
    ids=" ".join,
)
def test_unwritable_output_has_its_exit_code(laptop: Laptop, arguments: tuple[str, ...]) -> None:
    """Python 3.13 and later exit with 120 when their last flush fails."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as gone, open("/dev/full", "wb") as full:
        for output, code in ((gone, 1), (full, 4)):
            ended = subprocess.run(
                [*COMMAND, *arguments],
                cwd=ROOT,
                env=environment(laptop),
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
            assert ended.returncode == code, ended.stderr
            assert "Traceback" not in ended.stderr
            assert "Exception ignored" not in ended.stderr


def test_unprinted_secret_is_reported_as_lost(laptop: Laptop) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as gone, open("/dev/full", "wb") as full:
        for output, command in ((gone, "create"), (full, "rotate-secret")):
            ended = subprocess.run(
                [*COMMAND, "--local", "clients", command, "unheard"],
                cwd=ROOT,
                env=environment(laptop),
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
            assert ended.returncode == 4, ended.stderr
            assert "lost. Create another: gatehouse --local clients rotate-secret unheard." in ended.stderr
    assert run(environment(laptop), "--local", "clients", "delete", "unheard", "--yes").returncode == 0


def test_ctrl_c_exits_with_130(laptop: Laptop) -> None:
    # Whatever started the tests may ignore the signal, which processes inherit.
    begin = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from infra.cli.app import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", begin, "--local", "token", "inspect"],
        cwd=ROOT,
        env=environment(laptop),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as waiting:
        assert waiting.stdin is not None
        assert waiting.stderr is not None
        # It has begun once it reads what is piped in; a pipe takes so much before it blocks.
        waiting.stdin.write(b"a" * (1 << 17))
        waiting.stdin.flush()
        while waiting.poll() is None:  # again, for Python overlooks one that comes before a read
            waiting.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                waiting.wait(5)  # a second one during its end would kill it
        assert waiting.returncode == 130
        assert b"Traceback" not in waiting.stderr.read()


def test_concurrent_emergencies_report_the_key() -> None:
    # A laptop of its own: for half a minute not all of its processes know the new key.
    with running(free_environment()) as laptop:
        laptop.wait_for_line("Everything is up")
        _hold_two_emergencies(environment(laptop))


def _hold_two_emergencies(environ: dict[str, str]) -> None:
    both = [
        subprocess.Popen(
            [*COMMAND, "--local", "keys", "emergency", "--yes", "--json"],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ended = [(process.communicate(timeout=60), process.returncode) for process in both]
    listed = json.loads(run(environ, "--local", "keys", "list", "--json").stdout)
    (signs,) = [key["kid"] for key in listed if key["state"] == "signs"]
    codes = sorted(code for _, code in ended)
    assert codes in ([0, 5], [0, 0]), ended  # the latter: one after the other
    for (_out, err), code in ended:
        if code == 5:
            assert signs in json.loads(err)["error"]
    assert signs in {json.loads(out)["made"] for (out, _), code in ended if code == 0}
