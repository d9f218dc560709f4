import pytest

from functions.issue_token.grants import Grant, TokenRequest, decide_grant, grant_client_credentials
from functions.shared.clients.client import Client, TokenProfile
from functions.shared.web.form import Form
from functions.shared.web.oauth_errors import (
    InvalidRequestError,
    InvalidScopeError,
    UnauthorizedClientError,
    UnsupportedGrantTypeError,
)
from tests.support.server import NOW, client


def _form(**parameters: str) -> Form:
    values = {"grant_type": "client_credentials", **parameters}
    return Form({name: (value,) for name, value in values.items() if value})


def decide(known: Client, form: Form) -> Grant:
    return decide_grant(TokenRequest(known, form, NOW), {"client_credentials": grant_client_credentials})


def test_scopes_are_granted_in_requested_order() -> None:
    grant = decide(client(), _form(scope="customer.write country.read"))
    assert grant.scopes == ("customer.write", "country.read")


def test_scope_requested_twice_is_granted_once() -> None:
    grant = decide(client(), _form(scope="country.read customer.read country.read"))
    assert grant.scopes == ("country.read", "customer.read")


def test_request_without_scope_gets_the_defaults() -> None:
    known = client(default_scopes=("customer.read", "country.read"))
    assert decide(known, _form()).scopes == ("customer.read", "country.read")


def test_request_without_scope_or_default_gets_none() -> None:
    assert decide(client(), _form()).scopes == ()


@pytest.mark.parametrize(
    "scope",
    [
        "unknown",
        "country.read unknown",
        "COUNTRY.READ",
        "country.*",
        "country.read  customer.read",
        " country.read",
        "country.read ",
        " ",
        "country.read\tcustomer.read",
        'country.read"',
    ],
)
def test_invalid_scope_is_rejected(scope: str) -> None:
    with pytest.raises(InvalidScopeError):
        decide(client(), _form(scope=scope))


@pytest.mark.parametrize("scope", ["country.delete", "https://api.example/orders:read+all", "x" * 128])
def test_refused_scope_is_named_to_the_client_only(scope: str) -> None:
    with pytest.raises(InvalidScopeError) as refusal:
        decide(client(), _form(scope=f"country.read {scope}"))
    assert refusal.value.description == f"The scope {scope} is unknown or not allowed for this client."
    assert scope not in refusal.value.reason


@pytest.mark.parametrize("scope", ["<script>", "x" * 129, "a'b", "a\tb", "é", '"', ""])
def test_unusual_scope_is_not_echoed(scope: str) -> None:
    with pytest.raises(InvalidScopeError) as refusal:
        decide(client(), _form(scope=f"country.read {scope}"))
    assert refusal.value.description == refusal.value.reason == InvalidScopeError.default_description


def test_missing_grant_type_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequestError, match="grant_type is missing"):
        decide(client(), _form(grant_type=""))


@pytest.mark.parametrize("grant_type", ["password", "authorization_code", "Client_Credentials"])
def test_unknown_grant_type_is_unsupported(grant_type: str) -> None:
    with pytest.raises(UnsupportedGrantTypeError):
        decide(client(), _form(grant_type=grant_type))


def test_forbidden_grant_type_is_unauthorized() -> None:
    with pytest.raises(UnauthorizedClientError):
        decide(client(grant_types=frozenset()), _form())


def test_default_audience_is_the_client() -> None:
    assert decide(client("a"), _form()) == Grant(client("a"), (), ("a",))
    known = client(audience=("https://api",), token_profile=TokenProfile.AT_JWT)
    assert decide(known, _form()).audience == ("https://api",)


def test_plain_token_is_for_the_client_itself() -> None:
    assert decide(client("a", audience=("https://api",)), _form()).audience == ("a",)
