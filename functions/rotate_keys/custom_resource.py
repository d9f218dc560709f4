"""A run of rotate_keys: its log line, and the response to CloudFormation at deployment.

If keys cannot be created, or the rotation settings are not safe, the stack is not deployed.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from authorizer import https_client
from authorizer.clock import Deadline
from authorizer.metrics import ERROR, Meter, Metric

from ..shared.keys.rotation import UnsafeRotationError
from ..shared.lambda_function import MissingSettingsError
from ..shared.storage.errors import StorageError
from ..shared.web.audit import Emit
from .key_rotation import Report

ROTATIONS = Metric("Rotations", (("outcome",),))
"""One per run. Its outcome is `success` or `error`."""

SIGNING_KEY_AGE_DAYS = Metric("SigningKeyAgeDays", is_measure=True)
"""The time since the oldest current key's first signature."""

METRICS = (ROTATIONS, SIGNING_KEY_AGE_DAYS)
"""All metrics of rotate_keys."""

_RESOURCE_ID = "key-ring"
_SECONDS = 5
_PAUSES = (5.0, 15.0)
"""Seconds between attempts, while the permissions of a new role propagate."""


def put(url: str, body: bytes) -> None:
    """Send a response to the presigned URL of CloudFormation."""
    # A Content-Type is not part of the signature and would be rejected.
    request = https_client.Request("PUT", url, {"Content-Type": ""}, body, Deadline(_SECONDS))
    status = https_client.send(request).status
    if status != 200:
        raise https_client.HttpExchangeError(f"CloudFormation's response is {status}")


def respond_to_cloudformation(
    event: Mapping[str, Any],
    run: Callable[[], dict[str, object]],
    send: Callable[[str, bytes], None] = put,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, object]:
    """Run, and send the result to CloudFormation if the event is from a custom resource.

    When the stack is deleted, nothing is done: its secrets are deleted with it, its KMS keys stay.
    """
    if "ResponseURL" not in event:
        return run()
    status, explanation, report = "SUCCESS", "", {}
    if event["RequestType"] != "Delete":
        try:
            report = _with_retries(run, sleep)
        except Exception as error:  # noqa: BLE001 - logged before; without a response the deployment hangs
            status, explanation = "FAILED", reason(error)
    response = {
        "Status": status,
        "Reason": explanation or "See the function's log.",
        "PhysicalResourceId": _RESOURCE_ID,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    send(event["ResponseURL"], json.dumps(response).encode())
    return report


def _with_retries(run: Callable[[], dict[str, object]], sleep: Callable[[float], None]) -> dict[str, object]:
    """Run, and retry after a pause if AWS refuses."""
    for pause in _PAUSES:
        try:
            return run()
        except StorageError:
            sleep(pause)
    return run()


def run_and_log(run: Callable[[], Report], emit: Emit = print, meter: Meter | None = None) -> dict[str, object]:
    """Run, and log one line. An error is logged and raised again, so that Lambda counts it."""
    meter = meter or Meter()
    line: dict[str, object] = {"function": "rotate_keys"}
    try:
        report = asdict(run())
    except Exception as error:
        line |= {"outcome": "error", "reason": reason(error)}
        emit(_with_metrics(line, meter.writer(ROTATIONS, level=ERROR)()))
        raise
    meter.record(SIGNING_KEY_AGE_DAYS, report["signing_key_age_days"])
    emit(_with_metrics({**line, "outcome": "success", **report}, meter.writer(ROTATIONS)()))
    return report


def _with_metrics(line: dict[str, object], metrics: str) -> str:
    return f"{json.dumps(line)[:-1]}{metrics}}}"


def reason(error: Exception) -> str:
    """Return the reason of an error, without the text of errors that may contain a secret."""
    if isinstance(error, UnsafeRotationError | MissingSettingsError):
        return str(error)
    detail = error.reason if isinstance(error, StorageError) else None
    return f"{type(error).__name__}: {detail}" if detail else type(error).__name__
