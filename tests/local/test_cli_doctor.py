"""`gatehouse` keys, tokens and doctor as real processes on the laptop edition."""

import json
import subprocess
from pathlib import Path

import pytest

from infra.cli.doctor.command import CHECKS
from local.certificates import DIRECTORY as CERTIFICATES
from local.demo_clients import KEY_FILE
from tests.support.laptop import Laptop, aws_client, gatehouse

OPENED = "GET /country, GET /country/code/*"


def secret_of(client_id: str) -> dict[str, str]:
    return {"GATEHOUSE_CLIENT_SECRET": f"{client_id}-secret"}


def token(laptop: Laptop, client_id: str, scope: str, *options: str) -> str:
    """Return what `token get` prints."""
    command = ("token", "get", client_id, "--scope", scope, *options)
    return gatehouse(laptop, *command, **secret_of(client_id)).stdout


def test_doctor_passes_on_the_local_stack(laptop: Laptop, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    examined = gatehouse(laptop, "doctor", "--report", str(report))
    assert examined.returncode == 0, examined.stdout
    document = json.loads(report.read_text())
    assert document["counts"]["failure"] == 0
    not_applicable = [each["check"] for each in document["findings"] if each["level"] == "not applicable"]
    assert not_applicable == [check.name for check in CHECKS if check.in_account_only]
    warned = {each["check"] for each in document["findings"] if each["level"] == "warning"}
    # The laptop's authorizer checks no audience and takes no proofs, as a new deployment's.
    assert warned <= {"audiences", "bound tokens"}


METHODS = {
    "a secret": ("service-client-jwt", ()),
    "a key": ("service-client-key", ("--key", str(KEY_FILE), "--key-id", "laptop")),
    "a certificate of the authority": ("service-client-mtls", ("--certificate", "client")),
    "a certificate of its own": ("service-client-self-signed", ("--certificate", "self-signed-client")),
    "a secret and a proof": ("service-client-dpop", ("--dpop",)),
}


@pytest.mark.parametrize("method", METHODS)
def test_token_get_by_every_method(laptop: Laptop, method: str) -> None:
    client_id, options = METHODS[method]
    if options[:1] == ("--certificate",):
        file = str(CERTIFICATES / f"{options[1]}.pem")
        options = ("--certificate", file, "--authority", str(CERTIFICATES / "authority.pem"))
    command = ("token", "get", client_id, *options, "--scope", "country.read", "--json")
    got = gatehouse(laptop, *command, **secret_of(client_id))
    assert got.returncode == 0, got.stderr
    assert json.loads(got.stdout)["scope"] == "country.read"


def test_curl_line_agrees_with_inspect(laptop: Laptop, tmp_path: Path) -> None:
    headers = tmp_path / "headers"
    request = ("--request", "GET", "/country/code/AUS")
    command = ("token", "get", "service-client-jwt", "--scope", "country.read")
    line = gatehouse(laptop, *command, "--curl", str(headers), *request, **secret_of("service-client-jwt")).stdout
    answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30, check=False)
    assert json.loads(answer.stdout) == {"code": "AUS", "name": "AUSTRALIA"}

    other = token(laptop, "service-client-jwt", "customer.read")
    for text, said, code in (
        (headers.read_text().split()[-1], "GET /country/code/AUS is allowed", 0),
        (other, "would open it", 1),
    ):
        explained = gatehouse(laptop, "token", "inspect", *request, input=text)
        assert explained.returncode == code, explained.stderr
        assert said in explained.stdout


def test_audience_accepts_the_clients_tokens(laptop: Laptop, tmp_path: Path) -> None:
    api = "https://shop.example"
    settings = tmp_path / "variables.yaml"
    settings.write_text(
        f'ISSUER: {laptop.addresses.issuer}\nAUDIENCE: {api}\nSCOPE_MAP: \'{{"country.read": ["GET /country"]}}\'\n'
    )
    options = ("--audience", api, "--scope", "country.read")
    secret = gatehouse(laptop, "clients", "create", "shop", *options).stdout.strip()
    got = gatehouse(laptop, "token", "get", "shop", "--scope", "country.read", "--secret-file", "-", input=secret)
    request = ("--settings", str(settings), "--request", "GET", "/country")
    explained = gatehouse(laptop, "token", "inspect", *request, input=got.stdout)
    assert explained.returncode == 0, explained.stdout + explained.stderr
    assert gatehouse(laptop, "clients", "delete", "shop", "--yes").returncode == 0


def test_revoked_token_introspects_as_inactive(laptop: Laptop, tmp_path: Path) -> None:
    client = "service-client-jwt"
    file = tmp_path / "token"
    file.write_text(token(laptop, client, "country.read"))
    introspect = ("token", "introspect", client, str(file))
    active = gatehouse(laptop, *introspect, **secret_of(client))
    assert (active.returncode, json.loads(active.stdout)["active"]) == (0, True), active.stderr
    revoke = ("token", "revoke", client, str(file))
    assert gatehouse(laptop, *revoke, **secret_of(client)).returncode == 0
    inactive = gatehouse(laptop, *introspect, **secret_of(client))
    assert (inactive.returncode, json.loads(inactive.stdout)) == (1, {"active": False})


def test_updated_client_gets_its_new_scope(laptop: Laptop) -> None:
    secret = gatehouse(laptop, "clients", "create", "grows", "--scope", "country.read").stdout
    command = ("token", "get", "grows", "--scope", "customer.read", "--secret-file", "-")
    assert gatehouse(laptop, *command, input=secret).returncode == 1
    update = ("clients", "update", "grows", "--add-scope", "customer.read")
    assert gatehouse(laptop, *update).returncode == 0
    # A warm function may use the record that it read before for 30 seconds.
    fresh = gatehouse(laptop, "clients", "show", "grows", "--json")
    assert json.loads(fresh.stdout)["scopes"] == ["country.read", "customer.read"]
    assert gatehouse(laptop, "clients", "delete", "grows", "--yes").returncode == 0


def test_opaque_token_is_inspected(laptop: Laptop) -> None:
    explained = gatehouse(laptop, "token", "inspect", input=token(laptop, "service-client-opaque", "country.read"))
    assert explained.returncode == 0, explained.stderr
    assert f"It opens {OPENED}." in explained.stdout


def test_other_apis_rules_are_inspected(laptop: Laptop) -> None:
    rules = {"audience": "https://customer.example", "scopes": {"customer.read": ["GET /orders"]}}
    systems_manager = aws_client(laptop.addresses.aws_port, "ssm")
    name = "/gatehouse/gatehouse/apis/orders1"
    systems_manager.put_parameter(Name=name, Value=json.dumps(rules), Type="String")
    client = ("service-client-api", "customer.read")
    got = token(laptop, *client, "--resource", "https://customer.example")
    about = ("--api", "orders1/live", "--request", "GET", "/orders")
    explained = gatehouse(laptop, "token", "inspect", *about, input=got)
    assert explained.returncode == 0, explained.stdout + explained.stderr
    assert f"✓ rules         rules of {name}" in explained.stdout
    refused = gatehouse(laptop, "token", "inspect", *about, input=token(laptop, *client))
    assert (refused.returncode, "The token is for another API" in refused.stdout) == (1, True)
    systems_manager.delete_parameter(Name=name)


def test_announced_key_is_withdrawn(laptop: Laptop) -> None:
    # Another test may have rotated the keys before: what it left is there as well.
    before = json.loads(gatehouse(laptop, "keys", "list", "--json").stdout)
    (key,) = [each for each in before if each["state"] == "signs"]
    refused = gatehouse(laptop, "keys", "retire", key["kid"], "--yes")
    assert (refused.returncode, "no other key is to sign" in refused.stderr) == (1, True)
    announced = json.loads(gatehouse(laptop, "keys", "rotate", "--yes", "--json").stdout)
    listed = json.loads(gatehouse(laptop, "keys", "list", "--json").stdout)
    states = {each["kid"]: each["state"] for each in listed}
    assert (states[key["kid"]], states[announced["kid"]]) == ("signs", "announced")
    unanswered = gatehouse(laptop, "keys", "emergency", "--revoke", key["kid"])
    assert (unanswered.returncode, "First, within 30 seconds" in unanswered.stderr) == (2, True)
    assert gatehouse(laptop, "keys", "retire", announced["kid"], "--yes").returncode == 0
    assert json.loads(gatehouse(laptop, "keys", "list", "--json").stdout) == before
