"""API Gateway's decision about `$connect`, which the laptop's gateway does not emulate.

    python -m tests.support.websocket_handshake TEMPLATE

Reads the values of Authorization headers from stdin, one a line, and writes the status of each handshake to stderr:
101, or what it is refused with. The shared authorizer runs here, on the laptop's AWS; stdout has its log.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.addresses import LAPTOP, Addresses, use_local_aws
from local.external_stack import ExternalStack
from local.gateway.lambda_runtime import FunctionError, InProcessLambda, Invoke, shared_environment
from local.gateway.policy_evaluator import Verdict, parse
from tests.support.authorizer_events import recorded


def handshake(authorizer: Invoke, function: str, api_id: str, header: str) -> int:
    """Ask the authorizer as API Gateway would, and judge the connection by its answer."""
    if not header:
        return 401  # the identity source is missing: no authorizer call
    event = recorded("websocket_connect")
    arn = LAPTOP.execute_api_arn(api_id, "live", "$connect", "")
    event["methodArn"] = arn
    event["headers"]["Authorization"] = header
    event["multiValueHeaders"]["Authorization"] = [header]
    event["requestContext"] |= {"apiId": api_id, "stage": "live"}
    try:
        answer: Any = authorizer(function, event)
    except FunctionError as error:
        return 401 if error.message == "Unauthorized" else 500
    now = {"aws:currenttime": datetime.now(UTC).isoformat()}
    verdict = parse(answer["policyDocument"]).evaluate("execute-api:Invoke", arn, now)
    return 101 if verdict is Verdict.ALLOWED else 403


def main() -> None:
    """Run every handshake of stdin."""
    addresses = Addresses.from_env(os.environ)
    use_local_aws(os.environ, addresses)
    stack = ExternalStack(Path(sys.argv[1]), addresses, {})
    stack.put_parameters()
    shared = stack.shared_authorizer()
    os.environ.update(shared_environment([shared]))
    api_id = stack.template.resolver().text({"Ref": "CustomersApi"}, "CustomersApi")
    authorizer = InProcessLambda([shared])
    for line in sys.stdin.read().splitlines():
        sys.stderr.write(f"{handshake(authorizer, shared.logical_id, api_id, line)}\n")


if __name__ == "__main__":
    main()
