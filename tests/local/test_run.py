"""`make run` as its user sees it: what it prints, and that it ends everything it started."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.laptop import ROOT, Laptop, free_environment, gatehouse, running, wait_until_free


def test_walkthrough_holds_and_stops() -> None:
    environ = free_environment()
    with running(environ, "--check") as laptop:
        assert laptop.process.wait(timeout=90) == 0
    assert "The walkthrough holds." in laptop.output
    assert "FAILED" not in laptop.output
    wait_until_free(environ)


@pytest.mark.parametrize(
    ("line", "signum"), [("Starting AWS", signal.SIGTERM), ("Starting the guarded API", signal.SIGINT)]
)
def test_signal_during_the_start_stops_everything(line: str, signum: signal.Signals) -> None:
    environ = free_environment()
    with running(environ) as laptop:
        laptop.wait_for_line(line)
        laptop.process.send_signal(signum)
        assert laptop.process.wait(timeout=15) == 0
    assert laptop.output.endswith("\nStopped.\n")
    assert "Traceback" not in laptop.output
    assert not processes_with(environ)


def test_interrupt_during_the_imports_prints_no_traceback() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = (
        makefile.split("\nrun: ")[1]
        .splitlines()[1]
        .strip()
        .removeprefix("@")
        .replace(".venv/bin/python", sys.executable)
    )
    process = subprocess.Popen(
        ["sh", "-c", recipe],
        cwd=ROOT,
        env=free_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    maps = Path(f"/proc/{process.pid}/maps")
    while "/_socket." not in maps.read_text():  # loaded by the imports of `local.run`
        assert process.poll() is None
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.read() == "\nStopped.\n"
    assert process.returncode == 0


def processes_with(environ: dict[str, str]) -> list[Path]:
    """Return the running processes of a run, by the port in their environment."""
    wanted = f"GATEHOUSE_AUTH_PORT={environ['GATEHOUSE_AUTH_PORT']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(process)
    return found


def test_port_in_use_is_one_sentence() -> None:
    environ = free_environment()
    with socket.create_server(("127.0.0.1", int(environ["GATEHOUSE_API_PORT"]))):
        with running(environ) as laptop:
            assert laptop.process.wait(timeout=30) == 1
        assert "GATEHOUSE_API_PORT" in laptop.output
        assert "Traceback" not in laptop.output


def test_concurrent_emergencies_report_the_key(spare_laptop: Laptop) -> None:
    command = ("keys", "emergency", "--yes", "--json")
    with ThreadPoolExecutor(2) as threads:
        ended = list(threads.map(lambda _: gatehouse(spare_laptop, *command), range(2)))
    listed = json.loads(gatehouse(spare_laptop, "keys", "list", "--json").stdout)
    (signs,) = [key["kid"] for key in listed if key["state"] == "signs"]
    assert sorted(each.returncode for each in ended) in ([0, 5], [0, 0]), ended  # the latter: one after the other
    assert all(signs in json.loads(each.stderr)["error"] for each in ended if each.returncode == 5)
    assert signs in {json.loads(each.stdout)["made"] for each in ended if each.returncode == 0}


def test_ended_child_stops_the_run(spare_laptop: Laptop) -> None:
    pattern = f"chalice local.*--port {spare_laptop.environ['GATEHOUSE_API_PORT']}"
    subprocess.run(["pkill", "-KILL", "-f", pattern], check=True)
    assert spare_laptop.process.wait(timeout=15) == 1
    spare_laptop.wait_for_line("The guarded API process ended unexpectedly")
    wait_until_free(spare_laptop.environ)
