"""Deploy what was built: `python -m infra.deploy --stage dev`, with the values of samconfig.toml.

SAM keeps the parameters of a stack that exists unless they are given again, so those that say what
the artifacts were built for, and which deployment this is, are always given.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.build import ARCHITECTURE, ROOT, RUNTIME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIGURATION = ROOT / "samconfig.toml"
_NO_REGION = """\
No region is set, so there is no telling where to deploy. Set one, here or for good:
  export AWS_DEFAULT_REGION=eu-central-1
  aws configure set region eu-central-1
"""


_NO_LOG_ROLE = """\
API Gateway may not write logs in this account and region, and would refuse the guarded API, whose
requests are logged. Let it, once for all REST APIs here (docs/deploy.md, What you need):
  aws iam create-role --role-name ApiGatewayLogs --assume-role-policy-document \\
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",
      "Principal":{"Service":"apigateway.amazonaws.com"}}]}'
  aws iam attach-role-policy --role-name ApiGatewayLogs --policy-arn \\
    arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs
  aws apigateway update-account --patch-operations op=replace,path=/cloudwatchRoleArn,value=\\
"$(aws iam get-role --role-name ApiGatewayLogs --query Role.Arn --output text)"
"""


class UnknownStageError(Exception):
    """Raised when samconfig.toml has no such stage."""

    def __init__(self, stage: str, known: Sequence[str]) -> None:
        super().__init__(f"samconfig.toml has no stage {stage!r}, only {', '.join(known)}.")


def overrides(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the template's parameters in a `deploy` table of samconfig.toml.

    They are a list as we write them, and one text as SAM does when its dialogue saves them.
    """
    given = parameters.get("parameter_overrides", [])
    parts = shlex.split(given) if isinstance(given, str) else given
    return dict(part.split("=", 1) for part in parts)


def command(stage: str, *, region: str, deployed: Mapping[str, str], guided: bool) -> list[str]:
    """Return the command that deploys a stage; `deployed` are parameters that go before its own.

    Raises:
        UnknownStageError: samconfig.toml does not have it.
    """
    configured = tomllib.loads(CONFIGURATION.read_text(encoding="utf-8"))
    stages = {
        name: part["deploy"]["parameters"]
        for name, part in configured.items()
        if isinstance(part, dict) and "deploy" in part
    }
    if stage not in stages:
        raise UnknownStageError(stage, list(stages))
    parameters = {**overrides(stages[stage]), **deployed}
    return [
        str(Path(sys.executable).parent / "sam"),
        *("deploy", "--config-env", stage, "--region", region),
        *(["--guided"] if guided else ["--no-fail-on-empty-changeset"]),
        *("--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items())),
    ]


def lacks_log_role(session: boto3.Session) -> bool:
    """Whether API Gateway has no role to write logs with: a setting of the account, by region.

    Whoever may not ask that is not kept from deploying.
    """
    try:
        return not session.client("apigateway").get_account().get("cloudwatchRoleArn")
    except (BotoCoreError, ClientError):
        return False


def main(arguments: Sequence[str]) -> int:
    """Deploy; return SAM's exit code."""
    parser = argparse.ArgumentParser(prog="infra.deploy")
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--architecture", default=ARCHITECTURE)
    parser.add_argument("--runtime", default=RUNTIME)
    parser.add_argument("--no-guide", dest="guided", action="store_false")
    given = parser.parse_args(arguments)
    session = boto3.Session()
    region = session.region_name
    if not region:
        sys.stderr.write(_NO_REGION)
        return 1
    deployed = {
        "Architecture": given.architecture,
        "Runtime": given.runtime,
        "DeploymentId": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
    }
    try:
        deploy = command(given.stage, region=region, deployed=deployed, guided=given.guided)
    except UnknownStageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if lacks_log_role(session):
        sys.stderr.write(_NO_LOG_ROLE)
        return 1
    return subprocess.run(deploy, cwd=ROOT, check=False).returncode  # noqa: S603 - our own words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
