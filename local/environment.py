"""The AWS settings that every process of the laptop edition runs with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from infra.local_stack import read_access_key
from local.place import LAPTOP

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from local.addresses import Addresses

__all__ = ["use_local_aws"]


def use_local_aws(
    environ: MutableMapping[str, str], addresses: Addresses, access_key: str | None = None
) -> None:
    """Point every AWS SDK that reads `environ` at the laptop's AWS.

    The access key is by default the one that moto has written for this run. The developer's own
    AWS settings (credentials, profiles, endpoints) are removed, so that nothing here can reach a
    real account by accident.
    """
    if access_key is None and addresses.aws_endpoint is None:
        access_key = read_access_key(addresses.aws_port)
    for name in [name for name in environ if name.startswith("AWS_")]:
        del environ[name]
    environ.update(
        {
            "AWS_ENDPOINT_URL": addresses.aws_url,
            "AWS_ACCESS_KEY_ID": access_key or "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": LAPTOP.region,
            "AWS_DEFAULT_REGION": LAPTOP.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
            # A proxy for the world outside has no business between these processes.
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
    )
