"""The command line as a test runs it: in this process, on a deployment in moto's account."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import boto3
from botocore import xform_name
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError
from click.testing import CliRunner

from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import KeyRing
from functions.shared.storage.boto3_client import Boto3Clients
from infra.cli.app import app
from infra.cli.context import CommandContext
from infra.cli.record_store import ClientTable
from tests.support.clock import ManualClock
from tests.support.server import NOW, ring

STACK = "gatehouse-test"
ISSUER = "https://auth.example/ms-auth-server"
GUARDED_API = "https://api.example/ms-system"
_TABLES = {
    "ClientsTable": ("client_id",),
    "TrustTable": ("issuer", "entry"),
    "TokensTable": ("token_digest",),
    "StateTable": ("entry",),
}
_SECRETS = ("KeyRingSecret", "SigningKeysSecret", "DpopNonceSecret")


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a command line run."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The JSON output."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class CommandLine:
    """`gatehouse` with a stopped clock."""

    clock: ManualClock

    def __call__(self, *arguments: str, answer: str | BytesIO = "", environ: dict[str, str] | None = None) -> Result:
        """Run a command on the deployment; `answer` is what is typed or piped in."""
        named = {"GATEHOUSE_STACK": STACK} if environ is None else environ
        context = CommandContext(self.clock, named, account_session)
        outcome = CliRunner().invoke(app, arguments, input=answer, obj=context, prog_name="gatehouse")
        if outcome.exception and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        return Result(outcome.exit_code, outcome.stdout, outcome.stderr)

    @property
    def clients(self) -> ClientTable:
        """The deployment's clients."""
        return ClientTable(AWS, physical_name("ClientsTable"), physical_name("TrustTable"))


class DelayedInput(BytesIO):
    """Input that runs an action before it is read, as if the operator waited."""

    def __init__(self, answer: str, act: Callable[[], object]) -> None:
        super().__init__(answer.encode())
        self._act = act

    def read1(self, size: int | None = -1) -> bytes:
        self._act()
        self._act = lambda: None
        return super().read1(size)


@cache
def account_session(profile: str | None = None, region: str | None = None) -> boto3.Session:
    """One session and its clients for all runs, because creating them takes longer than most tests."""
    session = boto3.Session(profile_name=profile, region_name=region)
    session.client = cache(session.client)  # type: ignore[method-assign]
    session.events.register_first("before-send", _lose)
    recorded: Any = _recorded
    session.events.register("before-call", recorded)
    settings: Any = _account_settings
    session.events.register_first("before-send.lambda.GetAccountSettings", settings)
    return session


CONCURRENCY = {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}
"""The account's limits, which moto does not know."""


def _account_settings(request: AWSPreparedRequest, **_: object) -> AWSResponse:
    body = json.dumps({"AccountLimit": CONCURRENCY}).encode()
    raw: Any = type("Raw", (), {"stream": lambda *_, **__: iter([body])})()
    return AWSResponse(request.url, 200, {}, raw)  # type: ignore[arg-type]


RECORDED: dict[str, dict[str, Any]] = {}
"""Responses to operations that moto lacks, by service and operation."""


def _recorded(event_name: str, **_: object) -> tuple[AWSResponse, dict[str, Any]] | None:
    response = RECORDED.get(event_name.partition(".")[2])
    return None if response is None else (AWSResponse("", 200, {}, None), response)  # type: ignore[arg-type]


LOST: list[str] = []
"""Operations whose next answer is lost on the way: AWS has done it, and boto3 asks again."""


def _lose(request: AWSPreparedRequest, event_name: str, **_: object) -> None:
    service, operation = event_name.split(".")[1:]
    if operation in LOST:
        LOST.remove(operation)
        body: Any = request.body
        do = getattr(aws_client(service.replace("-", "")), xform_name(operation))
        do(**json.loads(body))
        raise ReadTimeoutError(endpoint_url=request.url)


@cache
def aws_client(service: str) -> Any:
    """A client of the account."""
    return account_session().client(service)  # type: ignore[call-overload]


AWS = Boto3Clients(aws_client)
"""The account, for the stores of the functions."""


def deploy(
    name: str = STACK,
    kept: KeyRing | None = None,
    *,
    issuer: str = ISSUER,
    guarded_api: str | None = GUARDED_API,
    given: Mapping[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> None:
    """Create a stack with the tables and secrets of template.yaml, and its first key.

    `given` are values of further parameters, `more` is further resources.
    """
    resources: dict[str, object] = {
        logical_id: {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in key],
                "KeySchema": [
                    {"AttributeName": name, "KeyType": kind} for name, kind in zip(key, ("HASH", "RANGE"), strict=False)
                ],
            },
        }
        for logical_id, key in _TABLES.items()
    }
    secrets = aws_client("secretsmanager")
    for logical_id in _SECRETS:
        # moto's CloudFormation creates no secrets. A resource with the secret's name replaces it.
        secrets.create_secret(Name=f"{name}-{logical_id}")
        resources[logical_id] = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": f"{name}-{logical_id}"}}
    outputs = {"Issuer": {"Value": issuer}}
    if guarded_api is not None:  # None: a stack without the sample API
        outputs["GuardedApiUrl"] = {"Value": guarded_api}
    values = {"KeySigningDays": "30", **(given or {})}
    parameters = {each: {"Type": "String", "Default": value} for each, value in values.items()}
    resources.update(more or {})
    template = {"Resources": resources, "Outputs": outputs, "Parameters": parameters}
    # Tabs are not YAML, so moto reads the template as JSON, which is ten times as fast.
    body = json.dumps(template, indent="\t")
    aws_client("cloudformation").create_stack(StackName=name, TemplateBody=body)
    secrets.put_secret_value(
        SecretId=physical_name("KeyRingSecret", name), SecretString=key_ring.to_json(kept or ring(now=NOW - 1000))
    )


def physical_name(logical_id: str, stack: str = STACK) -> str:
    """Return what a resource of a stack is called."""
    detail = aws_client("cloudformation").describe_stack_resource(StackName=stack, LogicalResourceId=logical_id)[
        "StackResourceDetail"
    ]
    return str(detail["PhysicalResourceId"])
