"""The AWS account and region of the laptop edition, and the AWS settings of its processes."""

import os
from collections.abc import MutableMapping
from dataclasses import dataclass

from infra.local_stack import REGION, STACK_NAME, read_access_key
from local.addresses import Addresses


@dataclass(frozen=True, slots=True)
class AwsAccount:
    """An account and a region, for CloudFormation's pseudo parameters and for ARNs."""

    account_id: str
    region: str
    partition: str = "aws"
    url_suffix: str = "amazonaws.com"
    stack_name: str = STACK_NAME

    def pseudo_parameters(self) -> dict[str, str]:
        """Return the values of `AWS::Region` and the other pseudo parameters."""
        stack = f"stack/{self.stack_name}/00000000-0000-0000-0000-000000000000"
        return {
            "AWS::AccountId": self.account_id,
            "AWS::Region": self.region,
            "AWS::Partition": self.partition,
            "AWS::URLSuffix": self.url_suffix,
            "AWS::StackName": self.stack_name,
            "AWS::StackId": self._arn("cloudformation", stack),
        }

    def function_arn(self, name: str) -> str:
        """Return the ARN of a Lambda function."""
        return self._arn("lambda", f"function:{name}")

    def execute_api_arn(self, api_id: str, stage: str, method: str, path: str) -> str:
        """Return the ARN of a method of an API; `path` begins with a slash."""
        return self._arn("execute-api", f"{api_id}/{stage}/{method}{path}")

    def _arn(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account_id}:{resource}"


# moto's default account.
LAPTOP = AwsAccount(account_id="123456789012", region=REGION)


def use_local_aws(environ: MutableMapping[str, str], addresses: Addresses, access_key: str | None = None) -> None:
    """Point every AWS SDK that reads `environ` at the laptop's AWS.

    Default for `access_key`: the one that moto has written for this run. The developer's AWS
    settings (credentials, profiles, endpoints) are removed, because this process must never
    reach a real account.
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
            # A proxy must not be used between processes of this machine.
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
    )
