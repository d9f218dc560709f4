"""Secrets Manager, as far as we use it: a text by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from functions.shared.aws_clients import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


class SecretStore(Protocol):
    """Keeps texts under names."""

    def read(self, name: str) -> str | None:
        """Return a secret's text; None if it has no value yet."""

    def write(self, name: str, text: str) -> None:
        """Give a secret, which must exist, a new text."""


class SecretsManagerStore:
    """Texts in AWS Secrets Manager. A name may be an ARN."""

    def __init__(self, secrets_manager: SecretsManagerClient) -> None:
        self._secrets_manager = secrets_manager

    def read(self, name: str) -> str | None:
        """Return a secret's text; None if it has no value yet."""
        with aws_errors():
            try:
                return self._secrets_manager.get_secret_value(SecretId=name)["SecretString"]
            except self._secrets_manager.exceptions.ResourceNotFoundException:
                return None

    def write(self, name: str, text: str) -> None:
        """Give a secret, which must exist, a new text."""
        with aws_errors():
            self._secrets_manager.put_secret_value(SecretId=name, SecretString=text)
