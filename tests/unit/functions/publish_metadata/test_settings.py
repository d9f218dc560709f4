from __future__ import annotations

import pytest

from functions.publish_metadata.settings import Settings
from functions.shared.runtime.settings import MissingSettingsError
from tests.support.aws import ENVIRONMENT, ISSUER


def test_settings_come_from_the_environment() -> None:
    assert Settings.from_env(ENVIRONMENT).issuer == ISSUER


def test_an_empty_environment_is_refused_with_every_name() -> None:
    with pytest.raises(MissingSettingsError) as error:
        Settings.from_env({})
    assert error.value.names == ("ISSUER",)


def test_an_address_behind_mutual_tls_may_be_left_out_or_left_empty() -> None:
    for absent in ({}, {"MTLS_BASE_URL": ""}):
        assert Settings.from_env(ENVIRONMENT | absent).mtls_base_url == ""
    url = "https://mtls.example"
    assert Settings.from_env(ENVIRONMENT | {"MTLS_BASE_URL": url}).mtls_base_url == url
