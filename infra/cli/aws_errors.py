"""Exceptions of AWS, boto3 and the functions as errors of the command line.

Imported lazily, because it imports boto3 and shell completion must be fast.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from authorizer.aws import AwsError
from functions.shared.keys.rotation import UnsafeRotationError
from functions.shared.storage.boto3_client import to_aws_error
from functions.shared.storage.errors import StorageError, StorageUnavailableError
from functions.shared.storage.secrets_manager import SecretConflictError

from .errors import CommandError, ConflictError, ExitCode, UnreachableError

_BAD_CREDENTIALS = frozenset({"UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure", "RequestExpired"})
"""Error codes for credentials that are unknown or have expired."""


_UNREACHABLE = {
    "EndpointConnectionError": "no connection",
    "ConnectTimeoutError": "no connection",
    "ReadTimeoutError": "time-out",
}
_SIGN_IN_ENDED = ("The AWS sign-in has expired.", "Run 'aws sso login'.")
_BOTO3_ERRORS = {
    "PartialCredentialsError": ("{message}.", "Set access key and secret key, or name a profile with --profile."),
    "NoCredentialsError": (
        "No AWS credentials were found.",
        "Run 'aws configure' or 'aws sso login', or name a profile with --profile.",
    ),
    "SSOError": _SIGN_IN_ENDED,
    "SSOTokenLoadError": _SIGN_IN_ENDED,
    "UnauthorizedSSOTokenError": _SIGN_IN_ENDED,
    "NoRegionError": ("No AWS region is set.", "Add --region, or set AWS_DEFAULT_REGION."),
    "ProfileNotFound": ("{message}.", "Name a profile of ~/.aws/config with --profile."),
    "InvalidRegionError": ("{message}.", "Set a region such as eu-west-1 with --region or AWS_DEFAULT_REGION."),
}
"""The problem that is shown for an exception of boto3, by its name, and the next step."""


def translated(error: Exception) -> CommandError | None:
    """Return the error of the command line for an exception; None for a defect."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, SecretConflictError):
        return ConflictError("Another process wrote the secret at the same time.")
    if isinstance(error, UnsafeRotationError):
        return CommandError(f"{error}.", "Deploy with other parameters: see docs/deploy.md.")
    if isinstance(error, ClientError | BotoCoreError):
        error = to_aws_error(error)
    if isinstance(error, AwsError):
        return _of_aws(error)
    return _of_storage(error) if isinstance(error, StorageError) else None


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise CommandError for the exceptions that it describes. A defect passes."""
    try:
        yield
    except Exception as error:
        known = translated(error)
        if known is None or known is error:
            raise
        raise known from error


def _of_storage(error: StorageError) -> CommandError:
    failure = error.failure
    if failure is not None:
        return _of_aws(failure)
    if isinstance(error, StorageUnavailableError):
        return CommandError(f"The AWS request failed: {error.reason}.", "Try again.", ExitCode.FAILURE)
    return CommandError(
        f"The deployment's data cannot be read: {error.reason}.",
        "A newer version may have written it: use the command line of that version.",
        ExitCode.FAILURE,
    )


def _of_aws(failure: AwsError) -> CommandError:
    if failure.operation:
        return _of_a_service(failure)
    if failure.code in _UNREACHABLE:
        return UnreachableError(failure.endpoint, _UNREACHABLE[failure.code])
    message = failure.message.rstrip(".")
    problem, next_step = _BOTO3_ERRORS.get(failure.code, ("The AWS request failed: {message}.", "Try again."))
    return CommandError(problem.format(message=message), next_step, ExitCode.FAILURE)


def _of_a_service(failure: AwsError) -> CommandError:
    code, message = failure.code or "unknown", failure.message.rstrip(".")
    if code.isdigit():  # boto3 has found no error code in the response, only the HTTP status
        return CommandError(
            f"The response to {failure.operation} is not an AWS response: HTTP status {code}.",
            "Check the endpoint or the port, and try again.",
            ExitCode.FAILURE,
        )
    problem = f"AWS rejected {failure.operation}: {code} ({message})."
    next_step = "Try again."
    if "AccessDenied" in code or code == "UnauthorizedOperation":
        next_step = "Use credentials with this permission; docs/cli.md lists the permissions."
    elif code in _BAD_CREDENTIALS or "Token" in code or "Signature" in code:
        next_step = "Renew the credentials, for example with 'aws sso login'."
    elif "NotFound" in code:
        next_step = "Check that the stack's deployment is complete."
    return CommandError(problem, next_step, ExitCode.FAILURE)
