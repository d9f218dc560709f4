"""The run at deployment: CloudFormation asks for it, and waits for the answer.

A stack whose keys cannot be made, or whose rotation settings are not safe, is not deployed.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.request import Request, urlopen

from functions.rotate_keys.run_log import reason
from functions.shared.storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_RESOURCE_ID: Final = "key-ring"
_SECONDS: Final = 5
_PAUSES: Final = (5.0, 15.0)
"""Seconds between attempts: a role that was made a moment ago is not in force everywhere."""


def put(url: str, body: bytes) -> None:
    """Send an answer to the address that CloudFormation signed for it."""
    # It refuses a Content-Type: it has not signed one.
    request = Request(url, body, {"Content-Type": ""}, method="PUT")  # noqa: S310 - CloudFormation's
    with urlopen(request, timeout=_SECONDS):  # noqa: S310 - likewise
        pass


def answering(
    event: Mapping[str, Any],
    run: Callable[[], dict[str, object]],
    send: Callable[[str, bytes], None] = put,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, object]:
    """Run, and tell CloudFormation how it ended if it is who asks.

    Nothing is done when the stack is deleted: its secrets go with it, its KMS keys stay.
    """
    if "ResponseURL" not in event:
        return run()
    status, explanation, report = "SUCCESS", "", {}
    if event["RequestType"] != "Delete":
        try:
            report = _patiently(run, sleep)
        except Exception as error:  # noqa: BLE001 - it was logged; unanswered, a deployment hangs
            status, explanation = "FAILED", reason(error)
    answer = {
        "Status": status,
        "Reason": explanation or "See the function's log.",
        "PhysicalResourceId": _RESOURCE_ID,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    send(event["ResponseURL"], json.dumps(answer).encode())
    return report


def _patiently(
    run: Callable[[], dict[str, object]], sleep: Callable[[float], None]
) -> dict[str, object]:
    """Run, and again after a while when it is AWS that refuses."""
    for pause in _PAUSES:
        try:
            return run()
        except StorageError:
            sleep(pause)
    return run()
