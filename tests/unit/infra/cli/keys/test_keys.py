import json
import re

import boto3
import pytest
from botocore.model import OperationModel
from click.testing import CliRunner
from click.testing import Result as ClickResult

from functions.rotate_keys.handler import Settings
from functions.shared.clients.client import TokenFormat, to_item
from functions.shared.keys import key_ring, signing_keys
from functions.shared.keys.key_ring import KeyRing
from functions.shared.keys.rotation import PROPAGATION_SECONDS, RETENTION_NEEDED
from functions.shared.storage.secrets_manager import SecretStore
from infra.build import ROOT
from infra.cli.app import app
from infra.cli.context import CommandContext, Deployment
from infra.cli.key_operations import rotation_settings
from infra.cli.keys import STATE_WORDS, lives
from tests.support.cli import AWS, STACK, CommandLine, DelayedInput, Result, aws_client, deploy, physical_name
from tests.support.deployed_template import transformed
from tests.support.server import NOW, client, key

DAY, HOUR = 86_400, 3_600
FIRST = key(1).kid


def ring_of(stack: str = STACK) -> KeyRing:
    secret = physical_name("KeyRingSecret", stack)
    return key_ring.from_json(SecretStore(AWS).read(secret))


def private_key_ids() -> set[str]:
    secret = physical_name("SigningKeysSecret")
    return set(signing_keys.from_json(SecretStore(AWS).read(secret)))


def states(listed: Result) -> dict[str, str]:
    return {each["kid"]: each["state"] for each in listed.json}


def later(gatehouse: CommandLine, seconds: float) -> None:
    gatehouse.clock.now += seconds


def test_list_shows_states_and_times(gatehouse: CommandLine) -> None:
    assert gatehouse("keys", "rotate", "--yes").code == 0
    listed = gatehouse("keys", "list")
    assert listed.code == 0
    in_json = gatehouse("keys", "list", "--json").json
    old, new = (each["kid"] for each in in_json)
    lines = [line.rstrip() for line in listed.stdout.splitlines()]
    assert lines[:6] == [
        FIRST,
        "  RS256, Secrets Manager: current",
        "  published      2023-11-14 21:56 UTC, 16 min 40 s ago",
        "  signs from     2023-11-14 21:56 UTC, 16 min 40 s ago",
        "  signs until    2023-11-15 22:13 UTC, in 1 d",
        "  deleted after  2023-11-17 22:13 UTC, in 3 d",
    ]
    assert re.fullmatch(r"  █*│█+▒+", lines[6])
    second = lines[lines.index(new) :]
    assert second[1:6] == [
        "  RS256, Secrets Manager: upcoming",
        "  published      2023-11-14 22:13 UTC, 0 s ago",
        "  signs from     2023-11-15 22:13 UTC, in 1 d",
        "  signs until    a successor signs",
        "  deleted after  its last token expires",
    ]
    assert re.fullmatch(r"  *│░+█+…", second[6])
    assert (old, max(map(len, lines)) <= 80) == (FIRST, True)
    assert in_json[0] == {
        "kid": FIRST,
        "alg": "RS256",
        "state": "signs",
        "edition": "secrets-manager",
        "announced_at": "2023-11-14T21:56:40Z",
        "signs_from": "2023-11-14T21:56:40Z",
        "retired_at": "2023-11-15T22:13:20Z",
        "removable_from": "2023-11-16T22:20:50Z",
        "deleted_after": "2023-11-17T22:13:20Z",
    }
    assert [in_json[1][name] for name in ("retired_at", "removable_from", "deleted_after")] == [None] * 3


def test_timeline_is_to_scale() -> None:
    ended = key_ring.RingKey(
        kid=FIRST,
        alg="RS256",
        public_jwk=key(1).public_jwk,
        publish_from=NOW,
        sign_from=NOW + 10 * HOUR,
        sign_until=NOW + 30 * HOUR,
        publish_until=NOW + 60 * HOUR,
    )
    line = lives(KeyRing((ended,)), NOW + 70 * HOUR, 80)[6].plain
    counts = {mark: line.count(mark) for mark in "░█▒│"}
    # 70 hours and a sixth more, in 60 columns.
    assert counts == {"░": 7, "█": 15, "▒": 22, "│": 1}


def test_rotate_announces_a_key(gatehouse: CommandLine) -> None:
    made = gatehouse("keys", "rotate", "--yes", "--json")
    kid = made.json["kid"]
    assert states(gatehouse("keys", "list", "--json")) == {FIRST: "signs", kid: "announced"}
    assert kid in private_key_ids()
    later(gatehouse, DAY + 1)
    assert states(gatehouse("keys", "list", "--json")) == {FIRST: "retired", kid: "signs"}
    later(gatehouse, 2 * DAY)
    assert states(gatehouse("keys", "list", "--json")) == {FIRST: "gone", kid: "signs"}


def test_second_successor_is_rejected(gatehouse: CommandLine) -> None:
    gatehouse("keys", "rotate", "--yes")
    key_ids = private_key_ids()
    refused = gatehouse("keys", "rotate", "--yes")
    assert refused.code == 1
    assert "Only one key can be upcoming at a time" in refused.stderr
    assert "2023-11-15 22:13 UTC" in refused.stderr
    assert private_key_ids() == key_ids


def test_announcement_survives_concurrent_writes(gatehouse: CommandLine) -> None:
    answer = DelayedInput("y\n", lambda: gatehouse("keys", "rotate", "--yes"))
    refused = gatehouse("keys", "rotate", answer=answer)
    assert refused.code == 1
    assert "already upcoming" in refused.stderr
    assert len(ring_of().keys) == 2


def test_rotate_without_signing_key_is_rejected(account: None, cli: CommandLine) -> None:
    deploy(kept=KeyRing(()))
    assert "keys emergency" in cli("keys", "rotate", "--yes").stderr
    listed = cli("keys", "list")
    assert (listed.code, listed.stdout) == (3, "")
    assert cli("keys", "emergency", "--yes").code == 0
    assert list(states(cli("keys", "list", "--json")).values()) == ["signs"]


def test_expired_key_is_retired(gatehouse: CommandLine) -> None:
    gatehouse("keys", "rotate", "--yes")
    ended = ring_of().keys[0].sign_until or 0
    for now in (NOW + HOUR, ended + HOUR, ended + PROPAGATION_SECONDS + RETENTION_NEEDED - 1):
        gatehouse.clock.now = now
        refused = gatehouse("keys", "retire", FIRST, "--yes")
        assert refused.code == 1
        assert "its tokens can be valid for another" in refused.stderr
        assert "2023-11-16 22:20 UTC" in refused.stderr
    later(gatehouse, 1)
    assert gatehouse("keys", "retire", FIRST, "--yes", "--json").json == {"kid": FIRST, "retired": True}
    assert FIRST not in {each.kid for each in ring_of().keys}


def test_retired_successor_reopens_its_predecessor(gatehouse: CommandLine) -> None:
    kid = gatehouse("keys", "rotate", "--yes", "--json").json["kid"]
    later(gatehouse, DAY - PROPAGATION_SECONDS)
    refused = gatehouse("keys", "retire", kid, "--yes")
    assert (refused.code, "Some processes would not know" in refused.stderr) == (1, True)
    later(gatehouse, -1)
    assert gatehouse("keys", "retire", kid, "--yes").code == 0
    later(gatehouse, 9 * DAY)
    assert states(gatehouse("keys", "list", "--json")) == {FIRST: "signs"}


def test_refused_command_changes_no_key(gatehouse: CommandLine) -> None:
    hyphened = "-h" + "A" * 41
    for command, code, said in (
        (("rotate",), 2, "The confirmation got no input"),
        (("retire", "absent", "--yes"), 3, "gatehouse keys list"),
        (("emergency", "--revoke", "absent", "--yes"), 3, "gatehouse keys list"),
        (("retire", hyphened, "--yes"), 3, f"no key {hyphened}"),
        (("emergency", "--revoke", hyphened, "--yes"), 3, f"no key {hyphened}"),
        (("emergency", "--revoke", FIRST, "--algorithm", "ES256", "--yes"), 2, "is for RS256"),
        (("retire", FIRST, "--yes"), 1, "no other key is to sign RS256 tokens after it"),
        (("retire", FIRST, "--yes"), 1, "gatehouse keys rotate. Then the key can be retired from 2023-11-16 22:20 UTC"),
    ):
        refused = gatehouse("keys", *command)
        assert (refused.code, said in refused.stderr) == (code, True), refused.stderr
    assert gatehouse("keys", "rotate", answer="n\n").code == 1
    assert [each.kid for each in ring_of().keys] == [FIRST]


def test_emergency_reports_first_what_breaks(gatehouse: CommandLine) -> None:
    for client_id, changes in (
        ("billing", {"token_lifetime": HOUR}),
        ("opaque", {"token_format": TokenFormat.OPAQUE}),
        ("other", {"signing_algorithm": "ES256"}),
    ):
        aws_client("dynamodb").put_item(
            TableName=physical_name("ClientsTable"), Item=to_item(client(client_id, **changes))
        )
    result = gatehouse("keys", "emergency", "--revoke", FIRST, answer="n\n")
    assert (result.code, [each.kid for each in ring_of().keys]) == (1, [FIRST])
    assert "the key set may lack the new key" in result.stderr
    assert f"Every RS256 token signed by key {FIRST} is rejected" in result.stderr
    assert "Affected: 1 client, billing." in result.stderr
    # An hour, and what slow processes sign in the meantime.
    assert "expiring by 2023-11-14 23:19 UTC" in result.stderr
    assert "No cache accepts one after 2023-11-14 23:19 UTC" in result.stderr
    assert result.stderr.index("Affected") < result.stderr.index("[y/N]")


@pytest.mark.parametrize("revoke", [(), ("--revoke", FIRST)])
def test_emergency_asks_before_it_removes_an_upcoming_key(gatehouse: CommandLine, revoke: tuple[str, ...]) -> None:
    upcoming = gatehouse("keys", "rotate", "--yes", "--json").json["kid"]
    refused = gatehouse("keys", "emergency", *revoke, answer="n\n")
    assert f"The upcoming key {upcoming} is removed" in refused.stderr
    assert f"and remove the upcoming key {upcoming}" in refused.stderr.splitlines()[-2]
    assert {each.kid for each in ring_of().keys} == {FIRST, upcoming}
    done = gatehouse("keys", "emergency", *revoke, "--yes")
    assert f"Upcoming key {upcoming} removed." in done.stdout
    assert upcoming not in {each.kid for each in ring_of().keys}


def test_revocation_of_an_upcoming_key_removes_no_other(gatehouse: CommandLine) -> None:
    upcoming = gatehouse("keys", "rotate", "--yes", "--json").json["kid"]
    done = gatehouse("keys", "emergency", "--revoke", upcoming, "--yes")
    assert done.stdout.strip() == f"Key {upcoming} revoked."


def test_documentation_has_the_states_of_text_and_json() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    rows = dict(re.findall(r"^\| (\w+) \| `([\w-]+)` \| ", page, re.MULTILINE))
    assert rows == {shown: in_json for in_json, shown in STATE_WORDS.items()}


def test_key_is_revoked_after_another_signs(gatehouse: CommandLine) -> None:
    done = gatehouse("keys", "emergency", "--revoke", FIRST, "--yes", "--json")
    made = done.json["made"]
    assert (done.code, done.json) == (0, {"made": made, "signs": made, "revoked": FIRST})
    assert states(gatehouse("keys", "list", "--json")) == {made: "signs"}
    second = gatehouse("keys", "emergency", "--yes", "--json").json["signs"]
    assert states(gatehouse("keys", "list", "--json")) == {made: "retired", second: "signs"}
    retired = gatehouse("keys", "emergency", "--revoke", made, "--yes", "--json").json
    assert retired == {"made": None, "signs": second, "revoked": made}


def emergency_while_another(gatehouse: CommandLine, *calls: str) -> tuple[ClickResult, Result]:
    """An emergency, and another that comes and ends right after these calls about the ring."""
    left = list(calls)
    others: list[Result] = []

    def heard(parsed: dict[str, str], model: OperationModel, **_: object) -> None:
        if left and (parsed.get("Name"), model.name) == (f"{STACK}-KeyRingSecret", left[0]):
            left.pop(0)
            if not left:
                others.append(gatehouse("keys", "emergency", "--yes", "--json"))

    session = boto3.Session()
    session.events.register("after-call.secrets-manager", heard)
    world = CommandContext(gatehouse.clock, {"GATEHOUSE_STACK": STACK}, lambda _profile, _region: session)
    first = CliRunner().invoke(app, ["keys", "emergency", "--yes", "--json"], obj=world)
    (other,) = others
    return first, other


def test_concurrent_emergency_reports_the_other_key(gatehouse: CommandLine) -> None:
    beaten, winner = emergency_while_another(gatehouse, "UpdateSecretVersionStage")
    kid = winner.json["made"]
    assert (winner.code, winner.json["signs"]) == (0, kid)
    assert (beaten.exit_code, beaten.stdout) == (5, "")
    said = f"Another process made key {kid} sign at the same moment, so no second key was added."
    assert json.loads(beaten.stderr)["error"] == said
    assert states(gatehouse("keys", "list", "--json"))[kid] == "signs"


def test_emergency_reads_the_signing_key_back(gatehouse: CommandLine) -> None:
    calls = ("UpdateSecretVersionStage", "GetSecretValue")  # written, and found to be written
    first, other = emergency_while_another(gatehouse, *calls)
    said = json.loads(first.stdout)
    assert (first.exit_code, said["signs"]) == (5, other.json["made"])
    assert states(gatehouse("keys", "list", "--json"))[said["made"]] == "retired"
    told = f"key {said['made']} was created and does not sign; key {said['signs']} does."
    assert told in json.loads(first.stderr)["error"]


def test_algorithm_is_required_if_several(account: None, cli: CommandLine) -> None:
    deploy(given={"SigningAlgorithms": "RS256,ES256"})
    result = cli("keys", "rotate", "--yes")
    assert (result.code, "RS256, ES256" in result.stderr) == (2, True)
    assert cli("keys", "rotate", "--yes", "--algorithm", "RS256").code == 0
    assert cli("keys", "emergency", "--yes", "--algorithm", "ES256").code == 0
    assert {each.alg for each in ring_of().keys} == {"RS256", "ES256"}


def test_kms_backend_creates_kms_keys(account: None, cli: CommandLine) -> None:
    deploy(given={"KeyEdition": "kms"})
    made = cli("keys", "rotate", "--yes", "--json").json
    (arn,) = [each.signer for each in ring_of().keys if each.kid == made["kid"]]
    tags = aws_client("kms").list_resource_tags(KeyId=arn)["Tags"]
    assert tags == [{"TagKey": "gatehouse:stack", "TagValue": STACK}]
    assert made["edition"] == "kms"


def test_unsafe_parameters_are_rejected_first(account: None, cli: CommandLine) -> None:
    deploy(given={"KeyAnnounceHours": "1"})
    refused = cli("keys", "rotate", "--yes")
    assert refused.code == 1
    assert "a key is announced for 3600 seconds" in refused.stderr
    assert len(ring_of().keys) == 1


def test_rules_equal_those_of_rotate_keys() -> None:
    resources = transformed()["Resources"]
    variables = resources["RotateKeys"]["Properties"]["Environment"]["Variables"]
    values = {
        "KeyEdition": "kms",
        "SigningAlgorithms": "ES256",
        "KeySigningDays": "7",
        "KeyAnnounceHours": "3",
        "KeyRetireHours": "30",
        "AuthorizerKeyCacheSeconds": "600",
    }
    known = {"KeyRingSecret": "ring", "SigningKeysSecret": "key_ids"}
    deployment = Deployment(name=STACK, issuer="", guarded_api="", region="", resources=known, parameters=values)
    said = {"AWS::StackName": STACK, **values, **known}
    environ = {name: said[reference["Ref"]] for name, reference in variables.items()}
    assert rotation_settings(deployment) == Settings.from_env(environ)
