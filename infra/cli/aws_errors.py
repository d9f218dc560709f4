"""What AWS, boto3 and our own code raise, as a person at a terminal needs it.

Imported when something went wrong: it brings boto3 along, and completion must be quick.
"""

from __future__ import annotations

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from functions.rotate_keys.rotation_rules import UnsafeRotationError
from functions.shared.runtime.secret_store import SecretConflictError
from functions.shared.storage.aws_errors import to_storage_error
from functions.shared.storage.errors import (
    AwsFailure,
    StorageError,
    StorageUnavailableError,
)
from infra.cli.errors import (
    CommandError,
    ConflictError,
    ExitCode,
    UnreachableError,
)

_BAD_CREDENTIALS: Final = frozenset(
    {"UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure", "RequestExpired"}
)
"""How services call an access key that is unknown or over, where the word is not in the code."""


_UNREACHABLE: Final = {
    "EndpointConnectionError": "no connection",
    "ConnectTimeoutError": "no connection",
    "ReadTimeoutError": "no answer in time",
}
_SIGN_IN_ENDED: Final = ("The AWS sign-in has ended.", "Run 'aws sso login'.")
_BOTO3_ERRORS: Final = {
    "PartialCredentialsError": (
        "{message}.",
        "Set the whole pair, or name a profile with --profile.",
    ),
    "NoCredentialsError": (
        "No AWS credentials were found.",
        "Run 'aws configure' or 'aws sso login', or name a profile with --profile.",
    ),
    "SSOError": _SIGN_IN_ENDED,
    "SSOTokenLoadError": _SIGN_IN_ENDED,
    "UnauthorizedSSOTokenError": _SIGN_IN_ENDED,
    "NoRegionError": (
        "No AWS region was named.",
        "Add --region, or set AWS_DEFAULT_REGION.",
    ),
    "ProfileNotFound": ("{message}.", "Name one of those in ~/.aws/config with --profile."),
    "InvalidRegionError": (
        "{message}.",
        "Name one such as eu-west-1 with --region, or in AWS_DEFAULT_REGION.",
    ),
}
"""The problem that is shown for an exception of boto3, by its name, and the next step."""


def translated(error: Exception) -> CommandError | None:
    """Return an error as a person at a terminal needs it; None if it is a fault of this program."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, SecretConflictError):
        return ConflictError("Somebody else wrote the secret meanwhile.")
    if isinstance(error, UnsafeRotationError):
        return CommandError(f"{error}.", "Deploy with other parameters: see docs/deploy.md.")
    if isinstance(error, ClientError | BotoCoreError):
        error = to_storage_error(error)
    return _of_storage(error) if isinstance(error, StorageError) else None


def _of_storage(error: StorageError) -> CommandError:
    failure = error.failure
    if failure is not None:
        return _of_aws(failure)
    if isinstance(error, StorageUnavailableError):
        return CommandError(
            f"AWS could not be asked: {error.reason}.", "Try again.", ExitCode.TROUBLE
        )
    return CommandError(
        f"The deployment's data cannot be used: {error.reason}.",
        "A newer Gatehouse may have written it: use the command line of that version.",
        ExitCode.TROUBLE,
    )


def _of_aws(failure: AwsFailure) -> CommandError:
    if failure.operation:
        return _of_a_service(failure)
    if failure.code in _UNREACHABLE:
        return UnreachableError(failure.endpoint, _UNREACHABLE[failure.code])
    message = failure.message.rstrip(".")
    problem, next_step = _BOTO3_ERRORS.get(
        failure.code, ("AWS could not be asked: {message}.", "Try again.")
    )
    return CommandError(problem.format(message=message), next_step, ExitCode.TROUBLE)


def _of_a_service(failure: AwsFailure) -> CommandError:
    code, message = failure.code or "unknown", failure.message.rstrip(".")
    problem = f"AWS refused {failure.operation}: {code} ({message})."
    next_step = "Try again."
    if "AccessDenied" in code or code == "UnauthorizedOperation":
        next_step = "Use credentials that may do this; docs/cli.md lists the permissions."
    elif code in _BAD_CREDENTIALS or "Token" in code or "Signature" in code:
        next_step = "Renew the credentials, for example with 'aws sso login'."
    elif "NotFound" in code:
        next_step = "Check that the stack is deployed and complete."
    return CommandError(problem, next_step, ExitCode.TROUBLE)
