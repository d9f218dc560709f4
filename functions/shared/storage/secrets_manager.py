"""Secrets Manager, as far as we use it: a text by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from functions.shared.storage.aws import storage_errors
from functions.shared.storage.errors import StorageCorruptError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


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


_CURRENT = "AWSCURRENT"
_CANDIDATE = "GATEHOUSE-CANDIDATE"
"""The label of a version that is not current yet. Versions without a label are deleted."""


class SecretStore:
    """Strings in AWS Secrets Manager. A name may be an ARN."""

    def __init__(self, secrets_manager: SecretsManagerClient) -> None:
        self._secrets_manager = secrets_manager

    def read(self, name: str) -> str | None:
        """Return a secret's text; None if it has no value yet."""
        version = self.read_version(name)
        return version.text if version else None

    def write(self, name: str, text: str) -> None:
        """Replace the value of an existing secret."""
        with storage_errors():
            self._secrets_manager.put_secret_value(SecretId=name, SecretString=text)

    def read_version(self, name: str) -> SecretVersion | None:
        """Return a secret's text and version; None if it has no value yet."""
        with storage_errors():
            try:
                # Explicit, because moto's default does not follow a label that was moved.
                answer = self._secrets_manager.get_secret_value(SecretId=name, VersionStage=_CURRENT)
            except self._secrets_manager.exceptions.ResourceNotFoundException:
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
        with storage_errors():
            version_id = self._secrets_manager.put_secret_value(
                SecretId=name, SecretString=text, ClientRequestToken=str(uuid4()), VersionStages=[_CANDIDATE]
            )["VersionId"]
            if seen is not None:
                self._make_current(name, version_id, seen.version_id)
        current = self.read_version(name)
        if current is None or current.version_id != version_id:
            raise SecretConflictError

    def _make_current(self, name: str, version_id: str, instead_of: str) -> None:
        try:
            self._secrets_manager.update_secret_version_stage(
                SecretId=name, VersionStage=_CURRENT, RemoveFromVersionId=instead_of, MoveToVersionId=version_id
            )
        except (
            self._secrets_manager.exceptions.InvalidParameterException,
            self._secrets_manager.exceptions.InvalidRequestException,
            self._secrets_manager.exceptions.ResourceNotFoundException,
        ):
            # The label is at another version: another process was faster, or this is boto3's retry
            # after a lost response. The caller reads which.
            return
