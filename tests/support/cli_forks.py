"""The command `gatehouse` in forks of one process that has imported it.

Imports are most of the CPU time of a command. `cli_client` sends its arguments and streams to that
process, and exits with the exit code of the command there.
"""

import json
import os
import select
import socket
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from traceback import print_exc

import boto3
import botocore.session

from infra.cli.app import COMMANDS, main

_starting = Lock()  # `cache` calls a function twice if two threads call it at once
_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def forked_gatehouse() -> tuple[str, ...]:
    """Return the words that run the command in a fork. The process that forks ends with this one."""
    client = str(Path(__file__).with_name("cli_client.py"))
    with _starting:
        return (sys.executable, "-S", "-E", client, _started()[1])


@cache
def _started() -> tuple[subprocess.Popen[bytes], str]:
    """Start the process that forks; return it, because it ends with its standard input, and its socket."""
    path = str(Path(mkdtemp(prefix="gatehouse-cli-")) / "socket")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.cli_forks", path],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process, path


def _serve(path: str) -> None:
    for command in COMMANDS.values():
        import_module(command.partition(":")[0], "infra.cli")
    import_module("jsonschema")
    # Service models are parsed once, too.
    botocore.session.create_loader = cache(botocore.session.create_loader)
    session = boto3.Session("none", "none", region_name="us-east-1")
    for service in ("dynamodb", "kms", "secretsmanager", "ssm"):
        session.client(service)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(path)
        server.listen()
        os.write(1, b"ready\n")
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            connection, _ = server.accept()
            if os.fork() == 0:
                _run(connection)
                os._exit(0)
            connection.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    Path(path).unlink()
    Path(path).parent.rmdir()


def _run(connection: socket.socket) -> None:
    """Run a command in this fork, and send its exit code."""
    message, descriptors, _, _ = socket.recv_fds(connection, 1 << 17, len(_STREAMS))
    for number, (descriptor, (name, mode)) in enumerate(zip(descriptors, _STREAMS, strict=True)):
        os.dup2(descriptor, number)
        os.close(descriptor)
        # A new one, because the old one may expect that it can seek.
        stream = open(number, mode, encoding="utf-8")  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    request = json.loads(message)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv[1:] = request["arguments"]
    code = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except Exception:
        print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(bytes([code]))


if __name__ == "__main__":
    _serve(sys.argv[1])
