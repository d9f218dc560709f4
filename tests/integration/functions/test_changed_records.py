"""Cached records that would make a process reject are read again first, whatever the method."""

import json
from typing import Any

import pytest

from functions.issue_token import handler as issue_token
from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.client_secret import secret_methods
from functions.shared.authentication.rate_limit import FailureLimiter, Limits
from functions.shared.clients.assertion_rules import AssertionRules, FederationRule
from functions.shared.clients.certificate_name import CertificateName, CertificateNameKind
from functions.shared.clients.client import Client
from functions.shared.clients.client_registry import RELOADS_A_SECOND, CachedClients
from functions.shared.clients.client_secrets import StoredSecret, digest_generated
from functions.shared.keys import key_ring, signing_keys
from functions.shared.storage.errors import StorageUnavailableError
from functions.shared.web.audit import AuditEntry
from functions.shared.web.form import read_form
from functions.shared.web.oauth_errors import OAuthError
from functions.shared.web.proxy_request import certificate_from_pem, read_event
from infra.cli.client_registration import rotated
from tests.support.assertions import assertion, assertion_claims, assertion_form
from tests.support.aws import ISSUER, KEY_RING_SECRET, SIGNING_KEYS_SECRET, AwsAccount
from tests.support.aws_server import GRANT, AwsServer, granted
from tests.support.client_certificates import certificate_pem, with_certificate
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryClients, MemoryCounters
from tests.support.proxy_events import basic, token_event
from tests.support.server import NOW, SECRET, client, key, ring
from tests.support.tokens import ec_jwk

NEW_SECRET = "gh_cs_" + "n" * 43
SECRET_EVENT = token_event(GRANT, headers=basic("service", SECRET))


class Functions(AwsServer):
    """Warm functions, of which another process issues tokens too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.secrets.write(KEY_RING_SECRET, key_ring.to_json(ring(key(1))))
        keys = {each.kid: each.private_pem for each in (key(1), key(2), key(1, "ES256"))}
        self.secrets.write(SIGNING_KEYS_SECRET, signing_keys.to_json(keys))
        self.other_token_endpoint = self.build(issue_token)

    def change(self, changed: Client) -> None:
        """Store a client a moment after whatever was read before."""
        self.clients.put(changed)
        self.clock.now += 0.1

    def other_token(self, client_id: str = "service") -> str:
        event = token_event(GRANT, headers=basic(client_id, SECRET))
        return str(granted(self.other_token_endpoint(event))["access_token"])

    def is_active(self, token: str, caller: str = "service") -> bool:
        return bool(self.introspect(token, caller)["active"])


@pytest.fixture
def functions(aws: AwsAccount, clock: ManualClock) -> Functions:
    return Functions(aws, clock)


KEYED: dict[str, Any] = {"authentication_methods": frozenset({"private_key_jwt"}), "secrets": ()}
CERTIFIED: dict[str, Any] = {"authentication_methods": frozenset({"tls_client_auth"}), "secrets": ()}
PINNED: dict[str, Any] = {"authentication_methods": frozenset({"self_signed_tls_client_auth"}), "secrets": ()}


def _assertion_event(kid: str) -> dict[str, Any]:
    claims = assertion_claims(NOW, iss="service", sub="service")
    return token_event(assertion_form(assertion(claims, kid=kid)))


def _certificate_event() -> dict[str, Any]:
    return with_certificate(token_event(GRANT | {"client_id": "service"}), PEM)


PEM = certificate_pem("CN=new")
OLD_PEM = certificate_pem("CN=old")
CHANGES = {
    "keys": (
        client("service", **KEYED, assertion=AssertionRules(jwks=json.dumps({"keys": [ec_jwk("old")]}))),
        client("service", **KEYED, assertion=AssertionRules(jwks=json.dumps({"keys": [ec_jwk("new")]}))),
        _assertion_event("new"),
    ),
    "certificate name": (
        client("service", **CERTIFIED, certificate_name=CertificateName(CertificateNameKind.SUBJECT_DN, "CN=old")),
        client("service", **CERTIFIED, certificate_name=CertificateName(CertificateNameKind.SUBJECT_DN, "CN=new")),
        _certificate_event(),
    ),
    "certificate": (
        client("service", **PINNED, certificate_thumbprints=frozenset({certificate_from_pem(OLD_PEM).thumbprint})),
        client("service", **PINNED, certificate_thumbprints=frozenset({certificate_from_pem(PEM).thumbprint})),
        _certificate_event(),
    ),
    "method": (
        client("service"),
        client("service", **PINNED, certificate_thumbprints=frozenset({certificate_from_pem(PEM).thumbprint})),
        _certificate_event(),
    ),
    "secret": (
        client("service", secrets=(StoredSecret(digest_generated(NEW_SECRET)),)),
        client("service"),
        SECRET_EVENT,
    ),
    "disabled": (client("service", disabled=True), client("service"), SECRET_EVENT),
    "unknown": (client("another"), client("service"), SECRET_EVENT),
}


@pytest.mark.parametrize(("before", "after", "event"), CHANGES.values(), ids=CHANGES)
def test_changed_client_is_accepted_at_once(
    functions: Functions, before: Client, after: Client, event: dict[str, Any]
) -> None:
    functions.change(before)
    assert functions.token_endpoint(event)["statusCode"] == 401
    functions.change(after)
    assert functions.token_endpoint(event)["statusCode"] == 200


def test_rotated_secret_and_its_predecessor_are_accepted_at_once(functions: Functions) -> None:
    functions.change(client("service"))
    assert functions.status("service") == 200
    new = StoredSecret(digest_generated(NEW_SECRET))
    functions.change(rotated(client("service"), new, NOW + 3600, NOW))
    assert [functions.status("service", secret) for secret in (NEW_SECRET, SECRET)] == [200, 200]


def test_new_federation_rule_applies_at_once(functions: Functions) -> None:
    usual: dict[str, Any] = {"authentication_methods": frozenset({"federated_jwt"}), "secrets": ()}
    idp = "https://127.0.0.1:9"
    before = FederationRule(issuer="https://another.example", audience=ISSUER, subject="a")
    after = FederationRule(issuer=idp, audience=ISSUER, subject="a")
    functions.change(client("service", **usual, federation=(before,)))
    claims = assertion_claims(NOW, iss=idp, sub="a")
    event = token_event(assertion_form(assertion(claims), client_id="service"))
    assert functions.token_endpoint(event)["statusCode"] == 401
    functions.change(client("service", **usual, federation=(before, after)))
    # The new rule requires the issuer's keys, and its address does not answer.
    assert functions.token_endpoint(event)["statusCode"] == 503


@pytest.mark.parametrize(
    ("changes", "request_"),
    [
        ({"scopes": frozenset({"country.delete"})}, {"scope": "country.delete"}),
        ({"allowed_resources": frozenset({"https://api.example"})}, {"resource": "https://api.example"}),
    ],
    ids=["scope", "resource"],
)
def test_new_right_is_granted_at_once(functions: Functions, changes: dict[str, Any], request_: dict[str, str]) -> None:
    functions.change(client("service"))
    assert functions.status("service") == 200
    functions.change(client("service", **changes))
    assert functions.status("service", **request_) == 200


def test_rejection_by_a_current_record_stays(functions: Functions) -> None:
    functions.change(client("service"))
    assert functions.status("service") == 200
    functions.change(client("service", name="renamed"))
    assert functions.status("service", scope="unknown") == 400
    functions.change(client("service", disabled=True))
    functions.clock.now += 1
    assert functions.status("service", scope="unknown") == 400


def test_key_of_another_algorithm_signs_at_once(functions: Functions) -> None:
    functions.change(client("service"))
    functions.change(client("other", signing_algorithm="ES256"))
    assert functions.status("service") == 200
    assert functions.status("other") == 500
    functions.secrets.write(KEY_RING_SECRET, key_ring.to_json(ring(key(1), key(1, "ES256"))))
    functions.clock.now += 1
    assert functions.status("other") == 200


def test_token_of_a_new_key_is_active_at_once(functions: Functions) -> None:
    functions.change(client("service"))
    functions.is_active("eyJ.eyJ.x")
    first = functions.other_token()
    assert functions.is_active(first)
    functions.secrets.write(KEY_RING_SECRET, key_ring.to_json(ring(key(2))))
    functions.clock.now += 31
    assert functions.is_active(first) is False  # both have reloaded, and the first key was removed
    functions.secrets.write(KEY_RING_SECRET, key_ring.to_json(ring(key(1), key(2))))
    functions.clock.now += 1.1
    assert functions.is_active(first)


def test_token_of_enabled_client_is_active_at_once(functions: Functions) -> None:
    functions.change(client("service"))
    functions.change(client("caller", resource_audiences=frozenset({"service"})))
    token = functions.other_token()
    functions.change(client("service", disabled=True))
    assert not functions.is_active(token, "caller")
    functions.change(client("service"))
    assert functions.is_active(token, "caller")


def test_token_is_visible_at_once_to_a_new_owner(functions: Functions) -> None:
    functions.change(client("service"))
    functions.change(client("caller"))
    token = functions.other_token()
    assert not functions.is_active(token, "caller")
    functions.change(client("caller", resource_audiences=frozenset({"service"})))
    assert functions.is_active(token, "caller")


def test_guesses_without_a_current_record_are_counted() -> None:
    clock = ManualClock(NOW)
    ids = [f"service-{number}" for number in range(RELOADS_A_SECOND + 1)]
    registry = MemoryClients(*map(client, ids))
    authentication = ClientAuthentication(
        CachedClients(registry, clock), secret_methods(), clock, FailureLimiter(MemoryCounters(), Limits(per_source=3))
    )

    def status(client_id: str, secret: str) -> int:
        request = read_event(token_event(GRANT, headers=basic(client_id, secret)))
        try:
            authentication.authenticate(request, read_form(request), AuditEntry("issue_token"))
        except OAuthError as error:
            return error.status
        except StorageUnavailableError:
            return 503
        return 200

    for each in ids:
        assert status(each, SECRET) == 200
    clock.now += 0.1
    assert {status(each, "x") for each in ids[:-1]} == {401}
    registry.put(
        client(ids[-1], secrets=(StoredSecret(digest_generated(SECRET)), StoredSecret(digest_generated(NEW_SECRET))))
    )
    assert status(ids[-1], NEW_SECRET) == 503
    assert [status(ids[-1], "x") for _ in range(3)] == [503, 503, 429]
