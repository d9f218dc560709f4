"""A record that cannot be read does not stop changes of others and can be deleted."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from functions.shared.clients.client import to_item
from functions.shared.keys.rotation import PROPAGATION_SECONDS
from functions.shared.lifetimes import LONGEST_TOKEN_LIFETIME
from infra.cli.times import readable
from tests.support.cli import CommandLine, aws_client, physical_name
from tests.support.server import NOW, client

BROKEN: Final = "broken"


def put(item: dict[str, Any]) -> None:
    aws_client("dynamodb").put_item(TableName=physical_name("ClientsTable"), Item=item)


def kept(client_id: str) -> dict[str, Any] | None:
    answer = aws_client("dynamodb").get_item(
        TableName=physical_name("ClientsTable"), Key={"client_id": {"S": client_id}}
    )
    item: dict[str, Any] | None = answer.get("Item")
    return item


FAULTS: Final[dict[str, dict[str, Any]]] = {
    "of-a-newer-version": {"schema_version": {"N": "2"}},
    "of-no-version": {"schema_version": {"S": "one"}},
    "without-a-list": {"scopes": {"S": "country.read"}},
    "of-odd-types": {"secrets": {"L": [{"M": {"digest": {"B": b"x"}}}]}},
    "breaking-a-rule": {"token_lifetime": {"N": "0"}},
}


@pytest.fixture
def newer(gatehouse: CommandLine) -> CommandLine:
    """A valid client, and one that a newer version wrote."""
    gatehouse.clients.put(client(), None)
    put({**to_item(client(client_id=BROKEN)), "schema_version": {"N": "2"}})
    return gatehouse


def test_each_is_named_disabled_and_deleted(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(), None)
    broken = {each: {**to_item(client(client_id=each)), **fault} for each, fault in FAULTS.items()}
    broken |= {each: {"client_id": {"S": each}} for each in ("bare", "Müller")}
    for item in broken.values():
        put(item)
    listed = gatehouse("clients", "list")
    assert (listed.code, "service-client-jwt" in listed.stdout) == (4, True)
    as_json = gatehouse("clients", "list", "--json")
    assert [each["client_id"] for each in as_json.json] == ["service-client-jwt"]
    assert as_json.code == json.loads(as_json.stderr)["code"] == 4
    for client_id, item in broken.items():
        assert (client_id in listed.stdout, client_id in listed.stderr) == (False, True)
        disabled = gatehouse("clients", "disable", client_id)
        assert disabled.code == 0, disabled.stderr
        assert f"{client_id} is marked as disabled, but its record cannot be" in disabled.stderr
        assert kept(client_id) == {**item, "disabled": {"BOOL": True}}
        result = gatehouse("clients", "delete", client_id, answer="n\n")
        assert "whose record cannot be read" in result.stderr
        assert kept(client_id) is not None
        assert gatehouse("clients", "delete", client_id, "--yes").code == 0
        assert kept(client_id) is None
    assert gatehouse("clients", "list").code == 0


def test_broken_record_rejects_changes(newer: CommandLine) -> None:
    before = kept(BROKEN)
    for command in (("show", BROKEN), ("enable", BROKEN), ("rotate-secret", BROKEN), ("export",)):
        refused = newer("clients", *command)
        assert (refused.code, refused.stdout) == (4, "")
        assert "cannot be read: a record has schema_version 2" in refused.stderr
        assert f"gatehouse clients delete {BROKEN}" in refused.stderr
    assert kept(BROKEN) == before


def test_broken_record_is_not_overwritten(newer: CommandLine, tmp_path: Path) -> None:
    before = kept(BROKEN)
    assert "already exists" in newer("clients", "create", BROKEN).stderr
    file = tmp_path / "export.json"
    entries = [{"client_id": each, "grant_types": ["client_credentials"]} for each in (BROKEN, "new")]
    file.write_text(json.dumps(entries))
    imported = newer("clients", "import", "hydra", str(file), "--yes", "--json").json["clients"]
    assert imported[0]["outcome"] == "left out: this client_id is taken"
    assert newer.clients.find("new")
    assert kept(BROKEN) == before


def test_apply_skips_broken_records_outside_the_file(newer: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "clients.yaml"
    methods = "authentication_methods: [client_secret_basic]"
    file.write_text(f"clients: [{{client_id: service-client-jwt, {methods}}}]")
    applied = newer("clients", "apply", str(file), "--yes")
    assert applied.code == 0, applied.stderr
    assert f"? {BROKEN}  (not in the file)" in applied.stderr
    file.write_text(f"clients: [{{client_id: {BROKEN}, {methods}}}]")
    refused = newer("clients", "apply", str(file), "--yes")
    assert (refused.code, "cannot be read" in refused.stderr) == (4, True)
    file.write_text("clients: []")
    pruned = newer("clients", "apply", str(file), "--yes", "--prune")
    assert (pruned.code, list(newer.clients.list())) == (0, []), pruned.stderr


def test_backup_refuses_broken_records(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse.clients.put(client(), None)
    good, none = str(tmp_path / "good.json"), tmp_path / "none.json"
    assert gatehouse("backup", good).code == 0
    put({**to_item(client()), "token_lifetime": {"S": "soon"}})
    assert (gatehouse("backup", str(none)).code, none.exists()) == (4, False)
    assert gatehouse("restore", good, "--overwrite", "--yes").code == 0
    assert gatehouse.clients.get("service-client-jwt").record == client()


def test_emergency_assumes_broken_clients_affected(newer: CommandLine) -> None:
    kid = newer("keys", "list", "--json").json[0]["kid"]
    done = newer("keys", "emergency", "--revoke", kid, "--yes")
    assert done.code == 0, done.stderr
    assert f"Affected: 2 clients, {BROKEN} (its record cannot be read), service" in done.stderr
    assert f"expiring by {readable(NOW + PROPAGATION_SECONDS + LONGEST_TOKEN_LIFETIME)}" in done.stderr


def test_impossible_table_key_is_a_usage_error(gatehouse: CommandLine) -> None:
    for client_id in ("", "x" * 3000, "\udcff"):
        refused = gatehouse("clients", "delete", client_id, "--yes")
        assert (refused.code, "is not a client_id" in refused.stderr) == (2, True)
