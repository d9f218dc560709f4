"""Settings of each function of the authorization server."""

import pytest

from functions.introspect_token.handler import Settings as IntrospectToken
from functions.issue_token.handler import Settings as IssueToken
from functions.publish_jwks.handler import Settings as PublishJwks
from functions.publish_metadata.handler import Settings as PublishMetadata
from functions.revoke_token.handler import Settings as RevokeToken
from functions.shared.lambda_function import EnvironmentSettings, MissingSettingsError
from tests.support.aws import ENVIRONMENT, ISSUER

CHECKING_CLIENTS = ("ISSUER", "CLIENTS_TABLE", "TOKENS_TABLE", "STATE_TABLE", "KEY_RING_SECRET")
SIGNING = (*CHECKING_CLIENTS, "SIGNING_KEYS_SECRET")
REQUIRED: dict[type[EnvironmentSettings], tuple[str, ...]] = {
    IssueToken: (*SIGNING, "DPOP_NONCE_SECRET"),
    IntrospectToken: SIGNING,
    RevokeToken: CHECKING_CLIENTS,
    PublishJwks: ("KEY_RING_SECRET",),
    PublishMetadata: ("ISSUER",),
}


@pytest.mark.parametrize("settings", REQUIRED, ids=lambda kind: kind.__module__)
def test_empty_environment_names_every_variable(settings: type[EnvironmentSettings]) -> None:
    with pytest.raises(MissingSettingsError) as error:
        settings.from_env({})
    assert error.value.names == REQUIRED[settings]


@pytest.mark.parametrize("settings", REQUIRED, ids=lambda kind: kind.__module__)
def test_required_settings_are_enough(settings: type[EnvironmentSettings]) -> None:
    environ = {name: ENVIRONMENT[name] for name in REQUIRED[settings]}
    read = settings.from_env(environ)
    assert [getattr(read, name.lower()) for name in environ] == list(environ.values())


def test_mtls_address_is_optional() -> None:
    for absent in ({}, {"MTLS_BASE_URL": ""}):
        assert PublishMetadata.from_env(ENVIRONMENT | absent).mtls_base_url == ""
    environ = {"ISSUER": ISSUER, "MTLS_BASE_URL": "https://mtls.example"}
    assert PublishMetadata.from_env(environ).mtls_base_url == "https://mtls.example"
