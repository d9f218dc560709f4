import json

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from functions.shared.keys.key_ring import UnusableKeyRingError
from functions.shared.keys.signing_keys import from_json, from_pem, to_json, to_pem
from tests.support.server import key


def test_private_keys_round_trip() -> None:
    private_keys = {key().kid: key().private_pem}
    assert from_json(to_json(private_keys)) == private_keys
    assert json.loads(to_json(private_keys)) == {"version": 1, "private_keys": private_keys}


def test_secret_without_a_value_holds_no_keys() -> None:
    assert from_json(None) == {}


def test_private_key_round_trips_as_pem() -> None:
    private_key = from_pem(key().private_pem)
    assert isinstance(private_key, RSAPrivateKey)
    assert to_pem(private_key) == key().private_pem


@pytest.mark.parametrize(
    "text",
    [*("", "[]", "{}"), '{"version": 2, "private_keys": {"a": "b"}}', '{"version": 1, "private_keys": {"a": 1}}'],
)
def test_unreadable_signing_keys_are_not_quoted(text: str) -> None:
    with pytest.raises(UnusableKeyRingError) as error:
        from_json(text)
    assert error.value.__cause__ is None
