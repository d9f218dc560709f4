"""Each signing algorithm between real processes: token endpoint, key set, authorizer, introspection."""

import json
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import jwt
import pytest
import requests

from functions.shared.clients.assertion_rules import AssertionRules
from functions.shared.clients.supported import SIGNING_ALGORITHMS
from functions.shared.keys.signing_keys import to_public_jwk
from infra.local_stack import SIGNING_ALGORITHMS as VARIABLE
from tests.support.assertions import assertion_claims, assertion_form
from tests.support.dpop_proofs import private_key, proof
from tests.support.laptop import Laptop, free_environment, gatehouse, running
from tests.support.pyjwt_algorithms import ML_DSA_KEYS, algorithm
from tests.support.server import SECRET, client
from tests.support.tokens import encode

RING = [alg for alg in SIGNING_ALGORITHMS if alg != "EdDSA"]


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    """A laptop edition whose ring has a key of each algorithm."""
    with running({**free_environment(), VARIABLE: ",".join(RING)}, with_coverage=True) as laptop:
        laptop.wait_for_line("Everything is up")
        yield laptop


def country(laptop: Laptop, token: str) -> requests.Response:
    url = f"{laptop.addresses.guarded_api}/country/code/AUS"
    return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)


def granted(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    members: dict[str, Any] = answer.json()
    return members


@pytest.mark.parametrize("alg", SIGNING_ALGORITHMS)
def test_token_of_each_algorithm_opens_the_api(laptop: Laptop, alg: str) -> None:
    client_id = f"signs-{alg}"
    laptop.clients.put(client(client_id, signing_algorithm=alg))
    form = {"grant_type": "client_credentials", "scope": "country.read"}
    url = laptop.token_endpoint
    token = granted(requests.post(url, form, auth=(client_id, SECRET), timeout=30))["access_token"]
    header, signed = jwt.get_unverified_header(token), "Ed25519" if alg == "EdDSA" else alg
    assert header["alg"] == signed
    published = granted(requests.get(f"{laptop.addresses.issuer}/oauth2/jwks", timeout=30))["keys"]
    (jwk,) = [key for key in published if key["kid"] == header["kid"]]
    public_key = algorithm(signed).from_jwk(jwk)
    assert jwt.decode(token, public_key, algorithms=[signed], audience=client_id)["sub"] == client_id
    assert country(laptop, token).status_code == 200
    signed_part, _, signature = token.rpartition(".")
    changed = "B" if signature[9] == "A" else "A"
    assert country(laptop, f"{signed_part}.{signature[:9]}{changed}{signature[10:]}").status_code == 401
    introspected = requests.post(
        f"{laptop.addresses.issuer}/oauth2/introspect", {"token": token}, auth=(client_id, SECRET), timeout=30
    )
    assert granted(introspected)["active"] is True


@pytest.mark.parametrize("alg", ML_DSA_KEYS)
def test_ml_dsa_key_authenticates_a_client(laptop: Laptop, alg: str) -> None:
    key: Any = private_key(alg)
    public = to_public_jwk(key.public_key()) | {"kid": "own"}
    rules = AssertionRules(jwks=json.dumps({"keys": [public]}))
    name = f"proves-{alg}"
    laptop.clients.put(client(name, authentication_methods=frozenset({"private_key_jwt"}), assertion=rules, secrets=()))
    claims = assertion_claims(time.time(), iss=name, sub=name, aud=laptop.addresses.issuer)
    form = assertion_form(jwt.encode(claims, key, alg, {"kid": "own"}))
    url = laptop.token_endpoint
    assert granted(requests.post(url, form, timeout=30))["token_type"] == "Bearer"
    assert requests.post(url, form, timeout=30).json()["error"] == "invalid_client"


def test_ml_dsa_token_is_bound_to_an_ml_dsa_key(laptop: Laptop) -> None:
    """Both headers of ML-DSA-44 fit into the 10,240 bytes of API Gateway."""
    laptop.clients.put(client("lattice", signing_algorithm="ML-DSA-44", dpop_bound_access_tokens=True))
    form, alg = {"grant_type": "client_credentials", "scope": "country.read"}, "ML-DSA-44"
    url = laptop.token_endpoint
    headers = {"DPoP": proof(alg, now=time.time(), htu=url)}
    answer = granted(requests.post(url, form, auth=("lattice", SECRET), headers=headers, timeout=30))
    assert answer["token_type"] == "DPoP"
    token, api = answer["access_token"], f"{laptop.addresses.bound_api_url}/country/code/AUS"
    ath = encode(sha256(token.encode()).digest())
    used = proof(alg, now=time.time(), htm="GET", htu=api, ath=ath)
    headers = {"Authorization": f"DPoP {token}", "DPoP": used}
    assert sum(len(name) + len(value) for name, value in headers.items()) < 10_240 - 256
    assert requests.get(api, headers=headers, timeout=30).status_code == 200
    assert requests.get(api, headers=headers, timeout=30).status_code == 401  # the proof was used
    other = proof(alg, number=2, now=time.time(), htm="GET", htu=api, ath=ath)
    assert requests.get(api, headers={**headers, "DPoP": other}, timeout=30).status_code == 401


def test_rotation_announces_an_ml_dsa_key(laptop: Laptop) -> None:
    done = gatehouse(laptop, "keys", "rotate", "--algorithm", "ML-DSA-44", "--yes")
    assert done.returncode == 0, done.stderr
    listed = json.loads(gatehouse(laptop, "keys", "list", "--json").stdout)
    assert sorted(key["state"] for key in listed if key["alg"] == "ML-DSA-44") == ["announced", "signs"]
