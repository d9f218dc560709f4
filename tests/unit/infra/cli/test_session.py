import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import boto3
import click.testing
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    UnauthorizedSSOTokenError,
)

from functions.shared.storage.secrets_manager import SecretConflictError
from infra import local_stack
from infra.build import ROOT
from infra.cli.app import app
from infra.cli.aws_errors import translated
from infra.cli.context import Aws, CommandContext, find_stack, laptop, laptop_aws_endpoint
from infra.cli.errors import EXIT_CODES, CommandError, ExitCode, UsageError
from infra.cli.input_files import read_secret
from infra.cli.times import parse_moment
from local.addresses import Addresses
from local.emulated_aws import TEMPLATE
from local.gateway.template import Template
from tests.support.cli import GUARDED_API, ISSUER, STACK, CommandLine, physical_name
from tests.support.clock import ManualClock
from tests.support.server import NOW, client

DOCS = ROOT / "docs"
NO_SETTINGS: dict[str, str] = {}


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


def test_command_list_has_whole_sentences() -> None:
    for group in ((), ("clients",), ("keys",), ("token",)):
        shown = CommandLine(ManualClock())(*group, "--help").stdout
        _, _, listed = shown.partition("\nCommands:\n")
        assert listed
        assert "..." not in listed


@pytest.mark.parametrize("command", list(commands(app)), ids=" ".join)
def test_commands_have_help_and_global_options(command: tuple[str, ...]) -> None:
    shown = CommandLine(ManualClock())(*command, "--help")
    assert shown.code == 0
    assert shown.stdout.startswith(f"Usage: gatehouse {' '.join(command)}")
    if command != ("completion",):
        for option in ("--stack", "--local", "--region", "--profile", "--json"):
            assert option in shown.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CommandLine(ManualClock())
    assert "_GATEHOUSE_COMPLETE" in run("completion", shell).stdout
    monkeypatch.setenv("_GATEHOUSE_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "gatehouse clients ro")
    monkeypatch.setenv("COMP_CWORD", "2" if shell != "fish" else "ro")
    assert "rotate-secret" in run().stdout


def test_a_deployment_is_found_by_its_stack(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(), None)
    for arguments in (
        ("--stack", STACK, "clients", "list"),
        ("clients", "--stack", STACK, "list"),
        ("clients", "list", "--stack", STACK),
        ("--stack", "another", "clients", "list", "--stack", STACK),
    ):
        assert "service-client-jwt" in gatehouse(*arguments, environ=NO_SETTINGS).stdout
    found = find_stack(_aws(), STACK)
    assert (found.issuer, found.guarded_api) == (ISSUER, GUARDED_API)
    assert found.resource("ClientsTable") == physical_name("ClientsTable")
    assert found.parameters == {"KeySigningDays": "30"}
    assert not found.is_local


def _aws() -> Aws:
    return Aws(boto3.Session())


def test_unknown_deployment_is_one_sentence(gatehouse: CommandLine) -> None:
    boto3.client("cloudformation").create_stack(
        StackName="other", TemplateBody=json.dumps({"Resources": {"A": {"Type": "AWS::SNS::Topic"}}})
    )
    unknown: tuple[tuple[tuple[str, ...], int, str], ...] = (
        ((), 2, "No deployment was named. Add --stack NAME"),
        (("--stack", "nowhere"), 3, "There is no stack nowhere in eu-west-1."),
        (("--local", "--stack", STACK), 2, "exclude each other"),
        (("--stack", "other"), 3, "is not a complete Gatehouse deployment"),
        (("--stack", STACK, "--profile", "absent"), 4, "(absent) could not be found"),
    )
    for options, code, said in unknown:
        refused = gatehouse("clients", "list", *options, environ=NO_SETTINGS)
        assert (refused.code, refused.stdout) == (code, "")
        assert said in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_deployment_is_required_before_credentials() -> None:
    def no_sessions(profile: str | None, region: str | None) -> boto3.Session:
        raise NoRegionError

    context = CommandContext(sessions=no_sessions, environ=NO_SETTINGS)
    for command in (["clients", "list"], ["keys", "list"], ["doctor"], ["backup", "file"]):
        refused = click.testing.CliRunner().invoke(app, command, obj=context)
        assert refused.stderr.startswith("No deployment was named.")


def test_stack_without_table_is_one_sentence(gatehouse: CommandLine) -> None:
    found = find_stack(_aws(), STACK)
    with pytest.raises(CommandError, match="has no TruststoreBucket") as refused:
        found.resource("TruststoreBucket")
    assert refused.value.code is ExitCode.NOT_FOUND


def test_programs_get_errors_as_json(gatehouse: CommandLine) -> None:
    refused = gatehouse("clients", "show", "absent", "--json")
    assert refused.stdout == ""
    assert json.loads(refused.stderr) == {
        "error": "Client absent does not exist.",
        "next_step": "List the clients: gatehouse clients list.",
        "code": 3,
    }


def test_commands_in_messages_name_the_deployment(gatehouse: CommandLine) -> None:
    stack = ("--stack", STACK, "--region", "eu-west-1")
    named = f"gatehouse --stack {STACK} --region eu-west-1 clients"
    created = gatehouse("clients", "create", "a", *stack, environ=NO_SETTINGS)
    assert f"{named} update a --add-scope SCOPE" in created.stderr
    refused = gatehouse(*stack, "clients", "show", "absent", environ=NO_SETTINGS)
    assert refused.stderr.endswith(f"{named} list.\n")
    refused = gatehouse(*stack, "clients", "show", "absent", "--json", environ=NO_SETTINGS)
    assert json.loads(refused.stderr)["next_step"] == f"List the clients: {named} list."
    gatehouse("clients", "rotate-secret", "a", "--old-until", "now")
    gatehouse.clients.change("a", lambda found: replace(found, secrets=()))
    findings = gatehouse("doctor", *stack, "--json", environ=NO_SETTINGS).json["findings"]
    (secrets,) = [each for each in findings if each["check"] == "secrets"]
    assert secrets["to_do"] == f"{named} rotate-secret a."


def test_deleted_table_reports_the_aws_error(gatehouse: CommandLine) -> None:
    boto3.client("dynamodb").delete_table(TableName=physical_name("ClientsTable"))
    refused = gatehouse("clients", "list")
    assert refused.code == 4
    assert "AWS rejected Scan: ResourceNotFoundException" in refused.stderr
    assert "Check that the stack's deployment is complete." in refused.stderr


def _client_error(code: str, message: str = "It says so.") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Scan")


@pytest.mark.parametrize(
    ("error", "code", "next_step"),
    [
        (NoCredentialsError(), ExitCode.FAILURE, "aws configure"),
        (UnauthorizedSSOTokenError(), ExitCode.FAILURE, "aws sso login"),
        (ProfileNotFound(profile="x"), ExitCode.FAILURE, "--profile"),
        (EndpointConnectionError(endpoint_url="https://x"), ExitCode.FAILURE, "--region"),
        (EndpointConnectionError(endpoint_url="http://localhost:1"), ExitCode.FAILURE, "make run"),
        (ConnectTimeoutError(endpoint_url="https://x"), ExitCode.FAILURE, "--region"),
        (ReadTimeoutError(endpoint_url="https://x"), ExitCode.FAILURE, "--region"),
        (InvalidRegionError(region_name="mars"), ExitCode.FAILURE, "--region"),
        (
            PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
            ExitCode.FAILURE,
            "access key and secret key",
        ),
        (_client_error("AccessDeniedException"), ExitCode.FAILURE, "docs/cli.md"),
        (_client_error("ExpiredTokenException"), ExitCode.FAILURE, "Renew the credentials"),
        (_client_error("UnrecognizedClientException"), ExitCode.FAILURE, "Renew the credentials"),
        (_client_error("ThrottlingException"), ExitCode.FAILURE, "Try again."),
        (_client_error("501", "<html>\nNo POST</html>"), ExitCode.FAILURE, "Check the endpoint"),
        (SecretConflictError(), ExitCode.CONFLICT, "Run the command again."),
    ],
)
def test_errors_have_exit_code_and_next_step(error: Exception, code: ExitCode, next_step: str) -> None:
    told = translated(error)
    assert told is not None
    assert told.code is code
    assert next_step in told.next_step
    assert re.fullmatch(r"[^.].*[^.]\.", told.problem)


def test_defect_shows_its_traceback() -> None:
    assert translated(ZeroDivisionError()) is None


def test_every_exit_code_is_documented() -> None:
    assert set(EXIT_CODES) == set(ExitCode)
    table = [f"| {code.value} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    assert "\n".join(table) in DOCS.joinpath("cli.md").read_text()


def test_exit_code_depends_on_the_error(
    gatehouse: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("drifted.yaml").write_text("clients: []")
    Path("broken.yaml").write_text("clients: [1]")
    gatehouse.clients.put(client("a"), None)
    for command, code in (
        ("clients list", ExitCode.DONE),
        ("clients diff --strict drifted.yaml", ExitCode.REFUSED),
        ("clients create a", ExitCode.REFUSED),
        ("clients create a --secret x", ExitCode.USAGE),
        ("clients apply broken.yaml", ExitCode.USAGE),
        ("clients show absent", ExitCode.NOT_FOUND),
        ("clients apply nowhere.yaml", ExitCode.NOT_FOUND),
        ("keys retire absent --yes", ExitCode.NOT_FOUND),
        ("--stack nowhere keys list", ExitCode.NOT_FOUND),
        ("--profile absent keys list", ExitCode.FAILURE),
        ("token get a --secret-file broken.yaml", ExitCode.FAILURE),
    ):
        ended = gatehouse(*command.split())
        assert ended.code == code
        if code > ExitCode.REFUSED:
            assert ended.stdout == ""
            assert ended.stderr.rstrip().endswith((".", "?", ")"))


def test_help_and_docs_agree_on_completion() -> None:
    shown = CommandLine(ManualClock())("completion", "--help").stdout
    for said in (
        'eval "$(gatehouse completion bash)"',
        'eval "$(gatehouse completion zsh)"',
        "source (gatehouse completion fish | psub)",
    ):
        assert said in shown
        assert said in DOCS.joinpath("cli.md").read_text()


def test_bash_completion_works(tmp_path: Path) -> None:
    command = tmp_path / "gatehouse"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m infra.cli "$@"\n')
    command.chmod(0o755)
    script = """
eval "$(gatehouse completion bash)"
COMP_WORDS=(gatehouse keys em) COMP_CWORD=2
_gatehouse_completion gatehouse em keys
printf '%s\n' "${COMPREPLY[@]}"
"""
    completed = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (completed.stdout, completed.stderr) == ("emergency\n", "")


def test_local_stack_uses_make_runs_ports() -> None:
    for environ in (
        {},
        {"GATEHOUSE_AUTH_PORT": "1", "GATEHOUSE_API_PORT": "2", "GATEHOUSE_AWS_PORT": "3"},
        {"GATEHOUSE_PORT_BASE": "9300"},
        {"GATEHOUSE_PORT_BASE": "9300", "GATEHOUSE_API_PORT": "2"},
        {"GATEHOUSE_HOST": "::1"},
        {"GATEHOUSE_HOST": "0.0.0.0"},
    ):
        found, addresses = laptop(environ), Addresses.from_env(environ)
        assert (found.issuer, found.guarded_api) == (addresses.issuer, addresses.guarded_api)
        assert laptop_aws_endpoint(environ) == addresses.aws_url
    assert laptop({}).is_local
    assert laptop({}).label == "the laptop"
    with pytest.raises(UsageError, match="GATEHOUSE_AUTH_PORT must be a port number from 1 to 65535, not 'x'"):
        laptop({"GATEHOUSE_AUTH_PORT": "x"})


def test_local_resources_match_the_template() -> None:
    template = Template.read(TEMPLATE)
    kinds = ("AWS::DynamoDB::Table", "AWS::SecretsManager::Secret", "AWS::KMS::Key")
    declared = {each.logical_id for kind in kinds for each in template.of_type(kind)}
    assert local_stack.physical_names().keys() == declared


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW),
        ("90s", NOW + 90),
        ("30m", NOW + 1800),
        ("2d", NOW + 172_800),
        ("2027-01-31", 1_801_353_600),
        ("2027-01-31T12:00:00+01:00", 1_801_393_200),
    ],
)
def test_moment_is_a_date_or_a_duration(text: str, moment: int) -> None:
    assert parse_moment(text, NOW + 0.5) == moment


@pytest.mark.parametrize("text", ["", "soon", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00+14:00", "2027-02-30"])
def test_invalid_moment_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_moment(text, NOW)


def test_secret_is_not_typed_where_it_would_echo() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "infra.cli", "--local", "token", "get", "a"],
        input="typed\n",
        capture_output=True,
        check=False,
        start_new_session=True,  # without a terminal of any kind
        text=True,
    )
    assert refused.returncode == ExitCode.USAGE
    assert refused.stderr.startswith("The secret of a is missing, and there is no terminal")
    assert len(refused.stderr.splitlines()) == 1


def test_secret_is_typed_without_echo() -> None:
    @click.command()
    def ask() -> None:
        click.echo(len(read_secret("The secret", None)))

    result = click.testing.CliRunner().invoke(ask, input="typed\n")
    assert (result.stdout, "typed" in result.output) == ("5\n", False)


class _CtrlC(BytesIO):
    """A terminal that gets Ctrl-C."""

    def read1(self, size: int | None = -1) -> bytes:
        raise KeyboardInterrupt


def test_ctrl_c_at_a_prompt_is_130(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client("a"), None)
    for command in (("clients", "delete", "a"), ("token", "get", "a")):
        for typed, code in ((_CtrlC(), 130), (BytesIO(), 2)):
            run = gatehouse(*command, answer=typed)
            assert (run.code, run.stdout) == (code, "")
    assert gatehouse.clients.find("a") is not None


def test_an_interrupted_command_is_130(gatehouse: CommandLine) -> None:
    def interrupt(profile: str | None, region: str | None) -> boto3.Session:
        raise KeyboardInterrupt

    context = CommandContext(sessions=interrupt, environ={"GATEHOUSE_STACK": STACK})
    result = click.testing.CliRunner().invoke(app, ["clients", "list"], obj=context)
    assert result.exit_code == 130
