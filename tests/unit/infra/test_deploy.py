from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from infra import deploy
from local.aws import TEMPLATE
from local.gateway.template import Template
from tests.support.aws import CREDENTIALS

if TYPE_CHECKING:
    from pathlib import Path

DEPLOYED = {"Architecture": "x86_64", "Runtime": "python3.12", "DeploymentId": "now"}


def _parameters(command: list[str]) -> dict[str, str]:
    first = command.index("--parameter-overrides") + 1
    return dict(part.split("=", 1) for part in command[first:])


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_a_stage_is_deployed_with_what_was_built(stage: str) -> None:
    command = deploy.command(stage, region="eu-west-1", deployed=DEPLOYED, guided=False)
    assert command[1:6] == ["deploy", "--config-env", stage, "--region", "eu-west-1"]
    assert "--guided" not in command
    parameters = _parameters(command)
    assert parameters.items() >= DEPLOYED.items()
    Template.read(TEMPLATE, parameters)  # every parameter is one of the template's
    guided = deploy.command(stage, region="eu-west-1", deployed=DEPLOYED, guided=True)
    assert "--guided" in guided


def test_what_the_dialogue_saved_is_read_and_what_was_built_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "samconfig.toml"
    path.write_text(
        "[dev.deploy.parameters]\n"
        'parameter_overrides = "Runtime=\\"python3.11\\" Audience=\\"https://a.example b\\""\n'
    )
    monkeypatch.setattr(deploy, "CONFIGURATION", path)
    command = deploy.command("dev", region="eu-west-1", deployed=DEPLOYED, guided=True)
    assert _parameters(command) == {**DEPLOYED, "Audience": "https://a.example b"}


def test_a_stage_that_is_not_configured_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    assert deploy.main(["--stage", "moon"]) == 1
    assert "no stage 'moon', only dev, prod" in capsys.readouterr().err


def test_without_a_region_nothing_is_deployed_and_the_answer_says_how_to_set_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert deploy.main(["--stage", "dev"]) == 1
    assert "export AWS_DEFAULT_REGION=" in capsys.readouterr().err


def test_a_region_whose_api_gateway_may_write_no_logs_is_told_how_to_let_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        assert deploy.main(["--stage", "dev", "--no-guide"]) == 1
        assert "AmazonAPIGatewayPushToCloudWatchLogs" in capsys.readouterr().err
        role = boto3.client("iam").create_role(RoleName="logs", AssumeRolePolicyDocument="{}")
        boto3.client("apigateway").update_account(
            patchOperations=[
                {"op": "replace", "path": "/cloudwatchRoleArn", "value": role["Role"]["Arn"]}
            ]
        )
        assert not deploy.lacks_log_role(boto3.Session())


def test_who_may_not_ask_about_logs_is_not_kept_from_deploying(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (*CREDENTIALS, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert not deploy.lacks_log_role(boto3.Session(region_name="eu-west-1"))
