"""The trust table, and a cache of it: trust rules and federated clients by issuer.

The partition key is `issuer`, so one query returns all that is known of an issuer. The sort key `entry` is
`rule#` and the rule's name, or `client#` and a client_id.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from authorizer.aws import Aws
from authorizer.cache import LRUCache
from authorizer.clock import Clocks, Instant

from ..lambda_function import Clock
from ..storage.aws_calls import call
from ..storage.errors import StorageCorruptError, StorageUnavailableError
from ..storage.storage_cache import StorageCache
from .client_registry import FRESH_SECONDS, STALE_SECONDS, Allowance
from .trust_rule import FederatedClient, TrustRule, from_item

MAX_CACHED_ISSUERS = 256
MAX_ISSUER_LENGTH = 512
"""Longer ones are unknown. DynamoDB's limit for a partition key is 2,048 bytes."""


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """The rules for an issuer's assertions and the clients that its tokens authenticate.

    `faults` describes records that cannot be read. They match nothing.
    """

    rules: tuple[TrustRule, ...] = ()
    clients: tuple[FederatedClient, ...] = ()
    faults: tuple[str, ...] = ()

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
    """Caches the entries of issuers as `CachedClients` caches clients, and unknown issuers for as long.

    Unknown issuers have a cache of their own, so that a flood of them does not evict others.
    """

    def __init__(self, trust: DynamoDbTrust, clock: Clock, monotonic: Clock = time.monotonic) -> None:
        self._trust = trust
        self._clocks = Clocks(clock, monotonic)
        self._issuers: StorageCache[str, TrustedIssuer] = StorageCache(
            self._load,
            clock=clock,
            monotonic=monotonic,
            fresh_for=FRESH_SECONDS,
            stale_for=STALE_SECONDS,
            max_entries=MAX_CACHED_ISSUERS,
        )
        self._unknown: LRUCache[str, Instant] = LRUCache(MAX_CACHED_ISSUERS)
        self._unknown_reloads = Allowance(clock)

    def peek(self, issuer: str) -> TrustedIssuer | None:
        """Return the cached entries of an issuer; nothing is loaded."""
        return self._issuers.peek(issuer)

    def find(self, issuer: str) -> TrustedIssuer | None:
        """Return the entries of an issuer or None, up to 30 seconds old, or 2 minutes during an outage.

        Raises:
            StorageError: they are not cached and cannot be loaded.
        """
        if not _is_readable(issuer) or self._is_unknown(issuer):
            return None
        try:
            return self._issuers.get(issuer)
        except _UnknownIssuerError:
            return None

    def find_again(self, issuer: str, since: float) -> TrustedIssuer | None:
        """Return the entries of an issuer, reloaded at most once a second unless they were loaded after `since`.

        A process reloads at most ten unknown issuers a second. Others stay unknown for 30 seconds.

        Raises:
            StorageUnavailableError: only older entries are cached, and they cannot be reloaded.
        """
        unknown_at = self._unknown.get(issuer)
        is_current = unknown_at is not None and since <= unknown_at.wall <= self._clocks.wall()
        if is_current or not _is_readable(issuer):
            return None
        try:
            return self._issuers.reload(issuer, since, partial(self._permit, issuer))
        except _UnknownIssuerError:
            return None

    def _permit(self, issuer: str) -> None:
        """Count the reload of an unknown issuer, and remove it from the cache of unknown ones."""
        if self._unknown.get(issuer) is None:
            return
        try:
            self._unknown_reloads.spend()
        except StorageUnavailableError:
            raise _UnknownIssuerError from None
        self._unknown.remove(issuer)

    def _load(self, issuer: str) -> TrustedIssuer:
        started = self._clocks.now()
        found = self._trust.find(issuer)
        if found is None:
            self._unknown.put(issuer, started)
            raise _UnknownIssuerError
        return found

    def _is_unknown(self, issuer: str) -> bool:
        since = self._unknown.get(issuer)
        return since is not None and 0 <= self._clocks.since(since) < FRESH_SECONDS


def _is_readable(issuer: str) -> bool:
    return 0 < len(issuer.encode(errors="replace")) <= MAX_ISSUER_LENGTH


class _UnknownIssuerError(Exception):
    """Raised so that the cache has known issuers only."""
