"""A Lambda function started from its built artifact, by AWS's own runtime client.

The process has Lambda's environment: the artifact as working directory, the runtime's packages, the template's
variables, and a Runtime API. It cannot import the tests' virtual environment. One more module records the AWS calls.
"""

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.recorder import aws_call_recorder as recorder
from tests.support import log_record

ACCOUNT = "123456789012"
REGION = "us-east-1"
RUNTIME_PACKAGES = (
    "awslambdaric", "simplejson", "snapshot-restore-py",
    "boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3",
)  # fmt: skip
"""Distributions that a Lambda runtime for Python brings."""

POLL_SECONDS = 0.01
"""How often a server looks for its end: the default of `serve_forever` would add half a second to each start."""

_PATH = "/2018-06-01/runtime"
_SECONDS = 30.0
_TIMEOUT = 10.0
"""Remaining time in the function's context, in seconds."""


@dataclass(frozen=True)
class Outcome:
    """The function's response or error, and the caller's waiting time in `seconds`."""

    kind: str  # "response", "error" or "init error"
    body: Any
    seconds: float


class RuntimeApi(ThreadingHTTPServer):
    """The HTTP API that a function fetches its events from.

    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
    """

    daemon_threads = True

    def __init__(self, function_name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.function_name = function_name
        self.events: queue.Queue[str | None] = queue.Queue()
        self.outcomes: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.ready = threading.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Be silent: a function that ends drops its connection."""

    def headers(self) -> dict[str, str]:
        deadline = time.time() + _TIMEOUT
        return {
            "Lambda-Runtime-Aws-Request-Id": str(uuid4()),
            "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": (f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.function_name}"),
            "Lambda-Runtime-Trace-Id": "Root=1-6553f1c1-25d0b2f91c8e1f6c5d3b7a90;Sampled=0",
            "Lambda-Runtime-Client-Context": "{}",
            "Lambda-Runtime-Cognito-Identity": "{}",
            "Lambda-Runtime-Invocation-Id": str(uuid4()),
            "Lambda-Runtime-Aws-Tenant-Id": "",
        }


class _Handler(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert self.path == f"{_PATH}/invocation/next"
        self.server.ready.set()
        event = self.server.events.get()
        if event is None:
            self.close_connection = True
            return
        self._answer(200, event.encode(), self.server.headers())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.path.rpartition("/")[2]
        self.server.outcomes.put(("init error" if "/init/" in self.path else kind, body))
        self._answer(202, b'{"status":"OK"}', {})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class LambdaProcess:
    """A running function."""

    api: RuntimeApi
    process: subprocess.Popen[bytes]
    started: float
    lines: list[str] = field(default_factory=list)
    init_seconds: float = 0.0

    def invoke(self, event: object) -> Outcome:
        """Send one event and wait for what becomes of it."""
        begun = time.perf_counter()
        self.api.events.put(json.dumps(event))
        return self.outcome(begun)

    def outcome(self, begun: float) -> Outcome:
        """Wait for the next answer, or fail with what the process wrote."""
        deadline = begun + _SECONDS
        while time.perf_counter() < deadline:
            with contextlib.suppress(queue.Empty):
                kind, body = self.api.outcomes.get(timeout=0.05)
                return Outcome(kind, json.loads(body), time.perf_counter() - begun)
            if self.process.poll() is not None and self.api.outcomes.empty():
                break
        raise AssertionError("the function did not answer:\n" + "".join(self.lines))


def make_runtime(directory: Path) -> Path:
    """Fill a folder with links to what the runtime brings, and return it."""
    directory.mkdir()
    for name in RUNTIME_PACKAGES:
        installed = distribution(name)
        tops = {file.parts[0] for file in installed.files or () if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            link = directory / top
            if not link.exists():
                link.symlink_to(str(installed.locate_file(top)))
    return directory


@contextlib.contextmanager
def started(artifact: Path, handler: str, runtime: Path, environ: Mapping[str, str]) -> Iterator[LambdaProcess]:
    """Start an artifact's handler, and end it on leaving."""
    api = RuntimeApi(artifact.name)
    threading.Thread(target=api.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-S", "-m", "awslambdaric", handler],
        cwd=artifact,
        env={**_lambda_environment(artifact), **environ, "AWS_LAMBDA_RUNTIME_API": api.address,
             **recorder.inherited(), "PYTHONPATH": f"{runtime}:{recorder.FOLDER_OF_THIS}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    function = LambdaProcess(api, process, begun)
    stdout = process.stdout
    assert stdout is not None
    reader = threading.Thread(target=lambda: function.lines.extend(line.decode() for line in stdout), daemon=True)
    reader.start()
    try:
        while not api.ready.wait(0.005) and api.outcomes.empty() and process.poll() is None:
            pass
        function.init_seconds = time.perf_counter() - begun
        yield function
    finally:
        process.kill()
        process.wait(timeout=10)
        api.events.put(None)
        reader.join(timeout=5)
        stdout.close()
        log_record.keep(artifact.name, function.lines)
        api.shutdown()
        api.server_close()


def _lambda_environment(artifact: Path) -> dict[str, str]:
    return {
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_FUNCTION_NAME": artifact.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{artifact.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "LAMBDA_TASK_ROOT": str(artifact),
        "LANG": "en_US.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "NO_PROXY": "*",
    }
