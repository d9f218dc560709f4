"""Deploy built artifacts: `python -m infra.deploy --stage dev`, with the values of samconfig.toml.

SAM reuses the parameters of an existing stack. Runtime, architecture and deployment id are therefore always given.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

from .build import ARCHITECTURE, ROOT, RUNTIME
from .cli.context import Aws

CONFIGURATION = ROOT / "samconfig.toml"
PROTECTED_STAGES = frozenset({"prod"})
"""Stages whose stack `make deploy` protects from termination."""

_NO_REGION = """\
No region is set. Set one for this shell or permanently:
  export AWS_DEFAULT_REGION=eu-central-1
  aws configure set region eu-central-1"""
_NO_CREDENTIALS = """\
No AWS credentials were found. Configure some, or choose a profile:
  aws configure
  export AWS_PROFILE=NAME"""
_INTERRUPTED = """
Interrupted. CloudFormation continues the running operation. Check the stack before you deploy
again.
"""
_NO_LOG_ROLE = """\
API Gateway has no role for logs in this account and region, and would reject the sample API. Create
it once for all REST APIs of the region (docs/deploy.md, What you need):
  aws iam create-role --role-name ApiGatewayLogs --assume-role-policy-document \\
    '{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"sts:AssumeRole",
      "Principal":{{"Service":"apigateway.amazonaws.com"}}}}]}}'

  aws iam attach-role-policy --role-name ApiGatewayLogs --policy-arn \\
    arn:{partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs

  aws apigateway update-account --patch-operations op=replace,path=/cloudwatchRoleArn,value=\\
"$(aws iam get-role --role-name ApiGatewayLogs --query Role.Arn --output text)\""""
_TOO_LITTLE_CONCURRENCY = """\
Lambda would refuse this deployment: {fault}.
Lower IssueTokenConcurrency, IntrospectTokenConcurrency, AuthorizerConcurrency, OtherConcurrency or
ProvisionedConcurrency in samconfig.toml, or request a higher limit:
  {request}"""
_UNPROTECTED = """\
The stack {stack} is deployed, but has no termination protection: {error}.
  aws cloudformation update-termination-protection --enable-termination-protection \\
    --stack-name {stack}
"""


class ConfigurationError(Exception):
    """Raised when samconfig.toml, the shell or the account is not ready for a deployment."""


def overrides(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the template's parameters in a `deploy` table of samconfig.toml.

    The file has a list. SAM's prompts save one text. Values with spaces or quotes are in double
    quotes, and a backslash escapes a quote.

    Raises:
        ConfigurationError: an entry has another form than NAME=value.
    """
    given = parameters.get("parameter_overrides", [])
    try:
        parts = [part for text in ([given] if isinstance(given, str) else given) for part in shlex.split(text)]
        fault = next((f"{part} contains no =" for part in parts if "=" not in part), "")
    except ValueError as error:
        fault = str(error)
    if fault:
        raise ConfigurationError(
            f"samconfig.toml has parameter_overrides that cannot be read: {fault}. Each is "
            r"""NAME=value, or 'NAME="{\"a\": \"b\"}"' where spaces or quotes are in it."""
        )
    return dict(part.split("=", 1) for part in parts)


def stage_parameters(stage: str) -> dict[str, str]:
    """Return the parameters that a stage has in samconfig.toml; raises ConfigurationError."""
    return overrides(_stage(stage)["deploy"]["parameters"])


def stack_name(stage: str) -> str:
    """Return the stack of a stage. SAM's prompts save another name in the `deploy` table.

    Raises:
        ConfigurationError: the file has no such stage, or cannot be read.
    """
    tables = [_stage(stage).get(command, {}).get("parameters", {}) for command in ("deploy", "global")]
    return str(next((each["stack_name"] for each in tables if "stack_name" in each), ""))


def _stage(name: str) -> Mapping[str, Any]:
    try:
        configuration = tomllib.loads(CONFIGURATION.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"samconfig.toml is not valid TOML: {error}.") from None
    stages = {name: part for name, part in configuration.items() if isinstance(part, dict) and "deploy" in part}
    if name not in stages:
        raise ConfigurationError(f"samconfig.toml has no stage {name!r}, only {', '.join(stages)}.")
    stage: Mapping[str, Any] = stages[name]
    return stage


def command(stage: str, parameters: Mapping[str, str], *, region: str, guided: bool) -> list[str]:
    """Return the command that deploys a stage with these parameters of the template."""
    return [
        str(Path(sys.executable).parent / "sam"),
        *("deploy", "--config-env", stage, "--region", region),
        *(["--guided"] if guided else ["--no-fail-on-empty-changeset"]),
        *("--parameter-overrides", *(_override(*each) for each in parameters.items())),
    ]


def _override(name: str, value: str) -> str:
    """Return NAME="value": without quotes SAM cuts a value at its first space or quote."""
    escaped = value.replace('"', r"\"")
    return f'{name}="{escaped}"'


def lacks_log_role(aws: Aws, parameters: Mapping[str, str]) -> bool:
    """Return whether the stack has a REST API, and the account no role for API Gateway's logs in this region.

    HTTP APIs write logs without a role. A deployer who may not read that setting is not stopped.
    """
    if parameters.get("SampleApi") == "false":
        return False
    try:
        return not aws.client("apigateway").get_account().get("cloudwatchRoleArn")
    except (BotoCoreError, ClientError):
        return False


def concurrency_fault(aws: Aws, stack: str, parameters: Mapping[str, str]) -> str | None:
    """Return why Lambda would refuse the stack's concurrency; None if it would not.

    A deployer who may not read the account's settings is not stopped.
    """
    try:
        deployed = _deployed_parameters(aws, stack) if stack else {}
        # SAM reuses the values of an existing stack.
        wanted = {**deployed, **parameters}
        if not (reserved(wanted) or int(wanted.get("ProvisionedConcurrency", 0))):
            return None
        return AccountConcurrency.read(aws.client("lambda")).fault(wanted, deployed)
    except (BotoCoreError, ClientError, ValueError):
        return None


def _deployed_parameters(aws: Aws, stack: str) -> dict[str, str]:
    try:
        (found,) = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "ValidationError":
            return {}
        raise
    return {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", ())}


def main(arguments: Sequence[str]) -> int:
    """Deploy; return SAM's exit code."""
    parser = argparse.ArgumentParser(prog="infra.deploy")
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--architecture", default=ARCHITECTURE)
    parser.add_argument("--runtime", default=RUNTIME)
    parser.add_argument("--no-guide", dest="guided", action="store_false")
    given = parser.parse_args(arguments)
    try:
        aws, deploy = _prepare(given.stage, given.architecture, given.runtime, guided=given.guided)
    except (ConfigurationError, ProfileNotFound) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with subprocess.Popen(deploy, cwd=ROOT) as sam:
        try:
            code = sam.wait()
        except KeyboardInterrupt:  # the terminal has sent it to SAM as well
            sys.stderr.write(_INTERRUPTED)
            code = sam.wait() or 1
    if code == 0 and given.stage in PROTECTED_STAGES:
        stack = stack_name(given.stage)  # SAM's prompts may have saved another name
        try:
            # Nested stacks are protected as well. A failure does not fail the deployment, which is complete.
            aws.client("cloudformation").update_termination_protection(
                StackName=stack, EnableTerminationProtection=True
            )
        except (BotoCoreError, ClientError) as error:
            sys.stderr.write(_UNPROTECTED.format(stack=stack, error=error))
    return code


def _prepare(stage: str, architecture: str, runtime: str, *, guided: bool) -> tuple[Aws, list[str]]:
    """Return the account, and the command that deploys to it; raises ConfigurationError, ProfileNotFound."""
    session = boto3.Session()
    if not session.region_name:
        raise ConfigurationError(_NO_REGION)
    parameters = stage_parameters(stage) | {
        "Architecture": architecture,
        "Runtime": runtime,
        "DeploymentId": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
    }
    stack = stack_name(stage)
    if not session.get_credentials():
        raise ConfigurationError(_NO_CREDENTIALS)
    aws = Aws(session)
    if lacks_log_role(aws, parameters):
        partition = session.get_partition_for_region(session.region_name)
        raise ConfigurationError(_NO_LOG_ROLE.format(partition=partition))
    if fault := concurrency_fault(aws, stack, parameters):
        raise ConfigurationError(_TOO_LITTLE_CONCURRENCY.format(fault=fault, request=REQUEST_MORE))
    return aws, command(stage, parameters, region=session.region_name, guided=guided)


UNRESERVED_MINIMUM = 100
"""Concurrent executions that Lambda leaves to functions without a reservation."""

REQUEST_MORE = (
    "aws service-quotas request-service-quota-increase --service-code lambda "
    "--quota-code L-B99A9384 --desired-value 1000"
)


@dataclass(frozen=True, slots=True)
class AccountConcurrency:
    """The concurrent executions of an account in its region."""

    limit: int
    unreserved: int

    @classmethod
    def read(cls, client: Any) -> AccountConcurrency:
        """Read the account's settings with a client of Lambda."""
        settings = client.get_account_settings()["AccountLimit"]
        return cls(settings["ConcurrentExecutions"], settings["UnreservedConcurrentExecutions"])

    @property
    def reservable(self) -> int:
        """The concurrency that functions can still reserve. New accounts (limit 10) have none."""
        return max(self.unreserved - min(UNRESERVED_MINIMUM, self.limit), 0)

    def fault(self, wanted: Mapping[str, str], deployed: Mapping[str, str]) -> str | None:
        """Return why Lambda would refuse the concurrency of a deployment; None if it would not.

        `deployed` has the parameters of the stack as it is, whose reservations become free.
        """
        issuing = int(wanted.get("IssueTokenConcurrency", 0))
        provisioned = int(wanted.get("ProvisionedConcurrency", 0))
        if issuing and provisioned > issuing:
            return f"ProvisionedConcurrency ({provisioned}) is more than IssueTokenConcurrency ({issuing})"
        needed = reserved(wanted) + (0 if issuing else provisioned)
        available = self.reservable + reserved(deployed)
        if needed <= available:
            return None
        return (
            f"the stack reserves or provisions {needed} concurrent executions, and {available} are available "
            f"(limit {self.limit}, minus {min(UNRESERVED_MINIMUM, self.limit)} that stay unreserved)"
        )


def reserved(parameters: Mapping[str, str]) -> int:
    """Return the concurrency that the functions of a stack reserve together."""
    has_sample_api = parameters.get("SampleApi") != "false"
    functions = {
        "IssueTokenConcurrency": 1,
        "IntrospectTokenConcurrency": 1,
        "AuthorizerConcurrency": 2 if has_sample_api else 1,
        "OtherConcurrency": 5 if has_sample_api else 3,
    }
    return sum(int(parameters.get(name, 0)) * count for name, count in functions.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
