"""Proofs are valid once: one contract for the table (moto) and for memory."""

from threading import Thread

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from authorizer.aws_client import AwsClient
from authorizer.clock import Deadline
from authorizer.errors import InvalidTokenError, Reason, StateUnavailableError
from authorizer.state_table import DynamoDbReplayStore, MemoryReplayStore, ReplayStore, StateTable
from tests.support.aws import STATE_TABLE
from tests.support.tokens import NOW

JKT = "A" * 43


@pytest.fixture(params=["table", "memory"])
def used(request: pytest.FixtureRequest) -> ReplayStore:
    if request.param == "memory":
        return MemoryReplayStore()
    request.getfixturevalue("dynamodb")
    return DynamoDbReplayStore(StateTable(STATE_TABLE, AwsClient(3)))


def _use(used: ReplayStore, jti: str = "one", *, jkt: str = JKT, now: float = NOW) -> None:
    used.consume(jkt, jti, int(now) + 61, now, Deadline(3))


def test_proof_is_valid_once(used: ReplayStore) -> None:
    _use(used)
    for now in (NOW, NOW + 30, NOW + 60.9):
        with pytest.raises(InvalidTokenError, match=f"^{Reason.PROOF_USED}$"):
            used.consume(JKT, "one", NOW + 200, now, Deadline(3))


def test_key_and_jti_identify_a_proof(used: ReplayStore) -> None:
    _use(used)
    _use(used, "two")
    _use(used, jkt="B" * 43)


def test_expired_proof_is_forgotten(used: ReplayStore) -> None:
    _use(used)
    _use(used, now=NOW + 61)


def test_concurrent_uses_pass_once(used: ReplayStore) -> None:
    passed: list[bool] = []

    def attempt() -> None:
        try:
            _use(used)
        except InvalidTokenError:
            return
        passed.append(True)

    threads = [Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed == [True]


def test_full_memory_retains_active_proofs() -> None:
    used = MemoryReplayStore(2)
    _use(used, "one")
    _use(used, "two", now=NOW + 1)
    with pytest.raises(StateUnavailableError, match=f"^{Reason.PROOF_STORE_FULL}$"):
        _use(used, "three", now=NOW + 60)
    with pytest.raises(InvalidTokenError):
        _use(used, "one", now=NOW + 60)
    _use(used, "three", now=NOW + 61)


def test_full_memory_drops_expired_proofs_after_clock_change() -> None:
    used = MemoryReplayStore(2)
    _use(used, "one", now=NOW + 3600)
    _use(used, "two")
    with pytest.raises(StateUnavailableError):
        _use(used, "three", now=NOW + 60)
    _use(used, "three", now=NOW + 61)
    with pytest.raises(InvalidTokenError):
        _use(used, "one", now=NOW + 61)


@pytest.mark.usefixtures("dynamodb")
def test_missing_table_is_an_internal_error() -> None:
    with pytest.raises(StateUnavailableError, match=f"^{Reason.PROOF_STORE_UNAVAILABLE}$"):
        _use(DynamoDbReplayStore(StateTable("missing", AwsClient(3))))


@pytest.mark.usefixtures("no_aws")
def test_unreadable_response_accepts_no_proof() -> None:
    with pytest.raises(StateUnavailableError, match=f"^{Reason.PROOF_STORE_UNAVAILABLE}$"):
        _use(DynamoDbReplayStore(StateTable(STATE_TABLE, AwsClient(3))))


def test_entry_hides_the_key_and_expires(dynamodb: DynamoDBClient) -> None:
    _use(DynamoDbReplayStore(StateTable(STATE_TABLE, AwsClient(3))))
    (item,) = dynamodb.scan(TableName=STATE_TABLE)["Items"]
    assert item["entry"]["S"].startswith("proof#")
    assert JKT not in item["entry"]["S"]
    assert item["expires_at"] == {"N": str(NOW + 61)}
