import json
from dataclasses import replace
from pathlib import Path

import pytest

from functions.shared.clients.trust_rule import TrustRule
from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import KeyRing
from functions.shared.storage.secrets_manager import SecretStore
from infra.cli.backup import backup_json, read_backup
from infra.cli.context import laptop
from infra.cli.errors import UsageError
from infra.cli.record_store import RuleTable
from tests.support.cli import AWS, CommandLine, aws_client, deploy, physical_name
from tests.support.server import NOW, client, key, ring

DAY = 86_400


def _ring() -> KeyRing:
    store = SecretStore(AWS)
    return key_ring.from_json(store.read(physical_name("KeyRingSecret")))


@pytest.fixture
def file(gatehouse: CommandLine, tmp_path: Path) -> str:
    """A backup of a deployment with a client."""
    gatehouse.clients.put(client(), None)
    file = str(tmp_path / "backup.json")
    assert gatehouse("backup", file).code == 0
    return file


def _write_ring(kept: KeyRing) -> None:
    aws_client("secretsmanager").put_secret_value(
        SecretId=physical_name("KeyRingSecret"), SecretString=key_ring.to_json(kept)
    )


def test_clients_and_keys_are_restored(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse("clients", "create", "keyed", "--jwks-uri", "https://client.example/jwks")
    gatehouse.clients.put(client(disabled=True), None)
    before, old_ring = [seen.item for seen in gatehouse.clients.list()], _ring()
    file = str(tmp_path / "backup.json")
    taken = gatehouse("backup", file, "--json")
    assert taken.json == {"file": file, "clients": 2, "rules": 0, "keys": 1}

    for seen in list(gatehouse.clients.list()):
        gatehouse.clients.delete(seen)
    gatehouse.clock.now += 3600
    _write_ring(ring(key(2), now=NOW + 3600))  # a new deployment has its own keys

    restored = gatehouse("restore", file, "--keys", answer="y\n")
    assert restored.code == 0, restored.stderr
    assert [seen.item for seen in gatehouse.clients.list()] == before
    now, (lost,) = gatehouse.clock.now, old_ring.keys
    published = {each.kid for each in _ring().published_keys(now)}
    assert published == {lost.kid, key(2).kid}
    assert _ring().signing_key(now, "RS256").kid == key(2).kid
    assert gatehouse("restore", file, "--yes", "--json").json["keys"] == []


def test_trust_rules_are_restored(gatehouse: CommandLine, tmp_path: Path) -> None:
    rule = TrustRule(name="deploy", issuer="https://idp.example", client_id="deployer", claims={"sub": "a", "n": 1})
    other = replace(rule, name="other", claims={"sub": "b", "n": 1})
    table = RuleTable(AWS, physical_name("TrustTable"))
    for each in (rule, other):
        table.put(each, None)
    file = str(tmp_path / "backup.json")
    assert gatehouse("backup", file, "--json").json["rules"] == 2
    table.delete(table.get("deploy"))
    table.put(replace(other, claims={"sub": "b", "n": True}), table.get("other"))  # in Python, 1 == True
    restored = gatehouse("restore", file, "--yes")
    assert "Restored 0 clients, 1 rule and 0 public keys." in restored.stdout
    assert "Not restored: 1 rule (they differ; see --overwrite)." in restored.stdout
    assert gatehouse("restore", file, "--overwrite", "--yes").code == 0
    assert [seen.readable for seen in table.list()] == [rule, other]
    table.delete(table.get("deploy"))
    table.put(replace(rule, name="newer"), None)
    refused = gatehouse("restore", file, "--yes")
    assert refused.code
    assert "One assertion could match two rules: deploy and newer." in refused.stderr


def test_older_backup_and_another_issuers(gatehouse: CommandLine, file: str) -> None:
    document = {**json.loads(Path(file).read_text()), "issuer": "https://elsewhere"}
    del document["rules"]
    Path(file).write_text(json.dumps(document))
    restored = gatehouse("restore", file, "--yes")
    assert (restored.code, "does not accept its tokens" in restored.stderr) == (0, True)


def test_restored_key_never_signs(gatehouse: CommandLine, file: str) -> None:
    _write_ring(ring(key(2), now=NOW))
    accepted = "tokens signed by this key will be accepted until 20"
    dry = gatehouse("restore", file, "--dry-run")
    assert f"? key {key(1).kid}: not restored; with --keys {accepted}" in dry.stdout
    report = gatehouse("restore", file, "--yes", "--json").json
    assert (report["keys"], report["keys_not_restored"]) == ([], [key(1).kid])
    result = gatehouse("restore", file, "--keys", answer="n\n")
    assert f"+ key {key(1).kid}: {accepted}" in result.stderr
    assert {each.kid for each in _ring().keys} == {key(2).kid}
    assert gatehouse("restore", file, "--keys", "--yes", "--json").json["keys"] == [key(1).kid]
    (restored,) = (each for each in _ring().keys if each.kid == key(1).kid)
    assert not restored.may_sign(NOW)
    assert restored.is_published(NOW + DAY)
    assert not restored.is_published(NOW + 2 * DAY)


def test_expired_keys_are_not_restored(gatehouse: CommandLine, tmp_path: Path) -> None:
    over, announced = (
        replace(ring(key(2), now=NOW - 9 * DAY).keys[0], sign_until=NOW - 5 * DAY, publish_until=NOW),
        replace(ring(key(3), now=NOW).keys[0], sign_from=NOW + DAY),
    )
    _write_ring(KeyRing((*_ring().keys, over, announced)))
    file = str(tmp_path / "backup.json")
    gatehouse("backup", file)
    _write_ring(ring(key(4), now=NOW))
    restored = gatehouse("restore", file, "--keys", "--yes", "--json").json
    assert restored["keys"] == [key(1).kid]


def test_backup_has_no_secrets_and_mode_0600(gatehouse: CommandLine, tmp_path: Path) -> None:
    secret = gatehouse("clients", "create", "billing").stdout.strip()
    file = tmp_path / "backup.json"
    gatehouse("backup", str(file))
    text = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert secret not in text
    assert "PRIVATE" not in text
    (kept,) = json.loads(text)["key_ring"]["keys"]
    assert set(kept["public_jwk"]) == {"kty", "e", "n"}
    assert gatehouse("backup", str(file)).code == 2
    assert file.read_text() == text


def test_changed_clients_need_overwrite(gatehouse: CommandLine, file: str) -> None:
    gatehouse("clients", "rotate-secret", "service-client-jwt", "--old-until", "now")
    gatehouse("clients", "disable", "service-client-jwt")
    gatehouse.clients.put(client("newer"), None)
    left = gatehouse("restore", file, "--yes")
    assert "Not restored: 1 client (they differ; see --overwrite)." in left.stdout
    assert gatehouse("restore", file, "--overwrite", "--dry-run").code == 0
    refused = gatehouse("restore", file, "--overwrite", answer="n\n")
    assert (refused.code, "secrets: -always to no end" in refused.stderr) == (1, True)
    assert gatehouse.clients.get("service-client-jwt").record.disabled
    gatehouse("restore", file, "--overwrite", "--yes")
    assert gatehouse.clients.get("service-client-jwt").record == client()
    assert gatehouse.clients.find("newer") is not None


def test_restore_needs_a_signing_key(gatehouse: CommandLine, file: str) -> None:
    _write_ring(KeyRing(()))
    refused = gatehouse("restore", file, "--keys", "--yes")
    assert (refused.code, "no signing key" in refused.stderr) == (1, True)
    assert _ring() == KeyRing(())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "is not a backup"),
        ({"version": 2}, "has the backup version 2"),
        ({"clients": [{"client_id": {"S": "a"}}]}, "schema_version of no kind"),
        ({"clients": [{"client_id": {"S": "a"}, "schema_version": {"N": "2"}}]}, "schema_version 2"),
        ({"key_ring": {"version": 2, "keys": []}}, "version 2"),
        ({"key_ring": 1}, "cannot be restored"),
        ({"clients": {"a": 1}}, "cannot be restored"),
        ({"clients": [1]}, "cannot be restored"),
        ({"rules": [{"issuer": {"S": "a"}}]}, "cannot be restored"),
        ({"clients": [{"client_id": "a"}]}, "cannot be restored"),
        ({"clients": [{"client_id": {"N": "1e999999"}}]}, "cannot be restored"),
    ],
)
def test_invalid_backup_is_rejected(tmp_path: Path, change: dict[str, object], said: str) -> None:
    deployment = laptop({})
    good = json.loads(backup_json(deployment, [], [], ring(now=NOW), NOW))
    file = tmp_path / "backup.json"
    file.write_text(json.dumps({**good, **change}))
    with pytest.raises(UsageError) as refused:
        read_backup(file)
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nothing", "[" * 100_000, '{"format": "gatehouse-backup"}'])
def test_other_file_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(UsageError, match=r"is not a backup of Gatehouse\.$"):
        read_backup(tmp_path / "file")


def test_backup_moves_clients_to_another_stack(gatehouse: CommandLine, file: str) -> None:
    deploy("another", ring(key(2)))
    gatehouse("restore", file, "--yes", "--stack", "another")
    shown = gatehouse("clients", "show", "service-client-jwt", "--stack", "another", "--json")
    assert shown.json["secrets"][0]["state"] == "live"
