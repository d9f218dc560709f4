from __future__ import annotations

import sys
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

SAMCONFIG = """
[dev.deploy.parameters]
parameter_overrides = %s
"""
INTERRUPTING = """\
#!/bin/sh
until ps -o stat= -p $PPID | grep -q ^S; do :; done  # it waits for us
kill -INT $PPID
"""
ISSUERS = '{"https://a.example": {"audience": ["b c"]}}'


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_a_stage_is_deployed_with_its_parameters(stage: str) -> None:
    parameters = deploy.stage_parameters(stage)
    Template.read(TEMPLATE, parameters)  # every parameter is one of the template's
    command = deploy.command(stage, parameters, region="eu-west-1", guided=False)
    assert command[1:6] == ["deploy", "--config-env", stage, "--region", "eu-west-1"]
    assert "--guided" not in command
    guided = deploy.command(stage, parameters, region="eu-west-1", guided=True)
    assert "--guided" in guided


def test_values_are_quoted_for_sam_which_cuts_others_at_a_space_and_takes_no_empty_ones() -> None:
    """What SAM 1.170 reads each of these as, was tried: the value that it was made of."""
    parameters = {"Runtime": "python3.13", "Audience": "", "OtherIssuers": ISSUERS}
    command = deploy.command("dev", parameters, region="eu-west-1", guided=False)
    assert command[command.index("--parameter-overrides") + 1 :] == [
        'Runtime="python3.13"',
        'Audience=""',
        r'OtherIssuers="{\"https://a.example\": {\"audience\": [\"b c\"]}}"',
    ]


@pytest.mark.parametrize(
    "given",
    [
        # As SAM's dialogue saves them, and as we write them.
        r"""'Runtime="python3.11" Audience="https://a.example b" OtherIssuers="%s"'""",
        r"""['Runtime=python3.11', 'Audience="https://a.example b"', 'OtherIssuers="%s"']""",
    ],
)
def test_parameters_are_read_as_sam_reads_them(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _configure(tmp_path, monkeypatch, given % ISSUERS.replace('"', r"\""))
    assert deploy.stage_parameters("dev") == {
        "Runtime": "python3.11",
        "Audience": "https://a.example b",
        "OtherIssuers": ISSUERS,
    }


@pytest.mark.parametrize("given", ['["Audience=https://a.example b"]', """["Audience=it's"]"""])
def test_a_value_that_sam_would_cut_is_refused(
    given: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _configure(tmp_path, monkeypatch, given)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert deploy.main(["--stage", "dev"]) == 1
    assert "samconfig.toml has parameter_overrides that cannot be read" in capsys.readouterr().err


def _configure(folder: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    path = folder / "samconfig.toml"
    path.write_text(SAMCONFIG % given)
    monkeypatch.setattr(deploy, "CONFIGURATION", path)


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


def test_without_credentials_nothing_is_asked_and_the_answer_says_how_to_give_some(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in (*CREDENTIALS, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert deploy.main(["--stage", "dev"]) == 1
    assert capsys.readouterr().err.startswith("No AWS credentials were found")


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


def test_a_stack_without_the_sample_api_needs_no_such_role() -> None:
    assert deploy.needs_log_role(deploy.stage_parameters("dev"))
    assert not deploy.needs_log_role(deploy.stage_parameters("prod"))


def test_who_may_not_ask_about_logs_is_not_kept_from_deploying(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (*CREDENTIALS, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert not deploy.lacks_log_role(boto3.Session(region_name="eu-west-1"))


@pytest.mark.parametrize("text", ["[dev.deploy.parameters]\nparameter_overrides = [", "= 1"])
def test_a_configuration_that_is_no_toml_is_a_sentence(
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "samconfig.toml"
    path.write_text(text)
    monkeypatch.setattr(deploy, "CONFIGURATION", path)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert deploy.main(["--stage", "dev"]) == 1
    assert capsys.readouterr().err.startswith("samconfig.toml is no TOML: ")


def test_a_profile_that_is_not_there_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    assert deploy.main(["--stage", "dev"]) == 1
    assert capsys.readouterr().err == "The config profile (nowhere) could not be found\n"


@pytest.mark.parametrize(
    ("region", "partition"), [("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")]
)
def test_the_policy_of_the_log_role_is_that_of_the_partition(
    region: str,
    partition: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": region}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        assert deploy.main(["--stage", "dev", "--no-guide"]) == 1
    assert f"arn:{partition}:iam::aws:policy/service-role/" in capsys.readouterr().err


def test_an_interruption_says_that_cloudformation_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SAM is interrupted with us: the terminal tells both."""
    (tmp_path / "sam").write_text(INTERRUPTING)
    (tmp_path / "sam").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    assert deploy.main(["--stage", "prod", "--no-guide"]) == 1
    assert "CloudFormation goes on" in capsys.readouterr().err
