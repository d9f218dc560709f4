import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions.shared.clients.assertion_rules import AssertionRules, FederationRule
from functions.shared.clients.certificate_name import CertificateName, CertificateNameKind
from functions.shared.clients.client import Client, TokenFormat
from functions.shared.clients.client_secrets import SecretVerifier, WrongSecretError
from functions.shared.storage.state_table import SecretUses
from infra.cli.errors import ConflictError
from local.certificates import LaptopCertificates
from tests.support.cli import AWS, CommandLine, DelayedInput, aws_client, physical_name
from tests.support.server import NOW, SECRET, client
from tests.support.tokens import rsa_jwk

DAY = 86_400


def test_create_shows_the_secret_once(gatehouse: CommandLine) -> None:
    made = gatehouse("clients", "create", "billing", "--scope", "country.read", "--name", "Billing")
    secret = made.stdout.strip()
    assert made.code == 0
    assert "shown only once" in made.stderr
    kept = gatehouse.clients.get("billing")
    assert SecretVerifier().verify(secret, kept.record.secrets, NOW).expires_at is None
    assert secret not in repr(kept.item)
    assert (kept.record.scopes, kept.record.name) == (frozenset({"country.read"}), "Billing")
    for command in (("list",), ("show", "billing"), ("export",), ("show", "billing", "--json")):
        shown = gatehouse("clients", *command)
        assert "billing" in shown.stdout
        for confidential in (secret, kept.record.secrets[0].digest):
            assert confidential not in shown.stdout + shown.stderr


def test_secret_is_read_from_file_or_pipe(gatehouse: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    for source, answer, secret in ((str(tmp_path / "secret"), "", "from-a-file"), ("-", "piped", "piped")):
        assert gatehouse("clients", "create", secret, "--secret-file", source, answer=answer).stdout == ""
        assert SecretVerifier().verify(secret, gatehouse.clients.get(secret).record.secrets, NOW).is_imported


def test_secret_is_written_with_mode_0600(gatehouse: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    made = gatehouse("clients", "create", "billing", "--secret-to", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    secret = file.read_text().strip()
    assert secret not in made.stdout + made.stderr
    SecretVerifier().verify(secret, gatehouse.clients.get("billing").record.secrets, NOW)
    again = gatehouse("clients", "create", "other", "--secret-to", str(file))
    assert (again.code, file.read_text().strip()) == (2, secret)
    assert gatehouse.clients.find("other") is None


def test_failed_registration_leaves_no_file(gatehouse: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    aws_client("dynamodb").delete_table(TableName=physical_name("StateTable"))
    gatehouse("clients", "create", "billing")
    refused = gatehouse("clients", "create", "billing", "--secret-to", str(file))
    assert (refused.code, file.exists()) == (1, False)
    assert "already exists" in refused.stderr


def test_keyed_clients_are_registered(gatehouse: CommandLine, tmp_path: Path) -> None:
    rule: dict[str, Any] = {"issuer": "https://issuer.example", "audience": "https://us", "subject": "repo:a/b:*"}
    rules = tmp_path / "rules.yaml"
    rules.write_text(json.dumps([rule]))
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [rsa_jwk(alg="RS256")]}))
    for client_id, options in (
        ("uri", ("--jwks-uri", "https://client.example/jwks")),
        ("inline", ("--jwks", str(keys))),
        ("workload", ("--federation", str(rules))),
        ("named", ("--certificate-name", "san_dns=client.example")),
    ):
        made = gatehouse("clients", "create", client_id, *options)
        assert (made.code, made.stdout) == (0, ""), made.stderr
    found = {seen.record.client_id: seen.record for seen in gatehouse.clients.list()}
    assert found["uri"].assertion == AssertionRules(jwks_uri="https://client.example/jwks")
    inline = found["inline"].assertion
    assert inline is not None
    assert len(inline.key_set.keys) == 1
    assert found["workload"].federation == (FederationRule(**rule),)
    assert found["named"].certificate_name == CertificateName(CertificateNameKind.SAN_DNS, "client.example")
    assert {next(iter(each.authentication_methods)) for each in found.values()} == {
        "private_key_jwt",
        "federated_jwt",
        "tls_client_auth",
    }


def test_invalid_options_change_nothing(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse.clients.put(client(), None)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "none.pem").write_text("nothing")
    for arguments, code, said in (
        (("create", "ä"), 2, "client_id"),
        (("create", "a", "--jwks-uri", "https://x", "--secret-file", "-"), 2, "uses a secret"),
        (("create", "a", "--secret-file", "-"), 2, "The client's secret is empty"),
        (("create", "a", "--secret-file", str(tmp_path / "none")), 3, "cannot be read"),
        (("create", "a", "--secret-file", str(tmp_path / "binary")), 2, "is not UTF-8 text"),
        (("create", "a", "--secret-to", str(tmp_path / "no" / "folder")), 2, "cannot be written"),
        (("create", "a", "--certificate", str(tmp_path / "none.pem")), 2, "does not contain a certificate"),
        (("create", "a", "--certificate-name", "phone=1"), 2, "certificate_name.kind must be"),
        (("rotate-secret", "service-client-jwt", "--old-until", "soon"), 2, "is not a time"),
        (("rotate-secret", "service-client-jwt", "--old-until", "2001-01-01"), 2, "is in the past"),
        (("show", "ä"), 2, "is not a client_id"),
        *(((each, "absent"), 3, "List the clients: gatehouse clients list.") for each in ("show", "disable", "delete")),
        (("rotate-secret", "absent"), 3, "Client absent does not exist."),
    ):
        refused = gatehouse("clients", *arguments)
        assert (refused.code, refused.stdout) == (code, "")
        assert said in refused.stderr
    assert [seen.record for seen in gatehouse.clients.list()] == [client()]


def test_rotation_leaves_both_secrets_valid(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(), None)
    rotated = gatehouse("clients", "rotate-secret", "service-client-jwt", "--old-until", "7d")
    kept = gatehouse.clients.get("service-client-jwt").record.secrets
    verify = SecretVerifier().verify
    for secret in (SECRET, rotated.stdout.strip()):
        verify(secret, kept, NOW + 7 * DAY - 1)
    verify(rotated.stdout.strip(), kept, NOW + 7 * DAY)
    with pytest.raises(WrongSecretError):
        verify(SECRET, kept, NOW + 7 * DAY)
    assert "2023-11-21 22:13 UTC" in rotated.stderr


def test_rotation_drops_expired_secrets(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(), None)
    gatehouse("clients", "rotate-secret", "service-client-jwt", "--old-until", "1h")
    gatehouse("clients", "rotate-secret", "service-client-jwt", "--old-until", "2d")
    ends = [each.expires_at for each in gatehouse.clients.get("service-client-jwt").record.secrets]
    assert ends == [NOW + 3600, NOW + 2 * DAY, None]
    gatehouse("clients", "rotate-secret", "service-client-jwt", "--old-until", "now")
    (only,) = gatehouse.clients.get("service-client-jwt").record.secrets
    assert only.expires_at is None


def test_client_without_secret_cannot_rotate(gatehouse: CommandLine) -> None:
    gatehouse("clients", "create", "keyed", "--jwks-uri", "https://client.example/jwks")
    refused = gatehouse("clients", "rotate-secret", "keyed")
    assert (refused.code, refused.stdout) == (1, "")
    assert "without a secret, by private_key_jwt" in refused.stderr
    assert "--method private_key_jwt --method client_secret_basic" in refused.stderr


def test_second_imported_secret_is_rejected(gatehouse: CommandLine) -> None:
    gatehouse("clients", "create", "a", "--secret-file", "-", answer="first")
    rotate = ("clients", "rotate-secret", "a", "--secret-file", "-")
    refused = gatehouse(*rotate, answer="second")
    assert refused.code == 1
    assert "--old-until now" in refused.stderr
    assert gatehouse(*rotate, "--old-until", "now", answer="second").code == 0
    SecretVerifier().verify("second", gatehouse.clients.get("a").record.secrets, NOW)


def test_show_lists_validity_and_last_use(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(), None)
    gatehouse("clients", "rotate-secret", "service-client-jwt")
    old, _ = gatehouse.clients.get("service-client-jwt").record.secrets
    uses = SecretUses(AWS, physical_name("StateTable"))
    uses.record("service-client-jwt", old.digest, NOW - DAY)
    shown = gatehouse("clients", "show", "service-client-jwt", "--json").json["secrets"]
    assert [each["last_used_day"] for each in shown] == ["2023-11-13", None]
    assert [each["expires_at"] for each in shown] == ["2023-11-21T22:13:20Z", None]
    gatehouse.clock.now += 8 * DAY
    assert "expired" in gatehouse("clients", "show", "service-client-jwt").stdout


def test_disable_and_enable_change_nothing_else(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(), None)
    assert gatehouse("clients", "disable", "service-client-jwt").code == 0
    assert gatehouse.clients.get("service-client-jwt").record == client(disabled=True)
    assert "disabled" in gatehouse("clients", "list").stdout
    enabled = gatehouse("clients", "enable", "service-client-jwt", "--json")
    assert enabled.json == {"client_id": "service-client-jwt", "disabled": False}
    assert gatehouse.clients.get("service-client-jwt").record == client()


def test_delete_needs_confirmation(gatehouse: CommandLine) -> None:
    for answer, options, code in (("n\n", (), 1), ("", (), 2), ("y\n", (), 0), ("", ("--yes",), 0)):
        gatehouse.clients.put(client(), gatehouse.clients.find("service-client-jwt"))
        assert gatehouse("clients", "delete", "service-client-jwt", *options, answer=answer).code == code
        assert (gatehouse.clients.find("service-client-jwt") is None) is (code == 0)


def test_listed_name_cannot_control_the_terminal(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(name="\x1b[2J[red]gone[/red]\u202e"), None)
    gatehouse.clients.put(client("opaque", token_format=TokenFormat.OPAQUE, secrets=()), None)
    shown = gatehouse("clients", "list").stdout
    assert ("\x1b" in shown, "\u202e" in shown, "[red]gone[/red]" in shown) == (False, False, True)
    listed = gatehouse("clients", "list", "--json").json
    assert [(each["client_id"], each["live_secrets"]) for each in listed] == [("opaque", 0), ("service-client-jwt", 1)]


def test_concurrent_changes_are_not_lost(gatehouse: CommandLine) -> None:
    clients, rivals = gatehouse.clients, iter(range(6))
    clients.put(client(), None)

    def slow_change(found: Client) -> Client:
        if next(rivals, None) is not None:
            clients.put(replace(found, name=found.name + "!"), clients.get(found.client_id))
        return replace(found, disabled=True)

    with pytest.raises(ConflictError):  # five attempts, and each is overtaken
        clients.change("service-client-jwt", slow_change)
    assert clients.get("service-client-jwt").record == client(name="A service!!!!!")
    clients.change("service-client-jwt", slow_change)
    assert clients.get("service-client-jwt").record == client(name="A service!!!!!!", disabled=True)


def test_changed_client_is_not_deleted(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(), None)
    answer = DelayedInput("y\n", lambda: gatehouse("clients", "disable", "service-client-jwt"))
    refused = gatehouse("clients", "delete", "service-client-jwt", answer=answer)
    assert refused.code == 5
    assert gatehouse.clients.get("service-client-jwt").record.disabled


def test_certificate_is_registered_by_thumbprint(gatehouse: CommandLine, tmp_path: Path) -> None:
    certificates = LaptopCertificates.ensure(tmp_path)
    pem = certificates.self_signed_client
    made = gatehouse("clients", "create", "own", "--certificate", str(pem), "--dpop")
    assert made.code == 0, made.stderr
    found = gatehouse.clients.get("own").record
    assert found.dpop_bound_access_tokens
    assert found.certificate_thumbprints == {certificates.self_signed_thumbprint()}


def test_far_expiry_is_shown_as_the_last_day(gatehouse: CommandLine) -> None:
    (secret,) = client().secrets
    gatehouse.clients.put(client(secrets=(replace(secret, expires_at=10**18),)), None)
    shown = gatehouse("clients", "show", "service-client-jwt", "--json")
    assert shown.json["secrets"][0]["expires_at"] == "9999-12-31T23:59:59Z"
