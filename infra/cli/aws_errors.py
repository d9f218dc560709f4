"""What AWS, boto3 and our own code raise, as a person at a terminal needs it.

Imported when something went wrong: it brings boto3 along, and completion must be quick.
"""

from __future__ import annotations

from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSOError,
    UnauthorizedSSOTokenError,
)

from functions.rotate_keys.rotation_rules import UnsafeRotationError
from functions.shared.runtime.secret_store import SecretConflictError
from functions.shared.web.oauth_errors import OAuthError
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


def translated(error: Exception) -> CommandError | None:
    """Return an error as a person at a terminal needs it; None if it is a fault of this program."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, SecretConflictError):
        return ConflictError("Somebody else wrote the secret meanwhile.")
    if isinstance(error, UnsafeRotationError):
        return CommandError(f"{error}.", "Deploy with other parameters: see docs/deploy.md.")
    if isinstance(error, OAuthError):
        cause = error.__cause__
        if isinstance(cause, ClientError | BotoCoreError):
            return _of_aws(cause)
        return CommandError(
            f"The deployment's data cannot be used: {error.reason}.",
            "A newer Gatehouse may have written it: use the command line of that version.",
            ExitCode.TROUBLE,
        )
    return _of_aws(error) if isinstance(error, ClientError | BotoCoreError) else None


def _of_aws(error: ClientError | BotoCoreError) -> CommandError:
    if isinstance(error, ClientError):
        return _of_a_service(error)
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError | ReadTimeoutError):
        why = "no answer in time" if isinstance(error, ReadTimeoutError) else "no connection"
        return UnreachableError(str(error.kwargs["endpoint_url"]), why)
    for kind, problem, next_step in (
        (
            PartialCredentialsError,
            f"{error}.",
            "Set the whole pair, or name a profile with --profile.",
        ),
        (
            NoCredentialsError,
            "No AWS credentials were found.",
            "Run 'aws configure' or 'aws sso login', or name a profile with --profile.",
        ),
        (
            SSOError | UnauthorizedSSOTokenError,
            "The AWS sign-in has ended.",
            "Run 'aws sso login'.",
        ),
        (NoRegionError, "No AWS region was named.", "Add --region, or set AWS_DEFAULT_REGION."),
        (ProfileNotFound, f"{error}.", "Name one of those in ~/.aws/config with --profile."),
        (
            InvalidRegionError,
            str(error),
            "Name one such as eu-west-1 with --region, or in AWS_DEFAULT_REGION.",
        ),
    ):
        if isinstance(error, kind):
            return CommandError(problem, next_step, ExitCode.TROUBLE)
    why = str(error).rstrip(".")
    return CommandError(f"AWS could not be asked: {why}.", "Try again.", ExitCode.TROUBLE)


def _of_a_service(error: ClientError) -> CommandError:
    fault = error.response.get("Error", {})
    code, message = fault.get("Code", "unknown"), fault.get("Message", "").rstrip(".")
    problem = f"AWS refused {error.operation_name}: {code} ({message})."
    next_step = "Try again."
    if "AccessDenied" in code or code == "UnauthorizedOperation":
        next_step = "Use credentials that may do this; docs/cli.md lists the permissions."
    elif code in _BAD_CREDENTIALS or "Token" in code or "Signature" in code:
        next_step = "Renew the credentials, for example with 'aws sso login'."
    elif "NotFound" in code:
        next_step = "Check that the stack is deployed and complete."
    return CommandError(problem, next_step, ExitCode.TROUBLE)
