import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from authorizer.metrics import Meter
from functions.rotate_keys.handler import put, respond_to_cloudformation, run_and_log
from functions.rotate_keys.key_rotation import Report
from functions.shared.keys.rotation import UnsafeRotationError
from functions.shared.storage.errors import StorageError, StorageUnavailableError

REQUEST = {
    "RequestType": "Create",
    "ResponseURL": "https://cloudformation.example/answer?signature=x",
    "StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/gatehouse/1",
    "RequestId": "request",
    "LogicalResourceId": "KeyRing",
    "ResourceType": "AWS::CloudFormation::CustomResource",
    "ResourceProperties": {},
}


def _respond(run: Callable[[], dict[str, object]], pauses: list[float] | None = None, **event: str) -> dict[str, Any]:
    """Return the response that CloudFormation gets."""
    sent: list[dict[str, Any]] = []

    def send(url: str, body: bytes) -> None:
        assert url == REQUEST["ResponseURL"]
        sent.append(json.loads(body))

    sleep = (pauses if pauses is not None else []).append
    report = respond_to_cloudformation({**REQUEST, **event}, run, send, sleep)
    (response,) = sent
    for name in ("StackId", "RequestId", "LogicalResourceId"):
        assert response[name] == REQUEST[name]
    assert response["PhysicalResourceId"] == "key-ring"
    assert report == {} or response["Status"] == "SUCCESS"
    return response


def _refuse() -> dict[str, object]:
    raise UnsafeRotationError(["a key is announced for no time"])


def _send_nothing(url: str, body: bytes) -> None:
    raise AssertionError(url, body)


def test_scheduled_run_sends_no_response() -> None:
    report = respond_to_cloudformation({"source": "aws.events"}, lambda: {"created": ["a"]}, send=_send_nothing)
    assert report == {"created": ["a"]}


@pytest.mark.parametrize("kind", ["Create", "Update"])
def test_cloudformation_gets_the_outcome(kind: str) -> None:
    assert _respond(dict, RequestType=kind)["Status"] == "SUCCESS"
    failure = _respond(_refuse, RequestType=kind)
    assert failure["Status"] == "FAILED"
    assert "a key is announced for no time" in failure["Reason"]


@pytest.mark.parametrize(("denials", "status"), [(2, "SUCCESS"), (3, "FAILED")])
def test_run_waits_for_role_propagation(denials: int, status: str) -> None:
    refusals = [StorageError(reason="GetSecretValue: AccessDeniedException")] * denials
    pauses = list[float]()

    def run() -> dict[str, object]:
        if refusals:
            raise refusals.pop()
        return {}

    response = _respond(run, pauses)
    assert (response["Status"], pauses) == (status, [5, 15])
    if status == "FAILED":
        assert response["Reason"] == "StorageError: GetSecretValue: AccessDeniedException"


def test_stack_deletion_is_confirmed_without_changes() -> None:
    assert _respond(_refuse, RequestType="Delete")["Status"] == "SUCCESS"


def test_response_is_put_without_a_content_type() -> None:
    received: list[tuple[str, str | None, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Content-Type"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        put(f"http://127.0.0.1:{server.server_address[1]}/answer?signature=x", b"{}")
        thread.join(5)
    assert received == [("/answer?signature=x", "", b"{}")]


def test_run_logs_one_line() -> None:
    lines: list[str] = []
    report = run_and_log(lambda: Report(created=("a",)), lines.append)
    assert report == {"created": ("a",), "dropped": (), "deleted_private_halves": 0, "signing_key_age_days": 0.0}
    (line,) = lines
    assert json.loads(line) == {
        "function": "rotate_keys",
        "outcome": "success",
        "created": ["a"],
        "dropped": [],
        "deleted_private_halves": 0,
        "signing_key_age_days": 0.0,
    }


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnsafeRotationError(["x"]), "These rotation settings are not safe: x"),
        (StorageUnavailableError(reason="Sign: Throttling"),
         "StorageUnavailableError: Sign: Throttling"),
        (ValueError("a secret"), "ValueError"),
    ],
)  # fmt: skip
def test_failed_run_logs_the_reason(error: Exception, reason: str) -> None:
    lines: list[str] = []

    def fail() -> Report:
        raise error

    with pytest.raises(type(error)):
        run_and_log(fail, lines.append, Meter(clock=lambda: 1_700_000_000))
    (line,) = lines
    assert json.loads(line) == {
        "function": "rotate_keys",
        "outcome": "error",
        "reason": reason,
        "level": "ERROR",
        "timestamp": "2023-11-14T22:13:20.000Z",
    }
