"""Tokens per second over HTTP: from `make run`, and from oidc-provider in Node."""

import base64
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.oidc_provider import CLIENT_ID, CLIENT_SECRET, SCOPE, oidc_provider
from tests.benchmarks.results import Section, compared, measured
from tests.benchmarks.turns import has_node
from tests.support.laptop import free_environment, running

TURNS, SECONDS, CONNECTIONS = 6, 3, 8
_OURS, _RIVAL = "Gatehouse, make run", "oidc-provider"
_BODY = "grant_type=client_credentials&scope=" + SCOPE.replace(" ", "%20")
_CREDENTIALS = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()


class Target(NamedTuple):
    """A token endpoint on this machine, and the process that started its server."""

    port: int
    path: str
    pid: int

    def request(self) -> bytes:
        """Write the token request."""
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: localhost:{self.port}\r\n"
            f"Authorization: Basic {_CREDENTIALS}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(_BODY)}\r\n\r\n{_BODY}"
        ).encode()


def http_rate() -> Section:
    """Ask both servers for tokens, in turns."""
    load = _wrk if shutil.which("wrk") else _threads
    generator = "wrk -t1" if load is _wrk else "a generator in Python"
    environ = free_environment() | {"GATEHOUSE_RATE_LIMITS": "off"}
    port = int(environ["GATEHOUSE_AUTH_PORT"])
    rates: dict[str, list[float]] = {_OURS: [], _RIVAL: []}
    times: dict[str, list[float]] = {_OURS: [], _RIVAL: []}
    with running(environ) as laptop, oidc_provider() if has_node() else nullcontext() as rival:
        laptop.wait_for_line("Everything is up")
        targets = {_OURS: Target(port, "/ms-auth-server/oauth2/token", laptop.process.pid)}
        if rival is not None:
            targets[_RIVAL] = Target(rival.port, "/token", rival.pid)
        for target in targets.values():
            load(target, 1)
        for _ in range(TURNS):
            for name, target in targets.items():
                before = _processor_seconds(target.pid)
                rates[name].append(rate := load(target, SECONDS))
                times[name].append((_processor_seconds(target.pid) - before) / rate / SECONDS * 1e6)
    names, goals = [_OURS], []
    if rates[_RIVAL]:
        names, words = [_OURS, _RIVAL], f"Gatehouse compared with {_RIVAL}"
        goals = [
            compared(f"tokens a second, {words}", rates[_OURS], rates[_RIVAL], 1, at_least=True),
            compared(f"processor time of such a token, {words}", times[_OURS], times[_RIVAL], None),
        ]
    return Section(
        "Tokens per second over HTTP",
        f"{CONNECTIONS} persistent connections, {TURNS} turns of {SECONDS} s each, asked by "
        f"{generator}: client credentials by HTTP Basic for an RS256 token. Server and generator "
        f"share this machine's cores, of which there are {os.cpu_count()}. oidc-provider has its "
        "state in memory, writes no log, and signs on several threads of one process. Gatehouse "
        "runs as `make run` starts it: behind chalice's development server, one process per "
        "core. moto is the AWS, each request has two log lines, and the console is active. The "
        "processor time is that of the servers' processes.",
        [
            *(measured(name, rates[name], "tokens/s") for name in names),
            *(measured(f"{name}: processor time of a token", times[name], "µs") for name in names),
        ],
        goals,
    )


def _processor_seconds(pid: int) -> float:
    """Return the processor time of a process and of its descendants."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return own + sum(_processor_seconds(int(child)) for each in tasks for child in each.read_text().split())


def _wrk(target: Target, seconds: int) -> float:
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "token.lua"
        lines = (
            'wrk.method = "POST"',
            f'wrk.body = "{_BODY}"',
            f'wrk.headers["Authorization"] = "Basic {_CREDENTIALS}"',
            'wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"',
            "done = function(summary, latency, requests)",
            "  io.write(string.format('RATE %f %d\\n',",
            "    summary.requests / summary.duration * 1e6,",
            "    summary.errors.status + summary.errors.read + summary.errors.timeout))",
            "end",
        )
        script.write_text("\n".join(lines))
        url = f"http://127.0.0.1:{target.port}{target.path}"
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url]
        output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    _, rate, errors = next(line for line in output.splitlines() if line[:4] == "RATE").split()
    if int(errors):
        raise RuntimeError(f"{errors} of the responses had no token:\n{output}")
    return float(rate)


def _threads(target: Target, seconds: int) -> float:
    counts = [0] * CONNECTIONS
    until = time.monotonic() + seconds

    def request_all(at: int) -> None:
        request = target.request()
        with socket.create_connection(("127.0.0.1", target.port)) as connection:
            answers = connection.makefile("rb")
            while time.monotonic() < until:
                connection.sendall(request)
                assert b" 200 " in answers.readline()
                length = 0
                while (line := answers.readline()) not in (b"\r\n", b""):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                answers.read(length)
                counts[at] += 1

    started = time.monotonic()
    threads = [threading.Thread(target=request_all, args=(at,)) for at in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - started)
