"""The trust table: reads of its rules, and writes on condition that a rule is unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from authorizer.aws import Aws
from functions.shared.clients.trust_rule import RULE_PREFIX, TrustRule, from_item, to_item
from functions.shared.storage.errors import StorageCorruptError

from .client_store import is_still, scan, write_if_unchanged
from .context import CommandContext
from .errors import CommandError, ConflictError, ExitCode, NotFoundError


@dataclass(frozen=True, slots=True)
class SeenRule:
    """An item of the table, and its rule or the reason why it cannot be read."""

    item: Mapping[str, Any] = field(repr=False)
    readable: TrustRule | None
    fault: str = ""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> SeenRule:
        """Parse an item with the prefix of rules."""
        try:
            rule = from_item(item)
        except StorageCorruptError as error:
            return cls(item, None, error.reason or "")
        assert isinstance(rule, TrustRule)
        return cls(item, rule)

    @property
    def name(self) -> str:
        """The rule's name."""
        return str(self.item["entry"]["S"]).removeprefix(RULE_PREFIX)

    @property
    def issuer(self) -> str:
        """The issuer of its assertions."""
        return str(self.item["issuer"]["S"])


@dataclass(frozen=True, slots=True)
class RuleTable:
    """Trust rules in a DynamoDB table keyed by `issuer` and `entry`.

    A write is conditional on each attribute that was read, so a concurrent change is never lost.
    """

    aws: Aws
    table: str

    def list(self) -> list[SeenRule]:
        """Return every rule by name, including records that cannot be read."""
        items = (item for item in scan(self.aws, self.table) if item["entry"]["S"].startswith(RULE_PREFIX))
        return sorted(map(SeenRule.of, items), key=lambda seen: (seen.name, seen.issuer))

    def get(self, name: str) -> SeenRule:
        """Return the rule of this name; raises NotFoundError."""
        found = next((seen for seen in self.list() if seen.name == name), None)
        if found is None:
            raise NotFoundError(f"Rule {name} does not exist.", "List the rules: gatehouse rules list.")
        return found

    def put(self, rule: TrustRule, seen: SeenRule | None) -> None:
        """Replace the rule that was read; None creates one.

        Raises:
            ConflictError: another process has changed, deleted or created it.
        """
        item = to_item(rule)
        condition = is_still(seen.item) if seen else {"ConditionExpression": "attribute_not_exists(issuer)"}
        if not write_if_unchanged(self.aws, self.table, "PutItem", item, Item=item, **condition):
            raise _conflict(rule.name)

    def delete(self, seen: SeenRule) -> None:
        """Delete the rule that was read; a deleted rule is not an error.

        Raises:
            ConflictError: another process has changed it.
        """
        key = {name: seen.item[name] for name in ("issuer", "entry")}
        if not write_if_unchanged(self.aws, self.table, "DeleteItem", None, Key=key, **is_still(seen.item)):
            raise _conflict(seen.name)


def rules_of(context: CommandContext) -> RuleTable:
    """Return the trust table of the deployment."""
    table = context.deployment.resource("TrustTable")  # first: it may raise
    return RuleTable(context.aws, table)


def refuse_broken(rules: Iterable[SeenRule]) -> None:
    """Return if all records can be read; raises CommandError with each that cannot."""
    broken = [f"{seen.name}: {seen.fault}" for seen in rules if seen.fault]
    if broken:
        raise CommandError(
            f"The records of these rules cannot be read: {'; '.join(broken)}.",
            "If a newer version wrote them, use its command line. Otherwise remove them with 'gatehouse rules remove'.",
            ExitCode.FAILURE,
        )


def _conflict(name: str) -> ConflictError:
    return ConflictError(f"Another process changed rule {name} at the same time.")
