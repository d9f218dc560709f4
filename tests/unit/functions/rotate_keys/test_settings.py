from itertools import product

import pytest

from functions.rotate_keys.handler import Settings
from functions.shared.keys.rotation import RotationRules, UnsafeRotationError
from functions.shared.lambda_function import MissingSettingsError
from infra.cloudformation import load
from local.emulated_aws import TEMPLATE
from tests.support.aws import ENVIRONMENT

DAY, HOUR = 86_400, 3_600


def _settings(**changes: str) -> Settings:
    return Settings.from_env({**ENVIRONMENT, **changes})


def test_empty_environment_names_every_variable() -> None:
    with pytest.raises(MissingSettingsError) as error:
        Settings.from_env({})
    assert set(error.value.names) == {"KEY_RING_SECRET", "SIGNING_KEYS_SECRET"}


def test_rotation_has_safe_defaults() -> None:
    assert _settings().rules() == RotationRules(
        signing=30 * DAY, announcing=24 * HOUR, retiring=48 * HOUR, verifier_cache=HOUR
    )
    assert _settings().signing_algorithms() == ("RS256",)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"KEY_ANNOUNCE_HOURS": "1"}, "announced for 3600 seconds, but 4260"),
        ({"VERIFIER_CACHE_SECONDS": "86400"}, "announced for 86400 seconds, but 87060"),
        ({"KEY_RETIRE_HOURS": "24"}, "a token can be valid for 86490"),
        ({"KEY_SIGNING_DAYS": "0"}, "a key signs for 0 seconds"),
        ({"KEY_SIGNING_DAYS": "-1"}, "KEY_SIGNING_DAYS is a whole number"),
        ({"KEY_ANNOUNCE_HOURS": "soon"}, "KEY_ANNOUNCE_HOURS is a whole number"),
    ],
)
def test_unsafe_times_are_rejected_with_the_reason(changes: dict[str, str], fault: str) -> None:
    with pytest.raises(UnsafeRotationError, match=fault):
        _settings(**changes).rules()


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(UnsafeRotationError) as error:
        _settings(KEY_ANNOUNCE_HOURS="1", KEY_RETIRE_HOURS="1").rules()
    assert len(error.value.faults) == 2


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"ALGORITHMS": "HS256"}, "ALGORITHMS are among RS256"),
        ({"ALGORITHMS": "ES512", "KEY_EDITION": "kms"}, "ALGORITHMS are among"),
        ({"ALGORITHMS": "Ed25519,EdDSA"}, "name Ed25519 twice"),
        ({"KEY_EDITION": "hsm"}, "KEY_EDITION is one of secrets-manager, kms"),
    ],
)
def test_unsupported_algorithm_is_rejected(changes: dict[str, str], fault: str) -> None:
    with pytest.raises(UnsafeRotationError, match=fault):
        _settings(**changes).signing_algorithms()


def test_algorithms_have_no_duplicates() -> None:
    assert _settings(ALGORITHMS="RS256, ES256,RS256").signing_algorithms() == ("RS256", "ES256")


def test_template_bounds_are_safe() -> None:
    parameters = load(TEMPLATE)["Parameters"]
    names = ("KeySigningDays", "KeyAnnounceHours", "KeyRetireHours", "AuthorizerKeyCacheSeconds")
    bounds = [{str(parameters[name][bound]) for bound in ("MinValue", "MaxValue")} for name in names]
    for days, announce, retire, cache in product(*bounds):
        _settings(
            KEY_SIGNING_DAYS=days, KEY_ANNOUNCE_HOURS=announce, KEY_RETIRE_HOURS=retire, VERIFIER_CACHE_SECONDS=cache
        ).rules()
