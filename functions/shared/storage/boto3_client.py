"""Calls of AWS through boto3, with time-outs and checked responses. No type of boto3 crosses this interface.

Key rotation, the command line and the laptop use it. Functions that answer requests use `authorizer.aws_client`, by
`aws_calls.make_aws`, because boto3 takes longer to import than all the rest.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Lock
from typing import Any, TypeVar

import boto3
from botocore import xform_name
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError
from botocore.model import OperationModel

from authorizer.aws import AwsError, AwsUnavailableError
from authorizer.aws_client import rejection
from authorizer.clock import Deadline

_Client = TypeVar("_Client")

_SERVICES = ("dynamodb", "kms", "secrets-manager", "ssm")
"""Services whose responses are checked, as botocore's events name them."""

_READ_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "CreateKey": ("KeyMetadata.KeyId", "KeyMetadata.Arn"),
    "DescribeKey": ("KeyMetadata.CreationDate",),
    "GetParameter": ("Parameter.Value",),
    "GetPublicKey": ("PublicKey",),
    "GetSecretValue": ("VersionId",),
    "ListAliases": ("Aliases",),
    "PutSecretValue": ("VersionId",),
    "Query": ("Items",),
    "Scan": ("Items",),
    "Sign": ("Signature",),
}
"""Members without which a response cannot be used, as paths."""

_SCALARS: Mapping[str, tuple[type, ...]] = {
    "blob": (bytes,),
    "boolean": (bool,),
    "double": (float, int),
    "float": (float, int),
    "integer": (int,),
    "long": (int,),
    "string": (str,),
    "timestamp": (datetime,),
}

_EMPTY: tuple[object, ...] = (None, "", b"")
_SHORTEST_TIMEOUT = 0.05  # botocore takes 0 for no time-out
_STEP = 0.75

CONNECT_SECONDS = 1
ATTEMPT_SECONDS = 3
ATTEMPTS = 2


class Boto3:
    """Calls through boto3, whose clients are cached.

    Each of the attempts takes at most `timeout` seconds, of which `connect` to connect. The
    time-outs of a boto3 client are fixed. A call uses the client with the longest time-outs that
    fit its deadline: these, or shorter by one step or several.
    """

    def __init__(
        self, timeout: float = ATTEMPT_SECONDS, connect: float = CONNECT_SECONDS, attempts: int = ATTEMPTS
    ) -> None:
        self._timeout = timeout
        self._connect = connect
        self._attempts = attempts
        self._clients: dict[tuple[str, float], Any] = {}
        self._lock = Lock()  # boto3's default session is not thread-safe

    def call(
        self, service: str, operation: str, deadline: Deadline | None = None, **parameters: object
    ) -> dict[str, Any]:
        """Call an operation."""
        return call(lambda: self._client(service, deadline), operation, parameters)

    def _client(self, service: str, deadline: Deadline | None) -> Any:
        with self._lock:
            share = 1.0
            longest = self._timeout * self._attempts
            left = longest if deadline is None else max(deadline.remaining(), _SHORTEST_TIMEOUT)
            while longest * share > left:
                share *= _STEP
            if (service, share) not in self._clients:
                client = boto3.client(service, config=self._config(share))  # type: ignore[call-overload]
                self._clients[service, share] = check_responses(client)
            return self._clients[service, share]

    def _config(self, share: float) -> Config:
        return Config(
            connect_timeout=max(self._connect * share, _SHORTEST_TIMEOUT),
            read_timeout=max((self._timeout - self._connect) * share, _SHORTEST_TIMEOUT),
            retries={"mode": "standard", "total_max_attempts": self._attempts},
            tcp_keepalive=True,
        )


class Boto3Clients:
    """Calls through clients of another session, such as the one of a command line."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client

    def call(
        self, service: str, operation: str, deadline: Deadline | None = None, **parameters: object
    ) -> dict[str, Any]:
        """Call an operation. The client's own time-outs apply."""
        return call(lambda: self._client(service), operation, parameters)


def call(client: Callable[[], Any], operation: str, parameters: Mapping[str, object]) -> dict[str, Any]:
    """Call an operation of a boto3 client.

    Raises:
        AwsError: AWS rejects the call.
        AwsUnavailableError: there is no readable response.
    """
    try:
        response = getattr(client(), xform_name(operation))(**parameters)
    except (BotoCoreError, ClientError) as error:
        raise to_aws_error(error) from error
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # botocore's parser fails with these for a body of another structure.
        raise AwsUnavailableError("the response cannot be read") from error
    return {name: _as_in_json(value) for name, value in response.items() if name != "ResponseMetadata"}


def _as_in_json(value: Any) -> Any:
    """Return a value of boto3 with times as numbers."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, dict):
        return {name: _as_in_json(member) for name, member in value.items()}
    return [_as_in_json(member) for member in value] if isinstance(value, list) else value


def to_aws_error(error: Exception) -> AwsError:
    """Return an exception of boto3 as an error of `authorizer.aws`."""
    if not isinstance(error, ClientError):
        endpoint = getattr(error, "kwargs", {}).get("endpoint_url") or ""
        is_temporary = isinstance(error, HTTPClientError | AwsConnectionError)
        kind = AwsUnavailableError if is_temporary else AwsError
        return kind(type(error).__name__, str(error), endpoint=endpoint)
    response: Mapping[str, Any] = error.response
    fault = response.get("Error", {})
    code = fault.get("Code", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    failure = rejection(code, fault.get("Message", ""), status, error.operation_name)
    failure.item = response.get("Item")
    return failure


def check_responses(client: _Client) -> _Client:
    """Make a client raise HTTPClientError for a success that is not the service's own response.

    boto3 reads a body that it cannot parse as an empty response. That would mean "no such item", "not revoked" or
    "first use". Each DynamoDB request therefore asks for the consumed capacity, which only DynamoDB's own response has.
    """
    events = client.meta.events  # type: ignore[attr-defined] # every boto3 client has them
    # With an id, a second call for the same client has no effect.
    events.register("provide-client-params.dynamodb", _ask_for_capacity, unique_id="gatehouse.capacity")
    for service in _SERVICES:
        events.register(f"after-call.{service}", _check_response, unique_id=f"gatehouse.{service}")
    return client


def _ask_for_capacity(params: dict[str, Any], model: OperationModel, **_: object) -> dict[str, Any] | None:
    return {**params, "ReturnConsumedCapacity": "TOTAL"} if _has_capacity(model) else None


def _check_response(http_response: AWSResponse, parsed: Mapping[str, Any], model: OperationModel, **_: object) -> None:
    shape = model.output_shape
    if http_response.status_code >= 300 or shape is None or not shape.members:
        return
    members = {name: value for name, value in parsed.items() if name != "ResponseMetadata"}
    needed = _READ_MEMBERS.get(model.name, ())
    if _has_capacity(model):
        needed = (*needed, "ConsumedCapacity")
    has_needed = all(_at(members, path) not in _EMPTY for path in needed)
    has_types = not needed or _conforms(shape, members)
    if not (members and has_needed and has_types):
        raise HTTPClientError(error=f"{model.name}: the response cannot be read")


def _has_capacity(model: OperationModel) -> bool:
    return model.input_shape is not None and "ReturnConsumedCapacity" in model.input_shape.members


def _at(members: Mapping[str, Any], path: str) -> object:
    found: Any = members
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _conforms(shape: Any, value: Any) -> bool:
    """Return whether a parsed value has the types of its shape. botocore accepts wrong scalars."""
    kind = shape.type_name
    if kind == "structure":
        is_single = shape.name != "AttributeValue" or len(value) == 1
        return (
            isinstance(value, dict)
            and is_single
            and all(_conforms(shape.members[name], member) for name, member in value.items() if name in shape.members)
        )
    if kind == "list":
        return isinstance(value, list) and all(_conforms(shape.member, each) for each in value)
    if kind == "map":
        return isinstance(value, dict) and all(_conforms(shape.value, member) for member in value.values())
    # A bool is an int to isinstance.
    return isinstance(value, _SCALARS[kind]) and (kind == "boolean" or not isinstance(value, bool))
