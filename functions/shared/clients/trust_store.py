"""The trust table, and a cache of it: trust rules and federated clients by issuer.

The partition key is `issuer`, so one query returns all that is known of an issuer. The sort key `entry` is
`rule#` and the rule's name, or `client#` and a client_id.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from authorizer.aws import Aws
from authorizer.clock import Clocks

from ..lambda_function import Clock
from ..storage.aws_calls import call
from ..storage.errors import StorageCorruptError, StorageUnavailableError
from ..storage.storage_cache import RecordCache
from .assertion_rules import MAX_ISSUER_LENGTH
from .client_registry import FRESH_SECONDS, STALE_SECONDS, Allowance
from .trust_rule import CLIENT_PREFIX, RULE_PREFIX, FederatedClient, TrustRule, from_item

MAX_CACHED_ISSUERS = 256


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """The rules for an issuer's assertions and the clients that its tokens authenticate.

    `faults` describes records that cannot be read. They match nothing.
    """

    rules: tuple[TrustRule, ...] = ()
    clients: tuple[FederatedClient, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def rule_faults(self) -> list[str]:
        """The faults of rules."""
        return [fault for fault in self.faults if fault.startswith(RULE_PREFIX)]

    @property
    def client_faults(self) -> list[str]:
        """The faults of pointers to clients."""
        return [fault for fault in self.faults if fault.startswith(CLIENT_PREFIX)]

    @classmethod
    def of(cls, items: Iterable[Mapping[str, Any]]) -> "TrustedIssuer":
        """Parse the items of one issuer."""
        rules, clients, faults = [], [], []
        for item in items:
            try:
                entry = from_item(item)
            except StorageCorruptError as error:
                faults.append(f"{item.get('entry', {}).get('S')}: {error.reason}")
                continue
            if isinstance(entry, TrustRule):
                rules.append(entry)
            else:
                clients.append(entry)
        return cls(tuple(rules), tuple(clients), tuple(faults))


class DynamoDbTrust:
    """The trust table."""

    def __init__(self, aws: Aws, table: str) -> None:
        self._aws = aws
        self._table = table

    def find(self, issuer: str) -> TrustedIssuer | None:
        """Return the entries of an issuer, None if there are none.

        The read is consistent, because a stale result would be cached.
        """
        items: list[Mapping[str, Any]] = []
        start: dict[str, object] = {}
        while True:
            page = call(
                self._aws,
                "dynamodb",
                "Query",
                TableName=self._table,
                KeyConditionExpression="issuer = :issuer",
                ExpressionAttributeValues={":issuer": {"S": issuer}},
                ConsistentRead=True,
                **start,
            )
            items.extend(page["Items"])
            if "LastEvaluatedKey" not in page:
                return TrustedIssuer.of(items) if items else None
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


class CachedTrust:
    """Caches the entries of issuers as `CachedClients` caches clients, and unknown issuers for as long."""

    def __init__(self, trust: DynamoDbTrust, clock: Clock, monotonic: Clock = time.monotonic) -> None:
        self._issuers: RecordCache[TrustedIssuer] = RecordCache(
            trust.find,
            self._permit,
            Clocks(clock, monotonic),
            fresh_for=FRESH_SECONDS,
            stale_for=STALE_SECONDS,
            max_entries=MAX_CACHED_ISSUERS,
        )
        self._unknown_reloads = Allowance(clock)

    def peek(self, issuer: str) -> TrustedIssuer | None:
        """Return the cached entries of an issuer; nothing is loaded."""
        return self._issuers.peek(issuer)

    def find(self, issuer: str) -> TrustedIssuer | None:
        """Return the entries of an issuer or None, up to 30 seconds old, or 2 minutes during an outage.

        Raises:
            StorageError: they are not cached and cannot be loaded.
        """
        return self._issuers.find(issuer) if _is_readable(issuer) else None

    def find_again(self, issuer: str, since: float) -> TrustedIssuer | None:
        """Return the entries of an issuer, reloaded at most once a second unless they were loaded after `since`.

        A process reloads at most ten unknown issuers a second. Others stay unknown for 30 seconds.

        Raises:
            StorageUnavailableError: only older entries are cached, and they cannot be reloaded.
        """
        return self._issuers.find_again(issuer, since) if _is_readable(issuer) else None

    def _permit(self, is_unknown: bool) -> bool:
        with suppress(StorageUnavailableError):
            if is_unknown:
                self._unknown_reloads.spend()
            return True
        return False


def _is_readable(issuer: str) -> bool:
    return 0 < len(issuer.encode(errors="replace")) <= MAX_ISSUER_LENGTH
