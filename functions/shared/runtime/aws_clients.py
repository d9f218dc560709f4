"""boto3 clients with short patience, and what their errors mean to a caller of ours."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError

from functions.shared.web.oauth_errors import OAuthError, ServerError, TemporarilyUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.awsrequest import AWSResponse
    from botocore.model import OperationModel
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

Client = TypeVar("Client", bound=BaseClient)

# Six seconds at the most, so that two calls without an answer leave a function of fifteen seconds
# time to say 503.
CONNECT_SECONDS: Final = 1
READ_SECONDS: Final = 2
ATTEMPTS: Final = 2

_PATIENCE = Config(
    connect_timeout=CONNECT_SECONDS,
    read_timeout=READ_SECONDS,
    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    tcp_keepalive=True,
)

# What boto3 itself tries again, and collisions with somebody else's write.
_PASSING_TROUBLES = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionCanceledException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_OK = 200
_TOO_MANY_REQUESTS = 429
_SERVER_SIDE = 500


class AwsClients:
    """The AWS services that functions use, each client made when first asked for."""

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """DynamoDB: clients, opaque tokens, and the state that counts and expires."""
        return _wary(boto3.client("dynamodb", config=_PATIENCE))

    @cached_property
    def secrets_manager(self) -> SecretsManagerClient:
        """Secrets Manager: the key ring, the private halves of its keys, the DPoP nonce secret."""
        return _wary(boto3.client("secretsmanager", config=_PATIENCE))

    @cached_property
    def kms(self) -> KMSClient:
        """KMS: keys whose private halves never leave it."""
        return _wary(boto3.client("kms", config=_PATIENCE))


def _wary(client: Client) -> Client:
    client.meta.events.register("after-call", _refuse_unreadable)
    return client


def _refuse_unreadable(http_response: AWSResponse, model: OperationModel, **_: object) -> None:
    """Refuse a 200 that is no answer: boto3 takes it for an empty one, such as "no such item"."""
    is_cbor = "cbor" in http_response.headers.get("content-type", "")
    if http_response.status_code != _OK or model.output_shape is None or is_cbor:
        return
    try:
        answer = json.loads(http_response.content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise HTTPClientError(error=f"{model.name}: the answer cannot be read")


@contextmanager
def aws_errors() -> Iterator[None]:
    """Turn what boto3 raises into an OAuth error, with the original as its cause.

    Raises:
        TemporarilyUnavailableError: throttled, timed out, not reachable, or AWS's own failure.
        ServerError: anything else, such as a denied access or a missing table.
    """
    try:
        yield
    except ClientError as error:
        raise _from_client_error(error) from error
    except (HTTPClientError, AwsConnectionError) as error:
        raise TemporarilyUnavailableError(reason=_where(error)) from error
    except BotoCoreError as error:
        raise ServerError(reason=type(error).__name__) from error


def _where(error: BotoCoreError) -> str:
    """Name an error of the connection, and the service that was not reached."""
    host = urlsplit(error.kwargs.get("endpoint_url") or "").hostname
    return f"{type(error).__name__}: {host}" if host else type(error).__name__


def _from_client_error(error: ClientError) -> OAuthError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    reason = f"{error.operation_name}: {code}"
    if code in _PASSING_TROUBLES or status == _TOO_MANY_REQUESTS or status >= _SERVER_SIDE:
        return TemporarilyUnavailableError(reason=reason)
    return ServerError(reason=reason)
