"""boto3 clients with a deadline, and the check of every response that Gatehouse reads.

boto3 is imported lazily: it dominates cold-start time and plain JWT verification does not need it.
The first request that needs it pays for the import.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.awsrequest import AWSResponse
    from botocore.config import Config
    from botocore.model import OperationModel
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_ssm import SSMClient

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

_NOTHING: tuple[object, ...] = (None, "", b"")
_FIRST_ERROR = 300
_SHORTEST_PATIENCE = 0.05  # botocore takes 0 for no timeout at all


def secrets_manager(seconds: float) -> SecretsManagerClient:
    """Return a Secrets Manager client, for once, whose calls end within so many seconds."""
    deadline = monotonic() + seconds
    import boto3

    config = _patience(deadline - monotonic())
    return check_responses(boto3.client("secretsmanager", config=config))


class _Kept(ABC, Generic[_Client]):
    """Clients that are kept: one whose calls take `patience` seconds, one for half that, and so on.

    A client's patience is fixed when it is made, and what a request has left is never the same
    twice: each is given the most patient client that it has time for.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._clients: dict[float, _Client] = {}
        self._making = Lock()  # boto3's own session is not for several threads

    def client(self, seconds: float) -> _Client:
        """Return a client whose calls end within so many seconds."""
        deadline = monotonic() + seconds
        import boto3  # noqa: F401 - on this request's time, not on that of all to come

        with self._making:
            patience = self._patience
            left = max(deadline - monotonic(), _SHORTEST_PATIENCE)
            while patience > left:
                patience /= 2
            if patience not in self._clients:
                self._clients[patience] = self._make(_patience(patience))
            return self._clients[patience]

    @abstractmethod
    def _make(self, config: Config) -> _Client: ...


class DynamoDb(_Kept["DynamoDBClient"]):
    """DynamoDB clients."""

    def _make(self, config: Config) -> DynamoDBClient:
        import boto3

        return check_responses(boto3.client("dynamodb", config=config))


class SystemsManager(_Kept["SSMClient"]):
    """Systems Manager clients."""

    def _make(self, config: Config) -> SSMClient:
        import boto3

        return check_responses(boto3.client("ssm", config=config))


def check_responses(client: _Client) -> _Client:
    """Make a client raise HTTPClientError for a success that is not the service's own response.

    boto3 reads a body that it cannot parse as an empty response. That would mean "no such item",
    "not revoked" or "first use". Each DynamoDB request therefore asks for the consumed capacity,
    which only DynamoDB's own response has.
    """
    events = client.meta.events  # type: ignore[attr-defined] # every boto3 client has them
    events.register("provide-client-params.dynamodb", _ask_for_capacity)
    for service in _SERVICES:
        events.register(f"after-call.{service}", _check_response)
    return client


def _ask_for_capacity(
    params: dict[str, Any], model: OperationModel, **_: object
) -> dict[str, Any] | None:
    return {**params, "ReturnConsumedCapacity": "TOTAL"} if _has_capacity(model) else None


def _check_response(
    http_response: AWSResponse, parsed: Mapping[str, Any], model: OperationModel, **_: object
) -> None:
    from botocore.exceptions import HTTPClientError

    shape = model.output_shape
    if http_response.status_code >= _FIRST_ERROR or shape is None or not shape.members:
        return
    members = {name: value for name, value in parsed.items() if name != "ResponseMetadata"}
    needed = _READ_MEMBERS.get(model.name, ())
    if _has_capacity(model):
        needed = (*needed, "ConsumedCapacity")
    has_needed = all(_at(members, path) not in _NOTHING for path in needed)
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
    """Whether a parsed value has the types of its shape. botocore passes wrong scalars on."""
    kind = shape.type_name
    if kind == "structure":
        is_single = shape.name != "AttributeValue" or len(value) == 1
        return (
            isinstance(value, dict)
            and is_single
            and all(
                _conforms(shape.members[name], member)
                for name, member in value.items()
                if name in shape.members
            )
        )
    if kind == "list":
        return isinstance(value, list) and all(_conforms(shape.member, each) for each in value)
    if kind == "map":
        return isinstance(value, dict) and all(
            _conforms(shape.value, member) for member in value.values()
        )
    # A bool is an int to isinstance.
    return isinstance(value, _SCALARS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def errors() -> tuple[type[Exception], ...]:
    """Return what boto3 raises when a service is unavailable, refuses, or cannot be understood.

    botocore's parser fails with the last three for a body of another structure.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, AttributeError, TypeError, ValueError


def _patience(seconds: float) -> Config:
    """Share the time between connecting and reading; there is none to try again."""
    from botocore.config import Config

    each = max(seconds / 2, _SHORTEST_PATIENCE)
    return Config(connect_timeout=each, read_timeout=each, retries={"total_max_attempts": 1})
