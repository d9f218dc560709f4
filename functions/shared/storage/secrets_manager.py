"""Secrets Manager, as far as we use it: a text by name."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from authorizer.aws import Aws

from .aws_calls import call, ignoring
from .errors import StorageCorruptError, StorageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """A secret's text as it was when it was read."""

    version_id: str
    text: str = field(repr=False)


class SecretConflictError(Exception):
    """Raised when a secret has changed since it was read."""


CONFLICTS = 4
"""Retries of a change of a secret after concurrent changes."""


def retrying_conflicts(change: Callable[[], T]) -> T:
    """Read, decide and replace a secret, and repeat this after a concurrent change.

    Raises:
        SecretConflictError: other processes changed it each time.
    """
    for _ in range(CONFLICTS):
        with suppress(SecretConflictError):
            return change()
    return change()


_SERVICE = "secretsmanager"
_NOT_FOUND = "ResourceNotFoundException"
_LABEL_IS_ELSEWHERE = (_NOT_FOUND, "InvalidParameterException", "InvalidRequestException")
_CURRENT = "AWSCURRENT"
_CANDIDATE = "GATEHOUSE-CANDIDATE"
"""The label of a version that is not current yet. Versions without a label are deleted."""


class SecretStore:
    """Strings in AWS Secrets Manager. A name may be an ARN."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def read(self, name: str) -> str | None:
        """Return a secret's text; None if it has no value yet."""
        version = self.read_version(name)
        return version.text if version else None

    def write(self, name: str, text: str) -> None:
        """Replace the value of an existing secret."""
        call(
            self._aws, _SERVICE, "PutSecretValue", SecretId=name, SecretString=text, ClientRequestToken=_request_token()
        )

    def read_version(self, name: str) -> SecretVersion | None:
        """Return a secret's text and version; None if it has no value yet."""
        try:
            # Explicit, because moto's default does not follow a label that was moved.
            answer = call(self._aws, _SERVICE, "GetSecretValue", SecretId=name, VersionStage=_CURRENT)
        except StorageError as error:
            if error.code != _NOT_FOUND:
                raise
            return None
        if "SecretString" not in answer:
            raise StorageCorruptError(reason="GetSecretValue: the secret is binary, not a text")
        return SecretVersion(answer["VersionId"], answer["SecretString"])

    def replace(self, name: str, text: str, seen: SecretVersion | None) -> None:
        """Replace a secret's value if it still has the version that was read.

        Secrets Manager has no conditional write. It moves the label of the current version only
        from a version that the caller names. The new version is therefore stored first and becomes
        current in a second step. The first version is current at once.

        Raises:
            SecretConflictError: it has another version, which is not changed.
        """
        version_id = _request_token()
        call(
            self._aws,
            _SERVICE,
            "PutSecretValue",
            SecretId=name,
            SecretString=text,
            ClientRequestToken=version_id,
            VersionStages=[_CANDIDATE],
        )
        if seen is not None:
            self._make_current(name, version_id, seen.version_id)
        current = self.read_version(name)
        if current is None or current.version_id != version_id:
            raise SecretConflictError

    def _make_current(self, name: str, version_id: str, instead_of: str) -> None:
        # If the label is at another version, another process was faster, or this is a retry after a
        # lost response. The caller reads which.
        with ignoring(*_LABEL_IS_ELSEWHERE):
            call(
                self._aws,
                _SERVICE,
                "UpdateSecretVersionStage",
                SecretId=name,
                VersionStage=_CURRENT,
                RemoveFromVersionId=instead_of,
                MoveToVersionId=version_id,
            )


def _request_token() -> str:
    """Return a token that makes a write idempotent."""
    from uuid import uuid4  # imported here because only rotation writes

    return str(uuid4())
