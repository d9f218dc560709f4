"""Remove a stack and the resources that outlive it: `python -m infra.remove --stack gatehouse-dev`.

CloudFormation retains clients and keys when a stack is deleted, which protects against mistakes.
This command deletes them too. Secrets and KMS keys can be restored for seven days.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from functions.rotate_keys.key_backends import STACK_TAG

from .cli.context import Aws, stack_resources

DESCRIPTION = "Gatehouse: "
"""The beginning of the description in template.yaml."""

TABLES = ("ClientsTable", "TrustTable")
SECRETS = ("KeyRingSecret", "SigningKeysSecret")
DATA_KEY = "DataKey"
RECOVERY_DAYS = 7
"""The minimum of KMS."""

_DELETED = "DELETE_COMPLETE"
_NEVER_CREATED = frozenset({"CREATE_FAILED", "ROLLBACK_FAILED", "ROLLBACK_COMPLETE", "DELETE_FAILED"})
"""States in which CloudFormation also deletes resources with RetainExceptOnCreate."""

_GONE = frozenset({"ResourceNotFoundException", "NotFoundException", "KMSInvalidStateException"})


@dataclass(frozen=True)
class Remains:
    """Resources that outlive a stack, by their names in AWS.

    After a failed first deployment some or all of them do not exist.
    """

    stack_id: str
    stack_name: str
    status: str
    tables: tuple[str, ...]
    secrets: tuple[str, ...]
    keys: tuple[str, ...]
    has_successor: bool = False
    """True if a newer stack has the same name, and with it the signing keys in KMS."""

    def describe(self) -> str:
        """Return a line for each resource that is deleted."""
        lines = [
            f"The stack {self.stack_name}: every function, API, table and log of it.",
            *(f"The table {name}. At once." for name in self.tables),
            *(f"The secret {name}. In {RECOVERY_DAYS} days." for name in self.secrets),
            *(f"The KMS key {key}. In {RECOVERY_DAYS} days." for key in self.keys),
        ]
        if self.has_successor:
            lines.append(f"Signing keys in KMS are left to the stack {self.stack_name} of today.")
        return "\n".join(lines)


_INTERRUPTED = """
Interrupted. CloudFormation continues the running operation. To delete the rest, run
  make remove STACK={stack}
"""


class NotRemovableError(Exception):
    """Raised for a stack that is not Gatehouse's, or that CloudFormation would not delete now."""


class Account:
    """The account and region that boto3 is configured for."""

    def __init__(self) -> None:
        aws = Aws(boto3.Session())
        self._cloudformation = aws.client("cloudformation")
        self._dynamodb = aws.client("dynamodb")
        self._secrets = aws.client("secretsmanager")
        self._kms = aws.client("kms")
        self._tags = aws.client("resourcegroupstaggingapi")

    def find(self, stack: str) -> Remains:
        """Look a stack up by its name, or by its id where it was deleted before.

        Raises:
            NotRemovableError: it is not one of Gatehouse, or CloudFormation would not delete it now.
        """
        (found,) = self._cloudformation.describe_stacks(StackName=stack)["Stacks"]
        if not found.get("Description", "").startswith(DESCRIPTION):
            raise NotRemovableError(f"{found['StackName']} is not a Gatehouse stack")
        status, name = found["StackStatus"], found["StackName"]
        if status != _DELETED:
            self._check_removable(found)
        names = stack_resources(self._cloudformation, found["StackId"])
        tables, secrets, data_keys = (
            tuple(names[logical_id] for logical_id in logical_ids if logical_id in names)
            for logical_ids in (TABLES, SECRETS, (DATA_KEY,))
        )
        succeeded = status == _DELETED and self._exists(name)
        keys = (*(() if succeeded else self._signing_keys(name)), *data_keys)
        return Remains(found["StackId"], name, status, tables, secrets, keys, succeeded)

    def _check_removable(self, stack: Mapping[str, Any]) -> None:
        status = stack["StackStatus"]
        if status.endswith("_IN_PROGRESS") and status != "DELETE_IN_PROGRESS":
            raise NotRemovableError(f"CloudFormation is at work on it ({status})")
        if stack.get("EnableTerminationProtection"):
            raise NotRemovableError(
                "it is protected from termination. Switch that off first: aws cloudformation "
                "update-termination-protection --no-enable-termination-protection "
                f"--stack-name {stack['StackName']}"
            )
        if importers := self._importers(stack):
            raise NotRemovableError(f"{', '.join(importers)} import what it exports")

    def _importers(self, stack: Mapping[str, Any]) -> list[str]:
        """Return the stacks that import an export of this one."""
        importers: set[str] = set()
        for output in stack.get("Outputs", ()):
            with suppress(ClientError):  # CloudFormation's response for an unused export
                if "ExportName" in output:
                    imports = self._cloudformation.list_imports(ExportName=output["ExportName"])
                    importers.update(imports["Imports"])
        return sorted(importers)

    def _exists(self, stack_name: str) -> bool:
        """Return whether an active stack has the name. Unknown errors count as yes."""
        try:
            self._cloudformation.describe_stacks(StackName=stack_name)
        except ClientError as error:
            return "does not exist" not in str(error)
        return True

    def _signing_keys(self, stack_name: str) -> Iterator[str]:
        """Yield the stack's signing keys in KMS."""
        pages = self._tags.get_paginator("get_resources").paginate(
            ResourceTypeFilters=["kms:key"], TagFilters=[{"Key": STACK_TAG, "Values": [stack_name]}]
        )
        for page in pages:
            for resource in page["ResourceTagMappingList"]:
                yield resource["ResourceARN"].rpartition("/")[2]

    def remove(self, remains: Remains) -> None:
        """Delete the stack, then the resources that outlive it. Can be repeated after a failure.

        If CloudFormation refuses, nothing changes and the table stays protected.
        """
        if remains.status in _NEVER_CREATED:
            self._unprotect(remains.tables)
        self._cloudformation.delete_stack(StackName=remains.stack_id)
        self._cloudformation.get_waiter("stack_delete_complete").wait(StackName=remains.stack_id)
        self._unprotect(remains.tables)
        for table in remains.tables:
            with _gone_already():
                self._dynamodb.delete_table(TableName=table)
        for secret in remains.secrets:
            with _gone_already():
                if "DeletedDate" not in self._secrets.describe_secret(SecretId=secret):
                    self._secrets.delete_secret(SecretId=secret, RecoveryWindowInDays=RECOVERY_DAYS)
        for key in remains.keys:
            with _gone_already():
                self._kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=RECOVERY_DAYS)

    def _unprotect(self, tables: Sequence[str]) -> None:
        for table in tables:
            with _gone_already():
                found = self._dynamodb.describe_table(TableName=table)["Table"]
                if found.get("DeletionProtectionEnabled"):
                    self._dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
                    self._dynamodb.get_waiter("table_exists").wait(TableName=table)


@contextmanager
def _gone_already() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise


def main(arguments: Sequence[str], ask: Callable[[str], str] = input) -> int:
    """Run from the command line; return 1 when nothing was removed, or not everything."""
    parser = argparse.ArgumentParser(prog="infra.remove")
    parser.add_argument("--stack", required=True, help="its name; its id if it is deleted already")
    given = parser.parse_args(arguments)
    try:
        account = Account()
        remains = account.find(given.stack)
        sys.stdout.write(f"This goes:\n{remains.describe()}\n")
        try:
            confirmation = ask(f"Type {remains.stack_name} to remove it all: ")
        except (EOFError, KeyboardInterrupt):
            confirmation = ""
            sys.stdout.write("\n")
        if confirmation != remains.stack_name:
            sys.stdout.write("Nothing was removed.\n")
            return 1
        try:
            account.remove(remains)
        except KeyboardInterrupt:
            sys.stderr.write(_INTERRUPTED.format(stack=remains.stack_id))
            return 1
    except (BotoCoreError, ClientError, NotRemovableError) as error:
        sys.stderr.write(f"The stack {given.stack} could not be removed: {error}\n")
        return 1
    sys.stdout.write("Removed. SAM's bucket of artifacts stays: all your SAM stacks share it.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
