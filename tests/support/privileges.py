"""The roles of template.yaml, held against the AWS calls that a test run recorded."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from local.addresses import LAPTOP
from local.emulated_aws import TEMPLATE, names
from local.gateway.template import Template
from tests.recorder.aws_call_recorder import UNKNOWN
from tests.support import aws
from tests.support.iam import Request, Statement, allows

Record = dict[str, Any]

EVERYTHING = {
    "KeyEdition": "kms",
    "CheckRevokedTokens": "true",
    "ProofOfPossession": "dpop,mtls",
    "AuthorizerCacheSeconds": "0",
}
"""Parameters with which the template grants all that it ever grants."""

STAND_INS = {
    aws.CLIENTS_TABLE: "ClientsTable",
    aws.TRUST_TABLE: "TrustTable",
    aws.TOKENS_TABLE: "TokensTable",
    aws.STATE_TABLE: "StateTable",
    aws.KEY_RING_SECRET: "KeyRingSecret",
    aws.SIGNING_KEYS_SECRET: "SigningKeysSecret",
    aws.DPOP_NONCE_SECRET: "DpopNonceSecret",
    "introspection": "IntrospectionCredentials",
    "binary": "IntrospectionCredentials",
}
"""Test names of resources, and the stack's resources that they represent."""

OF_THE_RUNTIME = frozenset(
    {*("logs:CreateLogStream", "logs:PutLogEvents"), *("xray:PutTraceSegments", "xray:PutTelemetryRecords")}
)
"""Calls of Lambda itself with a function's role. No test can record them."""

NOTHING = "missing"
"""Test names of missing resources, which need no grant."""

OTHER_STACK = "ours"
"""The stack's name in tests that have two."""

_MADE_UP = re.compile(r"-([A-Z0-9]{12}|[A-Za-z]{6})$")
"""The end of a name that CloudFormation gave, or of a secret's ARN."""

TABLE_KEY_ACTIONS = (
    *("kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
    *("kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"),
)
"""AWS does not document which of these DynamoDB needs, so a role has to allow all of them."""

_DATA_KEY_ACTIONS = {
    "secretsmanager:GetSecretValue": ("kms:Decrypt",),
    "secretsmanager:PutSecretValue": ("kms:Decrypt", "kms:GenerateDataKey"),
    "dynamodb:GetItem": TABLE_KEY_ACTIONS,
    "dynamodb:PutItem": TABLE_KEY_ACTIONS,
    "dynamodb:UpdateItem": TABLE_KEY_ACTIONS,
    "dynamodb:DeleteItem": TABLE_KEY_ACTIONS,
}
"""KMS calls of a service with the caller's permissions."""


def read(folder: Path) -> list[Record]:
    """Return what every process of a run wrote down."""
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


class Roles:
    """The permissions of each function, and the names of the stack's resources."""

    def __init__(self, template: Template) -> None:
        self._names = names()
        self._data_keys = dict(_data_keys(template, self._names))
        self._logical_ids = {
            **STAND_INS,
            **{value: key for key, value in self._names.items() if not key.endswith(".Arn")},
        }
        self.functions: dict[str, list[str]] = {}
        """Logical ids by the package that the functions' code is in: two are authorizers."""
        self.statements: dict[str, list[Statement]] = {}
        for logical_id, properties in template.function_properties():
            package = properties["Handler"].removesuffix(".handler.handle")
            self.functions.setdefault(package, []).append(logical_id)
            self.statements[logical_id] = [
                Statement.read(each) for each in role_statements(template, logical_id, self._names)
            ]

    @classmethod
    def of_the_stack(cls) -> Self:
        """Return the roles of template.yaml with everything switched on."""
        return cls(Template.read(TEMPLATE, EVERYTHING))

    def allows(self, function: str, request: Request) -> bool:
        """Return True if a function's role allows a request."""
        return allows(self.statements[function], request)

    def arn(self, name: str) -> str | None:
        """Return the ARN of what a call named, with or without the end that AWS makes up."""
        bare = _MADE_UP.sub("", name.rpartition(":secret:")[2])
        logical_id = self._logical_ids.get(bare)
        return self._names[f"{logical_id}.Arn"] if logical_id else None

    def data_key(self, arn: str) -> str | None:
        """Return the ARN of the key that a table or a secret is encrypted with."""
        return self._data_keys.get(arn)


def _data_keys(template: Template, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for kind in ("AWS::DynamoDB::Table", "AWS::SecretsManager::Secret"):
        for resource in template.of_type(kind):
            properties = template.properties(resource.logical_id, known)
            encryption = properties.get("SSESpecification", properties)
            key = encryption.get("KMSMasterKeyId", encryption.get("KmsKeyId"))
            if key:
                yield known[f"{resource.logical_id}.Arn"], key


def role_statements(template: Template, function: str, known: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the statements of a function's role; `known` as of `Template.properties`."""
    role = template.properties(f"{function}Role", {**known, **dict(_log_arns(template))})
    assert "ManagedPolicyArns" not in role, "what they grant is not written in the template"
    return [each for policy in role["Policies"] for each in policy["PolicyDocument"]["Statement"]]


def _log_arns(template: Template) -> Iterator[tuple[str, str]]:
    for resource in template.of_type("AWS::Logs::LogGroup"):
        name = template.properties(resource.logical_id, {}).get("LogGroupName")
        yield f"{resource.logical_id}.Arn", _own_arn("logs", f"log-group:{name}:*")


class JudgementError(Exception):
    """Raised for a call that cannot be evaluated, with the reason."""


@dataclass(frozen=True)
class Call:
    """A recorded call: whose it may have been, and the requests that IAM makes of it."""

    functions: tuple[str, ...]
    requests: tuple[Request, ...]


def refused(records: Sequence[Record], roles: Roles) -> list[str]:
    """Return a sentence about each call that its function's role does not allow."""
    keys = Keys.made_in(records)
    found: dict[str, str] = {}
    for record in _calls(records):
        try:
            call = _call(record, roles, keys)
        except JudgementError as error:
            found.setdefault(str(error), record["place"])
            continue
        for request in call.requests:
            if not any(roles.allows(function, request) for function in call.functions):
                callers = " or ".join(sorted(call.functions))
                found.setdefault(f"{callers} may not {request}", record["place"])
    return [f"{sentence}, as it did in {place}" for sentence, place in found.items()]


def unused(records: Sequence[Record], roles: Roles) -> list[str]:
    """Return a sentence about each grant that no recorded call needed."""
    keys = Keys.made_in(records)
    asked: dict[str, list[Request]] = {}
    for record in _calls(records):
        with suppress(JudgementError):
            call = _call(record, roles, keys)
            for function in call.functions:
                asked.setdefault(function, []).extend(call.requests)
    return [
        f"{function} may {grant}, and no test has it do so"
        for function, statements in roles.statements.items()
        for statement in statements
        if statement.effect == "Allow" and not OF_THE_RUNTIME.issuperset(statement.actions)
        for grant in statement.grants()
        if not any(grant.matches(request) for request in asked.get(function, ()))
    ]


def _calls(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        if "caller" in record and NOTHING not in record["parameters"].values():
            yield record


class Keys:
    """The KMS keys that a run made: what each is for, the tags it was made with, its aliases."""

    def __init__(self, made: Mapping[str, Record], of_alias: Mapping[str, str]) -> None:
        self._made = made
        self._of_alias = of_alias

    @classmethod
    def made_in(cls, records: Sequence[Record]) -> Self:
        """Read them from the records."""
        made = {record["key"]: record for record in records if isinstance(record.get("key"), str)}
        parameters = [record["parameters"] for record in records if "caller" in record]
        aliases = {each["AliasName"]: each["TargetKeyId"] for each in parameters if "TargetKeyId" in each}
        return cls(made, aliases)

    def request(self, action: str, key: str) -> Request:
        """Return the request to do something to a key."""
        key_id = key.rpartition("/")[2]
        made = self._made.get(key_id)
        context = _tag_context("Resource", made["tags"]) if made else {}
        usage = {"kms:KeyUsage": (made["usage"],)} if made else {}
        return Request(action, _own_arn("kms", f"key/{key_id}"), context | usage)

    def of_alias(self, alias: str) -> str:
        """Return the key of an alias."""
        if alias not in self._of_alias:
            raise JudgementError(f"the alias {alias} was not created")
        return self._of_alias[alias]


def _call(record: Record, roles: Roles, keys: Keys) -> Call:
    if record["caller"] == UNKNOWN:
        raise JudgementError(f"{record['operation']} was called by an unknown function")
    functions = roles.functions.get(record["caller"])
    if functions is None:
        raise JudgementError(f"{record['caller']} is not a function of the template")
    if record["function"] in functions:  # in a process of its own, as Lambda starts it
        functions = [record["function"]]
    return Call(tuple(functions), tuple(_requests(record, roles, keys)))


def _requests(record: Record, roles: Roles, keys: Keys) -> Iterator[Request]:
    action = f"{record['service']}:{record['operation']}"
    if record["service"] == "kms":
        yield from _kms_requests(action, record["parameters"], record["tags"], keys)
        return
    if record["service"] == "ssm":
        yield Request(action, _own_arn("ssm", f"parameter{record['parameters']['Name']}"))
        return
    if record["service"] not in ("dynamodb", "secretsmanager"):
        raise JudgementError(f"the test does not know the permission for {action}")
    name = record["parameters"].get("TableName") or record["parameters"].get("SecretId", "")
    arn = roles.arn(name)
    if arn is None:
        raise JudgementError(f"{action} on {name!r}, which is none of the stack's resources")
    leading = record["leading_key"]
    yield Request(action, arn, {"dynamodb:LeadingKeys": (leading,)} if leading else {})
    data_key = roles.data_key(arn)
    if data_key is not None:
        via = {"kms:ViaService": (f"{record['service']}.{LAPTOP.region}.{LAPTOP.url_suffix}",)}
        for needed in _DATA_KEY_ACTIONS.get(action, ()):
            yield Request(needed, data_key, via)


def _kms_requests(action: str, parameters: Mapping[str, str], tags: Mapping[str, str], keys: Keys) -> Iterator[Request]:
    """The requests of a call to KMS: what is done to an alias needs the right to its key as well.

    https://docs.aws.amazon.com/kms/latest/developerguide/alias-access.html
    """
    alias = parameters.get("AliasName")
    key = parameters.get("KeyId") or parameters.get("TargetKeyId")
    if alias is not None:
        yield Request(action, _own_arn("kms", _in_this_stack(alias)))
        key = key or keys.of_alias(alias)
    if key is not None:
        yield keys.request(action, key)
    else:
        yield Request(action, "*", _tag_context("Request", tags))
        if tags:  # a key that is made with tags is tagged
            new = _own_arn("kms", "key/new")
            yield Request("kms:TagResource", new, _tag_context("Request", tags))


def _own_arn(service: str, resource: str) -> str:
    return f"arn:{LAPTOP.partition}:{service}:{LAPTOP.region}:{LAPTOP.account_id}:{resource}"


def _tag_context(kind: str, tags: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {f"aws:{kind}Tag/{name}": (_in_this_stack(value),) for name, value in tags.items()}


def _in_this_stack(text: str) -> str:
    """Take a test's own stack for the template's."""
    if text == OTHER_STACK or text.startswith(f"alias/{OTHER_STACK}-signing/"):
        return text.replace(OTHER_STACK, LAPTOP.stack_name, 1)
    return text
