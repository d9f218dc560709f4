"""The AWS account and region that the laptop pretends to be."""

from __future__ import annotations

from dataclasses import dataclass

from infra.local_stack import REGION, STACK_NAME

__all__ = ["LAPTOP", "Place"]


@dataclass(frozen=True)
class Place:
    """An account and a region, as CloudFormation's pseudo parameters and ARNs name them."""

    account_id: str
    region: str
    partition: str = "aws"
    url_suffix: str = "amazonaws.com"
    stack_name: str = STACK_NAME

    def pseudo_parameters(self) -> dict[str, str]:
        """Values of `AWS::Region` and its siblings."""
        return {
            "AWS::AccountId": self.account_id,
            "AWS::Region": self.region,
            "AWS::Partition": self.partition,
            "AWS::URLSuffix": self.url_suffix,
            "AWS::StackName": self.stack_name,
            "AWS::StackId": (
                f"arn:{self.partition}:cloudformation:{self.region}:{self.account_id}"
                f":stack/{self.stack_name}/00000000-0000-0000-0000-000000000000"
            ),
        }

    def function_arn(self, name: str) -> str:
        """ARN of the Lambda function called `name`."""
        return f"arn:{self.partition}:lambda:{self.region}:{self.account_id}:function:{name}"

    def execute_api_arn(self, api_id: str, stage: str, method: str, path: str) -> str:
        """ARN of one method call; `path` begins with a slash."""
        return (
            f"arn:{self.partition}:execute-api:{self.region}:{self.account_id}"
            f":{api_id}/{stage}/{method}{path}"
        )


# 123456789012 is the account that moto is by default.
LAPTOP = Place(account_id="123456789012", region=REGION)
