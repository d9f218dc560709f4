import json

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

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


@pytest.mark.parametrize("bits", [1024, 2048, 3072])
def test_rsa_key_equals_that_of_cryptography(bits: int) -> None:
    pem = to_pem(generate_private_key(65_537, bits))
    private_key, expected = from_pem(pem), load_pem_private_key(pem.encode(), None)
    assert isinstance(private_key, RSAPrivateKey)
    assert isinstance(expected, RSAPrivateKey)
    assert private_key.private_numbers() == expected.private_numbers()


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
def test_key_on_a_curve_is_read(alg: str) -> None:
    assert to_pem(from_pem(key(1, alg).private_pem)) == key(1, alg).private_pem


def test_rsa_key_in_another_format_is_read() -> None:
    private_key = from_pem(key().private_pem)
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert to_pem(from_pem(pem.decode())) == key().private_pem


@pytest.mark.parametrize("length", range(0, 1600, 97))
def test_cut_key_is_rejected(length: int) -> None:
    body = key().private_pem.splitlines()[1:-1]
    pem = f"-----BEGIN PRIVATE KEY-----\n{''.join(body)[:length]}\n-----END PRIVATE KEY-----\n"
    with pytest.raises(ValueError, match=r"^not a private key in PEM$"):
        from_pem(pem)


@pytest.mark.parametrize(
    "text",
    [*("", "[]", "{}"), '{"version": 2, "private_keys": {"a": "b"}}', '{"version": 1, "private_keys": {"a": 1}}'],
)
def test_unreadable_signing_keys_are_not_quoted(text: str) -> None:
    with pytest.raises(UnusableKeyRingError) as error:
        from_json(text)
    assert error.value.__cause__ is None
