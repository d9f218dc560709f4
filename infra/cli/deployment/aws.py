"""AWS as the caller sees it: with the caller's own credentials, or the laptop's moto."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore.session
from botocore.config import Config

from authorizer.aws import check_responses
from infra import local_stack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

_PATIENCE: Final = Config(
    connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4}
)
# moto is on this machine: it answers at once or not at all, and no proxy is in between.
_LOCAL_PATIENCE: Final = Config(
    connect_timeout=2, read_timeout=20, retries={"total_max_attempts": 1}, proxies={}
)
# A developer's own profiles and credentials stay out of reach of what plays AWS.
_NOBODYS_SETTINGS: Final = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


def callers_session(profile: str | None, region: str | None) -> boto3.Session:
    """Return the caller's session, as boto3 finds it: environment, profiles, SSO, roles.

    Raises:
        ProfileNotFound: there is no such profile.
    """
    return boto3.Session(profile_name=profile, region_name=region)


@dataclass(frozen=True)
class Aws:
    """The AWS services that commands use, each client made when first asked for."""

    session: boto3.Session
    endpoint: str | None = None

    @classmethod
    def of_laptop(cls, endpoint: str, access_key: str) -> Aws:
        """Return the laptop edition's moto, which `make run` gives an access key for each run."""
        session = boto3.Session(
            aws_access_key_id=access_key,
            aws_secret_access_key="local",  # noqa: S106 - moto checks the key only
            region_name=local_stack.REGION,
            botocore_session=botocore.session.Session(session_vars=_NOBODYS_SETTINGS),
        )
        return cls(session, endpoint)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """DynamoDB: clients, opaque tokens, state."""
        client: DynamoDBClient = self.client("dynamodb")
        return client

    @cached_property
    def secrets_manager(self) -> SecretsManagerClient:
        """Secrets Manager: the key ring and the private halves of its keys."""
        client: SecretsManagerClient = self.client("secretsmanager")
        return client

    @cached_property
    def kms(self) -> KMSClient:
        """KMS: keys whose private halves never leave it."""
        client: KMSClient = self.client("kms")
        return client

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 makes a class for each service
        """Return a client of any service."""
        patience = _LOCAL_PATIENCE if self.endpoint else _PATIENCE
        client = self.session.client(service, endpoint_url=self.endpoint, config=patience)  # type: ignore[call-overload]
        return check_responses(client)
