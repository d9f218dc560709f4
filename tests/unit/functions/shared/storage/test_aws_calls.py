from pathlib import Path

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from functions.shared.storage.aws_calls import CALL_SECONDS, call
from functions.shared.storage.boto3_client import Boto3Clients
from functions.shared.storage.errors import StorageError, StorageUnavailableError
from infra.cloudformation import load

TEMPLATE = Path(__file__).resolve().parents[5] / "template.yaml"


def _client_error(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": "arn:aws:a-name-that-stays-inside"},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
                "HostId": "",
            },
        },
        "GetItem",
    )


class RaisingClient:
    """A boto3 client whose calls raise an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get_item(self) -> None:
        raise self.error


def _call(error: Exception) -> None:
    call(Boto3Clients(lambda _: RaisingClient(error)), "dynamodb", "GetItem")


@pytest.mark.parametrize(
    "failure",
    [
        _client_error("ProvisionedThroughputExceededException"),
        _client_error("ThrottlingException"),
        _client_error("RequestLimitExceeded"),
        _client_error("RequestThrottled"),
        _client_error("TransactionCanceledException"),
        _client_error("TransactionConflictException"),
        _client_error("Unheard", 429),
        _client_error("InternalServerError", 500),
        _client_error("ServiceUnavailable", 503),
        ConnectTimeoutError(endpoint_url="https://a"),
        ReadTimeoutError(endpoint_url="https://a"),
        EndpointConnectionError(endpoint_url="https://a"),
    ],
)
def test_temporary_error_is_storage_unavailable(failure: Exception) -> None:
    with pytest.raises(StorageUnavailableError) as error:
        _call(failure)
    assert "arn:" not in error.value.reason


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (_client_error("AccessDeniedException"), "GetItem: AccessDeniedException"),
        (_client_error("ResourceNotFoundException"), "GetItem: ResourceNotFoundException"),
        (_client_error("ValidationException"), "GetItem: ValidationException"),
        (ClientError({}, "GetItem"), "GetItem: "),
        (NoCredentialsError(), "NoCredentialsError"),
    ],
)
def test_permanent_error_is_a_server_error(failure: Exception, reason: str) -> None:
    with pytest.raises(StorageError) as error:
        _call(failure)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ("address", "place"), [("https://kms.eu-west-1.amazonaws.com/", ": kms.eu-west-1.amazonaws.com"), ("", "")]
)
def test_connection_error_names_the_service(address: str, place: str) -> None:
    with pytest.raises(StorageUnavailableError) as error:
        _call(ReadTimeoutError(endpoint_url=address))
    assert error.value.reason == f"ReadTimeoutError{place}"


@pytest.mark.parametrize("error", [AttributeError, KeyError, TypeError, ValueError])
def test_malformed_response_is_temporary(error: type[Exception]) -> None:
    with pytest.raises(StorageUnavailableError):
        _call(error())


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError):
        _call(RuntimeError())


def test_two_timeouts_fit_into_a_functions_time() -> None:
    assert load(TEMPLATE)["Globals"]["Function"]["Timeout"] > 2 * CALL_SECONDS
