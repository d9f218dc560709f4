"""The interface of AWS calls, and their errors.

Operations, parameters and responses are as in the API reference of the service, except that blobs are bytes. There are
two clients: `authorizer.aws_client` for functions that answer requests, and boto3 for everything else.
"""

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from .clock import Deadline


class AwsError(Exception):
    """Raised when AWS rejects a call. `reason` is safe to log, `message` may name resources.

    `code` is AWS's error code, or the name of boto3's exception if AWS did not respond. In that
    case `operation` is empty, and `endpoint` is the address that was not reached. `item` is the
    stored item that made a condition of DynamoDB fail, if the call requested it.
    """

    item: Mapping[str, Any] | None = None

    def __init__(self, code: str, message: str = "", *, operation: str = "", endpoint: str = "") -> None:
        host = urlsplit(endpoint).hostname
        self.reason = f"{operation}: {code}" if operation else f"{code}: {host}" if host else code
        super().__init__(self.reason)
        self.code = code
        self.message = message
        self.operation = operation
        self.endpoint = endpoint


class AwsUnavailableError(AwsError):
    """Raised when a call is throttled, late or fails in AWS, or its response is not readable."""


class Aws(Protocol):
    """Calls AWS services."""

    def call(
        self, service: str, operation: str, deadline: Deadline | None = None, **parameters: object
    ) -> dict[str, Any]:
        """Call an operation, such as `GetItem` of `dynamodb`, and return its response.

        `service` is the name of a boto3 client. Values are as in the service's JSON: a time is a
        number of seconds since the epoch. Only blobs are different: they are bytes, not base64.

        Raises:
            AwsError: AWS rejects the call.
            AwsUnavailableError: there is no readable response in time.
        """
