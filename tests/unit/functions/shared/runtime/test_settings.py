from dataclasses import dataclass

import pytest

from functions.shared.lambda_function import EnvironmentSettings, MissingSettingsError


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    issuer: str
    clients_table: str
    realm: str = "gatehouse"


def test_each_field_is_read_from_the_variable_of_its_name() -> None:
    settings = Settings.from_env({"ISSUER": "https://a", "CLIENTS_TABLE": " clients "})
    assert settings == Settings("https://a", "clients", "gatehouse")


def test_variable_overrides_a_default() -> None:
    environ = {"ISSUER": "https://a", "CLIENTS_TABLE": "clients", "REALM": "other"}
    assert Settings.from_env(environ).realm == "other"


def test_every_missing_variable_is_named() -> None:
    with pytest.raises(MissingSettingsError, match="ISSUER, CLIENTS_TABLE") as error:
        Settings.from_env({"CLIENTS_TABLE": "  "})
    assert error.value.names == ("ISSUER", "CLIENTS_TABLE")
