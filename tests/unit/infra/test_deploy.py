import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from infra import deploy
from infra.cli.context import Aws
from local.emulated_aws import TEMPLATE
from local.gateway.template import Template
from tests.support.answers_server import AnswersServer, ReceivedRequest, Reply, answers_server
from tests.support.aws import CREDENTIALS
from tests.support.deployed_template import Deployment

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


@pytest.mark.parametrize(("stage", "stack"), [("dev", "gatehouse-dev"), ("prod", "gatehouse")])
def test_stage_is_deployed_with_its_parameters(stage: str, stack: str) -> None:
    assert deploy.stack_name(stage) == stack
    parameters = deploy.stage_parameters(stage)
    Template.read(TEMPLATE, parameters)  # every parameter is one of the template's
    command = deploy.command(stage, parameters, region="eu-west-1", guided=False)
    assert command[1:6] == ["deploy", "--config-env", stage, "--region", "eu-west-1"]
    assert "--guided" not in command
    guided = deploy.command(stage, parameters, region="eu-west-1", guided=True)
    assert "--guided" in guided


def test_values_are_quoted_for_sam() -> None:
    """SAM 1.170 reads each of these as the value that it was made of."""
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
        # As SAM's prompts save them, and as samconfig.toml has them.
        r"""'Runtime="python3.11" Audience="https://a.example b" OtherIssuers="%s"'""",
        r"""['Runtime=python3.11', 'Audience="https://a.example b"', 'OtherIssuers="%s"']""",
    ],
)
def test_parameters_are_read_as_sam_reads_them(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samconfig.toml").write_text(SAMCONFIG % (given % ISSUERS.replace('"', r"\"")))
    monkeypatch.setattr(deploy, "CONFIGURATION", tmp_path / "samconfig.toml")
    assert deploy.stage_parameters("dev") == {
        "Runtime": "python3.11",
        "Audience": "https://a.example b",
        "OtherIssuers": ISSUERS,
    }


NOWHERE = {"AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none", "AWS_EC2_METADATA_DISABLED": "true"}


def _set_environment(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> None:
    """Leave no other settings for AWS than these."""
    for name in (*CREDENTIALS, "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**NOWHERE, **environ}.items():
        monkeypatch.setenv(name, value)


UNREADABLE = "samconfig.toml has parameter_overrides that cannot be read"


@pytest.mark.parametrize(
    ("environ", "config", "said"),
    [
        (CREDENTIALS, SAMCONFIG % '["Audience=https://a.example b"]', UNREADABLE),
        (CREDENTIALS, SAMCONFIG % """["Audience=it's"]""", UNREADABLE),
        (CREDENTIALS, SAMCONFIG.replace("dev", "moon") % "[]", "no stage 'dev', only moon"),
        (CREDENTIALS, SAMCONFIG % "[", "samconfig.toml is not valid TOML: "),
        (CREDENTIALS, "= 1", "samconfig.toml is not valid TOML: "),
        ({"AWS_PROFILE": "nowhere"}, SAMCONFIG % "[]", "The config profile (nowhere) could not be found\n"),
        ({}, SAMCONFIG % "[]", "export AWS_DEFAULT_REGION="),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, SAMCONFIG % "[]", "No AWS credentials were found"),
    ],
)
def test_unusable_configuration_is_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environ: dict[str, str],
    config: str,
    said: str,
) -> None:
    _set_environment(monkeypatch, environ)
    (tmp_path / "samconfig.toml").write_text(config)
    monkeypatch.setattr(deploy, "CONFIGURATION", tmp_path / "samconfig.toml")
    assert deploy.main(["--stage", "dev"]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-1", "aws"), ("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")]
)
def test_missing_log_role_is_reported(
    region: str, partition: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _set_environment(monkeypatch, CREDENTIALS | {"AWS_DEFAULT_REGION": region})
    with mock_aws():
        assert deploy.main(["--stage", "dev", "--no-guide"]) == 1
        policy = f"arn:{partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
        assert policy in capsys.readouterr().err
        role = boto3.client("iam").create_role(RoleName="logs", AssumeRolePolicyDocument="{}")
        boto3.client("apigateway").update_account(
            patchOperations=[{"op": "replace", "path": "/cloudwatchRoleArn", "value": role["Role"]["Arn"]}]
        )
        assert not deploy.lacks_log_role(Aws(boto3.Session()), {})


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_http_apis_and_unreadable_settings_need_no_log_role(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = deploy.stage_parameters(stage)
    _set_environment(monkeypatch, CREDENTIALS)
    with mock_aws():
        assert deploy.lacks_log_role(Aws(boto3.Session()), parameters) is (stage == "dev")
    _set_environment(monkeypatch, {})
    assert not deploy.lacks_log_role(Aws(boto3.Session(region_name="eu-west-1")), parameters)


def _install_sam(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a script in place of SAM, next to the interpreter, and set credentials."""
    (folder / "sam").write_text(script)
    (folder / "sam").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    _set_environment(monkeypatch, CREDENTIALS)


def test_interruption_reports_what_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SAM is interrupted too: the terminal signals both processes."""
    _install_sam(tmp_path, monkeypatch, INTERRUPTING)
    assert deploy.main(["--stage", "prod", "--no-guide"]) == 1
    assert "CloudFormation continues" in capsys.readouterr().err


LIMITS = {
    "IssueTokenConcurrency": "100",
    "IntrospectTokenConcurrency": "50",
    "AuthorizerConcurrency": "200",
    "OtherConcurrency": "20",
}


@pytest.mark.parametrize("sample_api", ["true", "false"])
def test_reservations_match_the_template(sample_api: str) -> None:
    parameters = {**LIMITS, "SampleApi": sample_api}
    functions = Deployment.of(**parameters).properties("AWS::Lambda::Function").values()
    made = [each.get("ReservedConcurrentExecutions", {}).get("Ref") for each in functions]
    assert deploy.reserved(parameters) == sum(int(parameters[name]) for name in made if name)


@pytest.mark.parametrize(
    ("limit", "unreserved", "wanted", "deployed", "fault"),
    [
        (1000, 1000, {"IssueTokenConcurrency": "900"}, {}, ""),
        (1000, 1000, {"IssueTokenConcurrency": "901"}, {}, "901 concurrent executions"),
        (1000, 1000, {"OtherConcurrency": "181"}, {}, "905 concurrent executions"),
        (1000, 1000, {"OtherConcurrency": "181", "SampleApi": "false"}, {}, ""),
        (1000, 100, {"IssueTokenConcurrency": "1"}, {}, "0 are available"),
        (1000, 100, {"IssueTokenConcurrency": "9"}, {"IssueTokenConcurrency": "9"}, ""),
        (1000, 100, {"IssueTokenConcurrency": "10"}, {"IssueTokenConcurrency": "9"}, "9 are available"),
        (10, 10, {"IssueTokenConcurrency": "1"}, {}, "limit 10, minus 10 that stay unreserved"),
        (10, 10, {"ProvisionedConcurrency": "1"}, {}, "1 concurrent executions"),
        (10, 10, {}, {}, ""),
        (1000, 1000, {"IssueTokenConcurrency": "5", "ProvisionedConcurrency": "5"}, {}, ""),
        (1000, 1000, {"IssueTokenConcurrency": "5", "ProvisionedConcurrency": "6"}, {}, "is more"),
    ],
)
def test_concurrency_respects_the_account_limit(
    limit: int, unreserved: int, wanted: dict[str, str], deployed: dict[str, str], fault: str
) -> None:
    found = deploy.AccountConcurrency(limit, unreserved).fault(wanted, deployed)
    assert fault in found if found else not fault


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnswersServer]:
    """An account with a server in place of Lambda and CloudFormation, and a SAM that records."""
    _install_sam(tmp_path, monkeypatch, f'#!/bin/sh\necho "$@" > {tmp_path}/sam.arguments\n')
    with answers_server() as server:
        for service in ("LAMBDA", "CLOUDFORMATION"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", server.url)
        server.answers["GET /2016-08-19/account-settings"] = Reply(
            200, '{"AccountLimit": {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 10}}'
        )
        server.answers["POST /"] = _cloudformation
        yield server


def _cloudformation(request: ReceivedRequest) -> Reply:
    if "DescribeStacks" in request.body:
        return Reply(400, "<ErrorResponse><Error><Code>ValidationError</Code></Error></ErrorResponse>")
    result = "UpdateTerminationProtection"
    return Reply(200, f"<{result}Response><{result}Result/></{result}Response>")


def _deploy(folder: Path, monkeypatch: pytest.MonkeyPatch, stage: str, given: str) -> int:
    text = f'[{stage}.global.parameters]\nstack_name = "ours"\n[{stage}.deploy.parameters]\n'
    (folder / "samconfig.toml").write_text(f"{text}parameter_overrides = [{given}]\n")
    monkeypatch.setattr(deploy, "CONFIGURATION", folder / "samconfig.toml")
    return deploy.main(["--stage", stage, "--no-guide"])


def test_unavailable_concurrency_stops_deploy(
    account: AnswersServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = '"SampleApi=false", "OtherConcurrency=2"'
    assert _deploy(tmp_path, monkeypatch, "dev", given) == 1
    said = capsys.readouterr().err
    assert "reserves or provisions 6 concurrent executions" in said
    assert "request-service-quota-increase" in said
    assert not (tmp_path / "sam.arguments").exists()
    assert _deploy(tmp_path, monkeypatch, "dev", '"SampleApi=false"') == 0
    assert (tmp_path / "sam.arguments").exists()


@pytest.mark.parametrize(("stage", "protected"), [("prod", True), ("dev", False)])
def test_production_is_protected(
    account: AnswersServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, protected: bool
) -> None:
    assert _deploy(tmp_path, monkeypatch, stage, '"SampleApi=false"') == 0
    calls = [request.body for request in account.received if "UpdateTerminationProtection" in request.body]
    assert len(calls) == protected
    assert all("StackName=ours" in body and "EnableTerminationProtection=true" in body for body in calls)


def test_failed_protection_names_its_command(
    account: AnswersServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    account.answers["POST /"] = Reply(403, "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>")
    assert _deploy(tmp_path, monkeypatch, "prod", '"SampleApi=false"') == 0
    printed = capsys.readouterr().err
    assert "ours is deployed, but has no termination protection" in printed
    assert "aws cloudformation update-termination-protection" in printed
