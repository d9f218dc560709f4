import json
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.client_secret import ClientSecretBasic, ClientSecretPost
from functions.shared.authentication.credentials import CredentialSource, PresentedCredentials
from functions.shared.clients.client import Client
from functions.shared.clients.client_secrets import SecretVerifier, StoredSecret, digest_generated
from functions.shared.web.audit import AuditEntry
from functions.shared.web.oauth_errors import InvalidClientError, InvalidRequestError
from tests.support.assertions import authenticate
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryClients
from tests.support.proxy_events import basic, token_event
from tests.support.server import NOW, SECRET, client

ODD_SECRET = "a+b %:ä&="
POST = {"client_id": "service", "client_secret": SECRET}
BASIC = basic("service", SECRET)
GENERATED = StoredSecret(digest_generated(SECRET))


@dataclass
class Authenticator:
    """A server's client authentication with these clients, and its effects."""

    clients: tuple[Client, ...] = (
        client("service"),
        client("odd id:", secrets=(StoredSecret(digest_generated(ODD_SECRET)),)),
        client("post-only", authentication_methods=frozenset({"client_secret_post"})),
        client("basic-only", authentication_methods=frozenset({"client_secret_basic"})),
        client("disabled", disabled=True),
        client("no-secret", secrets=()),
        client("expired", secrets=(StoredSecret(GENERATED.digest, expires_at=NOW),)),
    )
    scrypts: int = 0
    entry: AuditEntry = field(default_factory=lambda: AuditEntry("issue_token"))

    def knock(self, parameters: dict[str, str], **rest: Any) -> Client:
        secrets = SecretVerifier(self._scrypt)
        methods = (ClientSecretBasic(secrets), ClientSecretPost(secrets))
        registry = MemoryClients(*self.clients)
        authentication = ClientAuthentication(registry, methods, ManualClock(NOW))
        return authenticate(authentication, token_event(parameters, **rest), self.entry)

    def _scrypt(self, secret: str, digest: str) -> bool:
        self.scrypts += 1
        return False

    @property
    def log(self) -> dict[str, object]:
        line: dict[str, object] = json.loads(self.entry.to_json())
        return line


def test_client_secret_post_authenticates() -> None:
    authenticator = Authenticator()
    assert authenticator.knock(POST).client_id == "service"
    assert authenticator.log["client_id"] == "service"
    assert authenticator.log["authentication_method"] == "client_secret_post"


def test_client_secret_basic_authenticates() -> None:
    authenticator = Authenticator()
    assert authenticator.knock({}, headers=BASIC).client_id == "service"
    assert authenticator.log["authentication_method"] == "client_secret_basic"


def test_both_parts_of_basic_are_form_decoded() -> None:
    assert Authenticator().knock({}, headers=basic("odd id:", ODD_SECRET)).client_id == "odd id:"


@pytest.mark.parametrize("secret", ["q+/8w==", "p:w", "a&b+c", "50%off+", "100%"])
def test_unencodable_basic_part_is_verbatim(secret: str) -> None:
    registered = client("imported", secrets=(StoredSecret(digest_generated(secret)),))
    headers = {"Authorization": f"Basic {_encoded(f'imported:{secret}'.encode())}"}
    assert Authenticator(clients=(registered,)).knock({}, headers=headers).client_id == "imported"


def test_plus_in_encoded_basic_part_is_a_space() -> None:
    registered = client("imported", secrets=(StoredSecret(digest_generated("a+b")),))
    headers = {"Authorization": f"Basic {_encoded(b'imported:a+b')}"}
    with pytest.raises(InvalidClientError):
        Authenticator(clients=(registered,)).knock({}, headers=headers)


def test_basic_with_the_same_client_id_in_the_form_authenticates() -> None:
    assert Authenticator().knock({"client_id": "service"}, headers=BASIC).client_id == "service"


REFUSED = {
    "unknown client": {"client_id": "absent", "client_secret": SECRET},
    "impossible client id": {"client_id": "ä" * 5000, "client_secret": SECRET},
    "wrong secret": {"client_id": "service", "client_secret": "wrong"},
    "disabled client, right secret": {"client_id": "disabled", "client_secret": SECRET},
    "disabled client, wrong secret": {"client_id": "disabled", "client_secret": "wrong"},
    "method not allowed, right secret": {"client_id": "basic-only", "client_secret": SECRET},
    "method not allowed, wrong secret": {"client_id": "basic-only", "client_secret": "wrong"},
    "client without a secret": {"client_id": "no-secret", "client_secret": SECRET},
    "expired secret": {"client_id": "expired", "client_secret": SECRET},
}


@pytest.mark.parametrize("parameters", REFUSED.values(), ids=REFUSED)
def test_every_failure_is_the_same_401(parameters: dict[str, str]) -> None:
    authenticator = Authenticator()
    with pytest.raises(InvalidClientError) as refusal:
        authenticator.knock(parameters)
    assert refusal.value.description == "Client authentication failed."
    assert authenticator.scrypts == 1
    assert refusal.value.__cause__ is None
    assert "client_id" not in authenticator.log


def test_post_only_client_cannot_use_basic() -> None:
    authenticator = Authenticator()
    with pytest.raises(InvalidClientError, match="may not use this method"):
        authenticator.knock({}, headers=basic("post-only", SECRET))
    assert authenticator.scrypts == 1


@pytest.mark.parametrize("parameters", [{}, {"client_id": "service"}, {"client_secret": ""}])
def test_missing_credentials_are_invalid_client(parameters: dict[str, str]) -> None:
    with pytest.raises(InvalidClientError, match="no client authentication"):
        Authenticator().knock(parameters)


def test_another_scheme_is_a_failed_authentication() -> None:
    with pytest.raises(InvalidClientError, match="another scheme"):
        Authenticator().knock(POST, headers={"Authorization": "Bearer abc"})


class Careless:
    """A method that returns no result."""

    name = "careless"
    credential = "client_secret"

    def read(self, source: CredentialSource) -> PresentedCredentials[str] | None:
        return PresentedCredentials(source.form.require("client_id"), "")

    def verify(self, presented: PresentedCredentials[str], client: Client | None, now: float) -> None:
        """Accept every value."""


def test_method_without_result_authenticates_no_client() -> None:
    authentication = ClientAuthentication(MemoryClients(), [Careless()], ManualClock(NOW))
    with pytest.raises(InvalidClientError, match="unknown client"):
        authenticate(authentication, token_event({"client_id": "absent", "client_secret": "x"}))


def test_two_methods_at_once_are_an_invalid_request() -> None:
    with pytest.raises(InvalidRequestError, match="More than one"):
        Authenticator().knock(POST, headers=BASIC)


def test_two_different_client_ids_are_an_invalid_request() -> None:
    with pytest.raises(InvalidRequestError, match="differs"):
        Authenticator().knock({"client_id": "other"}, headers=BASIC)


def test_secret_without_client_id_is_invalid() -> None:
    with pytest.raises(InvalidRequestError, match="client_id is missing"):
        Authenticator().knock({"client_secret": SECRET})


def test_two_authorization_headers_are_an_invalid_request() -> None:
    with pytest.raises(InvalidRequestError, match="authorization header was sent more than once"):
        Authenticator().knock({}, headers={"Authorization": [BASIC["Authorization"]] * 2})


@pytest.mark.parametrize("name", ["client_id", "client_secret", "client_assertion"])
def test_credentials_in_the_uri_are_an_invalid_request(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="in the URI"):
        Authenticator().knock(POST, query={name: "x"})


def _encoded(credentials: bytes) -> str:
    return b64encode(credentials).decode()


MALFORMED = {
    "no credentials": "",
    "not base64": "%%%%",
    "base64url": "-_-_",
    "no padding": _encoded(b"service:x").rstrip("=") + "A",
    "tab before": "\t" + _encoded(b"service:secret"),
    "newline inside": "c2Vy\ndmljZTp4",
    "no colon": _encoded(b"service"),
    "control character": _encoded(b"service:a\x00"),
    "not ascii": _encoded("service:ä".encode()),
    "percent-encoding that is not utf-8": _encoded(b"service:%ff"),
    "no client id": _encoded(b":secret"),
}


@pytest.mark.parametrize("scheme", ["Basic ", "basic ", "BASIC   "])
def test_rfc9110_11_4_scheme_case_and_spaces_are_ignored(scheme: str) -> None:
    credentials = BASIC["Authorization"].removeprefix("Basic ")
    assert Authenticator().knock({}, headers={"Authorization": scheme + credentials}).client_id == "service"


@pytest.mark.parametrize("credentials", MALFORMED.values(), ids=MALFORMED)
def test_unreadable_basic_is_an_invalid_request(credentials: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        Authenticator().knock({}, headers={"Authorization": f"Basic {credentials}"})
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("parameters", [POST, *REFUSED.values()])
def test_log_has_no_secret(parameters: dict[str, str]) -> None:
    authenticator = Authenticator()
    with suppress(InvalidClientError):
        authenticator.knock(parameters)
    assert parameters["client_secret"] not in authenticator.entry.to_json()
