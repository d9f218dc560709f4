"""A server that runs out of file descriptors, as a real process with a low limit."""

import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.laptop import ROOT

LIMIT = 40


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status(connection: socket.socket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection.recv(65_536).split(b"\r\n")[0]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Only Linux has prlimit.")
def test_exhausted_file_descriptors_do_not_spin() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.worker_server", "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(LIMIT + 20)]
        assert process.stderr is not None
        line = process.stderr.readline()
        before = processor_seconds(process.pid)
        time.sleep(1)  # measures the CPU time of a second
        used = processor_seconds(process.pid) - before
        for connection in connections:
            connection.close()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            assert status(connection) == b"HTTP/1.1 200 OK"
        process.kill()
        rest = process.stderr.read()
    assert line.startswith(b"No connection can be accepted (Too many open files): close some")
    assert used < 0.25
    assert rest.count(b"No connection can be accepted") == 0
    assert b"Traceback" not in rest
