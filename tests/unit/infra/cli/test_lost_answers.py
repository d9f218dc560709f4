"""boto3 retries a write whose response was lost. The item of the first attempt is accepted."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from functions.rotate_keys.key_backends import KmsKeys
from functions.shared.clients.client_secrets import SecretVerifier
from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import KeyRing
from tests.support.cli import AWS, LOST, STACK, CommandLine, aws_client, deploy, physical_name
from tests.support.clock import ManualClock
from tests.support.privileges import OTHER_STACK
from tests.support.server import NOW, SECRET, client

ID = "service-client-jwt"


@pytest.fixture(autouse=True)
def lost(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have boto3 ask again at once; every answer that is to be lost must have been."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))
    yield LOST
    left = [*LOST]
    LOST.clear()
    assert not left


def kept_ring() -> KeyRing:
    answer = aws_client("secretsmanager").get_secret_value(
        SecretId=physical_name("KeyRingSecret"), VersionStage="AWSCURRENT"
    )
    return key_ring.from_json(answer["SecretString"])


def aliases_of_keys(stack: str) -> list[str]:
    names = [alias["AliasName"] for alias in aws_client("kms").list_aliases()["Aliases"]]
    return [name for name in names if name.startswith(f"alias/{stack}-signing/")]


def test_retried_create_succeeds(gatehouse: CommandLine, lost: list[str]) -> None:
    lost.append("PutItem")
    made = gatehouse("clients", "create", "billing")
    assert made.code == 0, made.stderr
    SecretVerifier().verify(made.stdout.strip(), gatehouse.clients.get("billing").record.secrets, NOW)


def test_a_rotated_secret_is_added_once(gatehouse: CommandLine, lost: list[str]) -> None:
    gatehouse.clients.put(client(), None)
    lost.append("PutItem")
    rotated = gatehouse("clients", "rotate-secret", ID, "--old-until", "1h")
    assert rotated.code == 0, rotated.stderr
    old, new = gatehouse.clients.get(ID).record.secrets
    assert (old.expires_at, new.expires_at) == (NOW + 3600, None)
    for plain in (SECRET, rotated.stdout.strip()):
        SecretVerifier().verify(plain, (old, new), NOW)


def test_retried_disable_succeeds(gatehouse: CommandLine, lost: list[str]) -> None:
    table, dynamodb = gatehouse.clients, aws_client("dynamodb")
    table.put(client(), None)
    dynamodb.put_item(TableName=table.name, Item={"client_id": {"S": "bare"}})
    for client_id in (ID, "bare"):
        lost.append("PutItem")
        disabled = gatehouse("clients", "disable", client_id)
        assert disabled.code == 0, disabled.stderr
        assert table.get(client_id).item["disabled"] == {"BOOL": True}


def test_retried_delete_succeeds(gatehouse: CommandLine, lost: list[str]) -> None:
    gatehouse.clients.put(client(), None)
    lost.append("DeleteItem")
    deleted = gatehouse("clients", "delete", ID, "--yes")
    assert (deleted.code, gatehouse.clients.find(ID)) == (0, None), deleted.stderr


def test_retried_apply_succeeds(gatehouse: CommandLine, lost: list[str], tmp_path: Path) -> None:
    for client_id in ("changes", "goes"):
        gatehouse.clients.put(client(client_id=client_id), None)
    file = tmp_path / "clients.yaml"
    basic = {"authentication_methods": ["client_secret_basic"]}
    wanted = [{"client_id": client_id, **basic} for client_id in ("changes", "comes")]
    file.write_text(json.dumps({"clients": wanted}))
    lost += ["PutItem", "DeleteItem"]
    applied = gatehouse("clients", "apply", str(file), "--prune", "--yes")
    assert applied.code == 0, applied.stderr
    assert [seen.key for seen in gatehouse.clients.list()] == ["changes", "comes"]


def test_an_import_goes_on(gatehouse: CommandLine, lost: list[str], tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_text(json.dumps([{"client_id": "a", "grant_types": ["client_credentials"]}]))
    lost.append("PutItem")
    imported = gatehouse("clients", "import", "hydra", str(file), "--yes")
    assert imported.code == 0, imported.stderr + imported.stdout
    assert gatehouse.clients.find("a")


def test_retried_restore_succeeds(gatehouse: CommandLine, lost: list[str], tmp_path: Path) -> None:
    gatehouse.clients.put(client(), None)
    file = str(tmp_path / "backup.json")
    assert gatehouse("backup", file).code == 0
    gatehouse("clients", "delete", ID, "--yes")
    lost.append("PutItem")
    restored = gatehouse("restore", file, "--yes")
    assert restored.code == 0, restored.stderr
    assert gatehouse.clients.get(ID).record == client()


def test_retried_ring_write_adds_one_key(gatehouse: CommandLine, lost: list[str]) -> None:
    old = kept_ring().keys[0].kid
    for keys, command in ((2, ("rotate",)), (2, ("emergency",)), (1, ("emergency", "--revoke", old))):
        lost += ["PutSecretValue", "UpdateSecretVersionStage"]
        done = gatehouse("keys", *command, "--yes")
        assert done.code == 0, done.stderr
        assert len(kept_ring().keys) == keys
    assert old not in [key.kid for key in kept_ring().keys]


def test_a_key_in_kms_is_named_once(account: None, lost: list[str]) -> None:
    deploy(given={"KeyEdition": "kms"})
    lost.append("CreateAlias")
    done = CommandLine(ManualClock(NOW))("keys", "emergency", "--yes")
    assert done.code == 0, done.stderr
    assert len(aliases_of_keys(STACK)) == 1


def test_retried_kms_deletion_succeeds(account: None, lost: list[str]) -> None:
    kms = aws_client("kms")
    kms_backend = KmsKeys(AWS, OTHER_STACK)
    key_id = kms_backend.create("ES256", NOW).signer.rpartition("/")[2]
    lost += ["ScheduleKeyDeletion", "DeleteAlias"]
    long_after = kms.describe_key(KeyId=key_id)["KeyMetadata"]["CreationDate"].timestamp() + 3600
    assert kms_backend.delete_unused((), long_after) == 1
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert aliases_of_keys(OTHER_STACK) == []
