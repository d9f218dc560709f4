"""DPoP proofs that were used, for a proof counts once (RFC 9449, 11.1)."""

from collections import OrderedDict
from threading import Lock
from typing import Final, Protocol

from authorizer import aws
from authorizer.errors import StateUnavailable, TokenRefused
from authorizer.reasons import Reason
from authorizer.state_entry import entry

KIND: Final = "proof"
SCHEMA_VERSION: Final = 1
MAX_REMEMBERED: Final = 100_000


class UsedProofs(Protocol):
    """Remembers which proofs were used."""

    def use(self, jkt: str, jti: str, until: int, now: float, seconds: float) -> None:
        """Use the proof of this key and this `jti`; it is remembered until its time is over.

        Of any number of concurrent calls exactly one returns. `until` and `now` are seconds since
        the epoch; `seconds` is how long this may take.

        Raises:
            TokenRefused: it was used before.
            StateUnavailable: nobody can tell.
        """


class DynamoDbUsedProofs:
    """Used proofs in a DynamoDB table keyed by `entry`, TTL attribute `expires_at`."""

    def __init__(self, table: str, dynamodb: aws.DynamoDb) -> None:
        self._table = table
        self._dynamodb = dynamodb

    def use(self, jkt: str, jti: str, until: int, now: float, seconds: float) -> None:
        """Use a proof. One conditional write, so that no race can pass twice."""
        try:
            client = self._dynamodb.client(seconds)
            try:
                client.put_item(
                    TableName=self._table,
                    Item={
                        "entry": {"S": entry(KIND, jkt, jti)},
                        "expires_at": {"N": str(until)},
                        "schema_version": {"N": str(SCHEMA_VERSION)},
                    },
                    # DynamoDB deletes expired items days late.
                    ConditionExpression="attribute_not_exists(entry) OR expires_at <= :now",
                    ExpressionAttributeValues={":now": {"N": str(int(now))}},
                )
            except client.exceptions.ConditionalCheckFailedException:
                raise TokenRefused(Reason.PROOF_USED) from None
        except aws.errors() as error:
            raise StateUnavailable(Reason.PROOF_STORE_UNAVAILABLE) from error


class MemoryUsedProofs:
    """Used proofs in this process: for a laptop, where one process answers every request.

    When it is full it forgets nothing that still counts, and takes no more.
    """

    def __init__(self, capacity: int = MAX_REMEMBERED) -> None:
        self._capacity = capacity
        self._until: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._lock = Lock()

    def use(self, jkt: str, jti: str, until: int, now: float, seconds: float) -> None:  # noqa: ARG002 - UsedProofs
        """Use a proof."""
        with self._lock:
            self._forget_expired(now)
            if self._until.get((jkt, jti), 0) > now:
                raise TokenRefused(Reason.PROOF_USED)
            if len(self._until) >= self._capacity:
                raise StateUnavailable(Reason.PROOF_STORE_FULL)
            self._until[jkt, jti] = until

    def _forget_expired(self, now: float) -> None:
        """Drop expired entries from the oldest on, and all expired ones when the memory is full.

        An entry from before the clock was set back may be the oldest and expire much later.
        """
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        if len(self._until) >= self._capacity:
            for proof in [proof for proof, until in self._until.items() if until <= now]:
                del self._until[proof]
