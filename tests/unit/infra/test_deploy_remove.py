"""Removing a stack, with what CloudFormation leaves of it."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.cloudformation.models import cloudformation_backends
from moto.core.models import DEFAULT_ACCOUNT_ID as ACCOUNT_ID
from mypy_boto3_kms.type_defs import TagTypeDef

from functions.rotate_keys.key_backends import STACK_TAG
from infra import remove
from infra.cloudformation import load
from local.emulated_aws import TEMPLATE
from tests.support.aws import CREDENTIALS

STACK = "gatehouse-dev"
DOCUMENT = load(TEMPLATE)
DESCRIPTION = DOCUMENT["Description"]

pytestmark = pytest.mark.usefixtures("account")


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account with the template's own table and key, secrets, and signing keys in KMS."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    document = deepcopy(DOCUMENT)
    resources = {name: document["Resources"][name] for name in (*remove.TABLES, remove.DATA_KEY)}
    resources[remove.DATA_KEY]["Properties"]["KeyPolicy"] = "{}"  # moto requires text
    # moto's CloudFormation makes no secrets: parameters have their names.
    parameter = {"Type": "String", "Value": "-"}
    resources |= {
        name: {"Type": "AWS::SSM::Parameter", "Properties": parameter | {"Name": name}} for name in remove.SECRETS
    }
    for resource in resources.values():
        resource["DeletionPolicy"] = "Retain"  # moto knows the older of the two policies
    members = {
        "Conditions": {"CreatesDataKey": document["Conditions"]["CreatesDataKey"]},
        "Resources": resources,
        "Parameters": {name: document["Parameters"][name] for name in ("DeletionProtection", "DataKeyArn")},
    }
    with mock_aws():
        _create(STACK, members)
        for name in remove.SECRETS:
            boto3.client("secretsmanager").create_secret(Name=name, SecretString="{}")
        for stack in (STACK, "another"):
            tags: list[TagTypeDef] = [{"TagKey": STACK_TAG, "TagValue": stack}]
            boto3.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Tags=tags)
        yield


def _key_states() -> list[str]:
    kms = boto3.client("kms")
    keys = [key["KeyId"] for key in kms.list_keys()["Keys"]]
    return sorted(kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] for key in keys)


def _table_protection() -> bool:
    dynamodb = boto3.client("dynamodb")
    tables = [dynamodb.describe_table(TableName=name)["Table"] for name in dynamodb.list_tables()["TableNames"]]
    (protection,) = {bool(each["DeletionProtectionEnabled"]) for each in tables}
    return protection


def _stack_status() -> str:
    (stack,) = boto3.client("cloudformation").list_stacks()["StackSummaries"]
    return str(stack["StackStatus"])


def _create(name: str, members: Mapping[str, object] | None = None, **options: Any) -> None:
    """Create a small stack, with the description of the template unless `members` have another."""
    body = {"Description": DESCRIPTION, "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}, **(members or {})}
    boto3.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(body), **options)


def _set_status(status: str) -> None:
    """Have the stack in a state that moto's deployments, which always succeed, do not get to."""
    region = cloudformation_backends[ACCOUNT_ID][CREDENTIALS["AWS_DEFAULT_REGION"]]
    (stack,) = region.stacks.values()
    stack.status = status


def test_remove_deletes_only_the_stack(capsys: pytest.CaptureFixture[str]) -> None:
    assert remove.main(["--stack", STACK], ask=lambda _: STACK) == 0
    assert capsys.readouterr().out.count("In 7 days.") == 4
    assert _stack_status() == "DELETE_COMPLETE"
    assert boto3.client("dynamodb").list_tables()["TableNames"] == []
    assert boto3.client("secretsmanager").list_secrets()["SecretList"] == []
    assert _key_states() == ["Enabled", "PendingDeletion", "PendingDeletion"]


def test_remove_needs_the_stacks_name() -> None:
    assert remove.main(["--stack", STACK], ask=lambda _: "y") == 1
    assert _stack_status() == "CREATE_COMPLETE"
    assert len(boto3.client("secretsmanager").list_secrets()["SecretList"]) == 2
    assert _key_states() == ["Enabled"] * 3
    assert _table_protection()


def test_remove_resumes_after_a_failure() -> None:
    account = remove.Account()
    remains = account.find(STACK)
    table, _ = remains.tables
    boto3.client("dynamodb").update_table(TableName=table, DeletionProtectionEnabled=False)
    boto3.client("dynamodb").delete_table(TableName=table)
    boto3.client("kms").schedule_key_deletion(KeyId=remains.keys[0])
    for _ in range(2):
        account.remove(remains)
    assert _key_states() == ["Enabled", "PendingDeletion", "PendingDeletion"]


def test_remove_deletes_a_failed_first_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    _create("new")
    assert remove.main(["--stack", "new"], ask=lambda _: "new") == 0
    assert "The table" not in capsys.readouterr().out
    assert _key_states() == ["Enabled"] * 3


@pytest.mark.parametrize(
    ("description", "is_protected", "message"),
    [
        (None, False, "The stack new could not be removed: "),
        ("Another", False, "new is not a Gatehouse stack"),
        (DESCRIPTION, True, "it is protected from termination"),
    ],
)
def test_stack_that_cannot_be_removed_is_one_sentence(
    description: str | None, is_protected: bool, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if description:
        _create("new", {"Description": description}, EnableTerminationProtection=is_protected)
    assert remove.main(["--stack", "new"], ask=lambda _: pytest.fail("asked")) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("silence", [EOFError, KeyboardInterrupt])
def test_missing_confirmation_is_a_no(silence: type[BaseException]) -> None:
    def ask(_question: str) -> str:
        raise silence

    assert remove.main(["--stack", STACK], ask=ask) == 1
    assert _stack_status() == "CREATE_COMPLETE"


def test_refused_removal_stays_protected(monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudFormation refuses to delete it, so nothing may have been done to it before."""

    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": "ValidationError", "Message": "protected"}}, "delete")

    account = remove.Account()
    monkeypatch.setattr(account._cloudformation, "delete_stack", refuse)
    with pytest.raises(ClientError):
        account.remove(account.find(STACK))
    assert _table_protection()
    assert _key_states() == ["Enabled"] * 3


@pytest.mark.parametrize("status", ["CREATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"])
def test_busy_stack_is_not_removed(status: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Resources created later would be on no list and stay."""
    _set_status(status)
    assert remove.main(["--stack", STACK], ask=lambda _: pytest.fail("asked")) == 1
    assert f"CloudFormation is at work on it ({status})" in capsys.readouterr().err


def test_imported_stack_is_not_removed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """CloudFormation would cancel its deletion without an error, and stay as it was."""
    exports = {name: {"Value": "-", "Export": {"Name": f"new-{name}"}} for name in ("Issuer", "JwksUri")}
    _create("new", {"Outputs": exports})

    def imports(**given: str) -> dict[str, list[str]]:
        if given["ExportName"] == "new-Issuer":
            return {"Imports": ["customers", "orders"]}
        message = f"Export '{given['ExportName']}' is not imported by any stack."
        raise ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "ListImports")

    account = remove.Account()
    monkeypatch.setattr(account._cloudformation, "list_imports", imports)  # moto has none
    monkeypatch.setattr(remove, "Account", lambda: account)
    assert remove.main(["--stack", "new"], ask=lambda _: pytest.fail("asked")) == 1
    assert "customers, orders import what it exports" in capsys.readouterr().err


@pytest.mark.parametrize("status", ["ROLLBACK_FAILED", "ROLLBACK_COMPLETE", "DELETE_FAILED"])
def test_failed_first_deployment_is_unprotected(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It deletes the table itself then, and cannot while that is protected."""
    _set_status(status)
    seen: list[bool] = []
    account = remove.Account()
    delete = account._cloudformation.delete_stack

    def watched(**given: str) -> None:
        seen.append(_table_protection())
        delete(**given)

    monkeypatch.setattr(account._cloudformation, "delete_stack", watched)
    account.remove(account.find(STACK))
    assert seen == [False]
    assert boto3.client("dynamodb").list_tables()["TableNames"] == []


def test_deleted_stack_is_removed_by_id() -> None:
    cloudformation = boto3.client("cloudformation")
    (old,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    cloudformation.delete_stack(StackName=STACK)
    assert remove.main(["--stack", old["StackId"]], ask=lambda _: STACK) == 0
    assert boto3.client("dynamodb").list_tables()["TableNames"] == []
    assert _key_states() == ["Enabled", "PendingDeletion", "PendingDeletion"]


def test_remove_spares_the_successors_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """Signing keys in KMS are known by the stack's name, which another one has by now."""
    cloudformation = boto3.client("cloudformation")
    (old,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    cloudformation.delete_stack(StackName=STACK)
    _create(STACK)
    assert remove.main(["--stack", old["StackId"]], ask=lambda _: STACK) == 0
    assert "are left to the stack" in capsys.readouterr().out
    assert _key_states() == ["Enabled", "Enabled", "PendingDeletion"]
    assert boto3.client("dynamodb").list_tables()["TableNames"] == []
    (new,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    assert new["StackStatus"] == "CREATE_COMPLETE"


def test_interrupted_removal_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(remove.Account, "remove", interrupt)
    assert remove.main(["--stack", STACK], ask=lambda _: STACK) == 1
    assert "To delete the rest, run" in capsys.readouterr().err
