"""The DynamoDB table of short-lived state: revoked JWTs and used DPoP proofs.

The authorization server uses the same table.
"""

from collections import OrderedDict
from functools import partial
from hashlib import sha256
from math import inf
from os import urandom
from threading import Lock
from typing import Protocol

from .aws import Aws, AwsError
from .cache import BackOff, CacheEntry, Jitter, Lifetime, Loaded, LRUCache, RefreshingCache
from .clock import Clocks, Deadline
from .errors import InvalidTokenError, Reason, StateUnavailableError

REVOKED = "revoked"
PROOF = "proof"
CONDITION_FAILED = "ConditionalCheckFailedException"
SCHEMA_VERSION = 1
MAX_REMEMBERED = 100_000
_USE_ID_BYTES = 12
_FOREVER = Lifetime(inf, inf)


def state_key(kind: str, *parts: str) -> str:
    """Return the key of an item: its kind and a digest of its parts, each after its length."""
    digest = sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return f"{kind}#{digest.hexdigest()}"


def revocation_key(issuer: str, jti: str | None, token: str) -> str:
    """Return the key of a revoked JWT, by `jti` or by its signing input.

    The whole token is not used, because some signatures can be written in more than one way.
    """
    if jti is not None:
        return state_key(REVOKED, issuer, "jti", jti)
    signing_input = token.rpartition(".")[0]
    return state_key(REVOKED, issuer, "signing-input", sha256(signing_input.encode()).hexdigest())


class StateTable:
    """Entries in DynamoDB: the partition key is `entry`, the TTL attribute `expires_at`.

    DynamoDB deletes expired items days late, so each method compares the time. Times are seconds since the epoch.
    """

    def __init__(self, table: str, aws: Aws) -> None:
        self._table = table
        self._aws = aws

    def consume(self, key: str, until: int, now: float, deadline: Deadline) -> bool:
        """Store the use of a one-time value until `until`; return False if it was used before.

        One conditional write: exactly one of several concurrent calls returns True. `use_id` makes the write
        idempotent. A retry after a lost response would otherwise find the item of the first attempt.

        Raises:
            AwsError: the table cannot be written.
        """
        use_id = {"S": urandom(_USE_ID_BYTES).hex()}
        try:
            self._aws.call(
                "dynamodb",
                "PutItem",
                deadline,
                TableName=self._table,
                Item={
                    "entry": {"S": key},
                    "expires_at": {"N": str(until)},
                    "schema_version": {"N": str(SCHEMA_VERSION)},
                    "use_id": use_id,
                },
                ConditionExpression="attribute_not_exists(entry) OR expires_at <= :now OR use_id = :use_id",
                ExpressionAttributeValues={":now": {"N": str(int(now))}, ":use_id": use_id},
            )
        except AwsError as error:
            if error.code != CONDITION_FAILED:
                raise
            return False
        return True

    def is_revoked(self, key: str, now: float, deadline: Deadline) -> bool:
        """Return whether a JWT was revoked, by a consistent read.

        An entry without a valid time never expires.

        Raises:
            AwsError: the table cannot be read.
        """
        key_attributes = {"entry": {"S": key}}
        response = self._aws.call(
            "dynamodb", "GetItem", deadline, TableName=self._table, Key=key_attributes, ConsistentRead=True
        )
        item = response.get("Item")
        try:
            # `not >=` instead of `<`: an entry with NaN is revoked.
            return item is not None and not now >= float(item["expires_at"]["N"])
        except (KeyError, ValueError):
            return True


class DenyList:
    """Rejects revoked JWTs.

    A token is looked up when it is first seen. "Not revoked" is cached, so a revocation takes
    effect after at most `fresh_for`, or `stale_for` while the table is unavailable.
    """

    def __init__(self, table: StateTable, clocks: Clocks, *, lifetime: Lifetime, capacity: int, jitter: Jitter) -> None:
        self._table = table
        self._lifetime = lifetime
        store: LRUCache[str, CacheEntry[bool]] = LRUCache(capacity)
        self._cache: RefreshingCache[str, bool] = RefreshingCache(
            store,
            clocks,
            unavailable=StateUnavailableError,
            make_error=lambda _paused: StateUnavailableError(Reason.DENY_LIST_UNAVAILABLE),
            back_off=BackOff(clocks, jitter=jitter),
        )

    def check(self, token: str, issuer: str, jti: str | None, now: float, deadline: Deadline) -> None:
        """Return if a verified token was not revoked.

        Raises:
            InvalidTokenError: the token was revoked.
            StateUnavailableError: the deny list cannot be read.
        """
        key = revocation_key(issuer, jti, token)
        if self._cache.get(key, partial(self._load, key, now), deadline).value:
            raise InvalidTokenError(Reason.TOKEN_REVOKED)

    def _load(self, key: str, now: float, deadline: Deadline) -> Loaded[bool]:
        try:
            revoked = self._table.is_revoked(key, now, deadline)
        except AwsError as error:
            raise StateUnavailableError(Reason.DENY_LIST_UNAVAILABLE) from error
        return Loaded(revoked, _FOREVER if revoked else self._lifetime)


class ReplayStore(Protocol):
    """Stores used DPoP proofs: each is valid once (RFC 9449, 11.1)."""

    def consume(self, jkt: str, jti: str, until: int, now: float, deadline: Deadline) -> None:
        """Store the use of a proof until `until`, in seconds since the epoch.

        Exactly one of several concurrent calls returns.

        Raises:
            InvalidTokenError: the proof was used before.
            StateUnavailableError: the store cannot be written, or is full.
        """


class DynamoDbReplayStore:
    """Used proofs in the state table."""

    def __init__(self, table: StateTable) -> None:
        self._table = table

    def consume(self, jkt: str, jti: str, until: int, now: float, deadline: Deadline) -> None:
        """Store the use of a proof."""
        try:
            is_first = self._table.consume(state_key(PROOF, jkt, jti), until, now, deadline)
        except AwsError as error:
            raise StateUnavailableError(Reason.PROOF_STORE_UNAVAILABLE) from error
        if not is_first:
            raise InvalidTokenError(Reason.PROOF_USED)


class MemoryReplayStore:
    """Used proofs in this process, for a laptop where one process answers every request.

    A full store rejects further proofs: it never drops one that is still valid.
    """

    def __init__(self, capacity: int = MAX_REMEMBERED) -> None:
        self._capacity = capacity
        self._until: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._lock = Lock()

    def consume(self, jkt: str, jti: str, until: int, now: float, deadline: Deadline) -> None:
        """Store the use of a proof."""
        with self._lock:
            self._drop_expired(now)
            if self._until.get((jkt, jti), 0) > now:
                raise InvalidTokenError(Reason.PROOF_USED)
            if len(self._until) >= self._capacity:
                raise StateUnavailableError(Reason.PROOF_STORE_FULL)
            self._until[jkt, jti] = until

    def _drop_expired(self, now: float) -> None:
        """Drop expired entries from the oldest on, and all expired ones if the store is full.

        After the clock was set back, the oldest entry may expire much later than others.
        """
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        if len(self._until) >= self._capacity:
            for proof in [proof for proof, until in self._until.items() if until <= now]:
                del self._until[proof]
