from __future__ import annotations

import pytest

from functions.revoke_token.settings import Settings
from functions.shared.runtime.settings import MissingSettingsError
from tests.support.aws import ENVIRONMENT


def test_settings_come_from_the_environment() -> None:
    assert Settings.from_env(ENVIRONMENT).state_table == "state"


def test_an_empty_environment_is_refused_with_every_name() -> None:
    with pytest.raises(MissingSettingsError) as error:
        Settings.from_env({})
    required = set(Settings.__slots__) - {"remote_keys"}
    assert set(error.value.names) == {name.upper() for name in required}
