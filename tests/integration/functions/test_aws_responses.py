"""Every AWS response that functions and authorizer read, altered by a fault proxy.

The proxy is between boto3 and moto: moto's response is real, and the proxy replaces its body
or one value in it. Each call must then fail with its layer's error or return what it returns
without the fault: a fault never means "not revoked", "never used" or "no such client".
"""

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast

import boto3
import pytest

import authorizer
import functions
from authorizer.aws import Aws, AwsError
from authorizer.clock import Deadline
from authorizer.errors import AuthorizerUnavailableError
from authorizer.introspection import SecretsManagerCredentials
from authorizer.multi_api import ParameterStore
from authorizer.state_table import DynamoDbReplayStore, StateTable, revocation_key
from functions.rotate_keys.key_backends import KmsKeys
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.clients.trust_rule import TrustRule, to_item
from functions.shared.clients.trust_store import DynamoDbTrust
from functions.shared.keys.rotation import first_ring
from functions.shared.keys.signers import KmsSignature
from functions.shared.storage.boto3_client import Boto3
from functions.shared.storage.errors import StorageError
from functions.shared.storage.secrets_manager import SecretStore
from functions.shared.storage.state_table import Counters, JwtDenyList, OneTimeUse, SecretUses
from functions.shared.tokens.opaque_tokens import TOKEN_PREFIX, ActiveToken, OpaqueTokenStore
from tests.support.aws import CLIENTS_TABLE, SIGNING_KEYS_SECRET, STATE_TABLE, TOKENS_TABLE, TRUST_TABLE, AwsAccount
from tests.support.aws_faults import FaultProxy
from tests.support.server import NOW, client

BODIES = (b"", b"<html>busy</html>", b"{}", b"[]", b"null", b'"x"', b'{"Item": {"cl', b'{"a": 1}')
WRONG_VALUES: tuple[Any, ...] = (None, 7, "x", [])
CREDENTIALS_SECRET = "introspection"
RULE = TrustRule(name="a", issuer="https://issuer.example", client_id="known", claims={"sub": "a"})
REVOKED_JWT, OTHER_JWT = (revocation_key("issuer", name, "token") for name in ("one", "other"))
KNOWN_TOKEN, UNKNOWN_TOKEN = (TOKEN_PREFIX + letter * 43 for letter in "ku")
MEANING = ActiveToken(
    client_id="known",
    subject="known",
    scopes=("a",),
    audience=("b",),
    issuer="c",
    issued_at=NOW,
    not_before=NOW,
    expires_at=NOW + 9,
)

Run = Callable[["Account", str], object]
"""A call of a store on an account; the text differs in each run."""


@dataclass
class Account:
    """The stores of one account, and the proxy in front of it."""

    aws: Aws
    boto3: Boto3
    proxy: FaultProxy

    def __post_init__(self) -> None:
        self.clients = DynamoDbClients(self.aws, CLIENTS_TABLE)
        self.trust = DynamoDbTrust(self.aws, TRUST_TABLE)
        self.tokens = OpaqueTokenStore(self.aws, TOKENS_TABLE)
        self.denied = JwtDenyList(self.aws, STATE_TABLE)
        self.used = OneTimeUse(self.aws, STATE_TABLE)
        self.counters = Counters(self.aws, STATE_TABLE)
        self.uses = SecretUses(self.aws, STATE_TABLE)
        self.secrets = SecretStore(self.aws)
        self.kms = KmsKeys(self.boto3, "gatehouse", sleep=lambda _: None)
        self.clients.put(client("known"))
        self.boto3.call("dynamodb", "PutItem", Deadline(5), TableName=TRUST_TABLE, Item=to_item(RULE))
        self.tokens.put(KNOWN_TOKEN, MEANING)
        self.denied.add(REVOKED_JWT, NOW + 9)
        self.uses.record("known", "digest", 86_400)
        boto3.client("secretsmanager").create_secret(
            Name=CREDENTIALS_SECRET, SecretString='{"client_id": "a", "client_secret": "b"}'
        )
        SecretStore(self.boto3).write(SIGNING_KEYS_SECRET, "text")
        boto3.client("ssm").put_parameter(Name="/gatehouse/gatehouse/apis/api", Value="{}", Type="String")
        self.key = self.kms.create("ES256", NOW)
        self.ring = first_ring([self.key], NOW)
        self.proxy.bodies.clear()

    def made_key(self, _: str) -> object:
        made = self.kms.create("ES256", NOW)
        return made.alg, made.signer.startswith("arn:"), made.public_jwk["kty"]

    def deleted_key(self, _: str) -> object:
        self.proxy.faults, faults = {}, self.proxy.faults
        self.kms.create("ES256", NOW)
        self.proxy.faults = faults
        deleted = self.kms.delete_unused(self.ring.keys, NOW + 10**10)
        self.proxy.bodies.pop("ListAliases")  # as in `new_key`, which is quicker
        self.proxy.bodies.pop("DescribeKey")
        return deleted > 0

    def new_key(self, _: str) -> object:
        return self.kms.delete_unused([], NOW)

    def signature(self, _: str) -> object:
        return len(KmsSignature(self.aws, self.key.signer, "ES256")(b"message"))

    def replaced_secret(self, text: str) -> object:
        self.proxy.faults, faults = {}, self.proxy.faults
        seen = self.secrets.read_version(SIGNING_KEYS_SECRET)
        self.proxy.faults = faults
        self.secrets.replace(SIGNING_KEYS_SECRET, text, seen)
        return None


CALLS: dict[str, Run] = {
    "a trusted issuer": lambda at, _: at.trust.find("https://issuer.example") is not None,
    "an unknown issuer": lambda at, _: at.trust.find("https://unknown.example") is not None,
    "a known client": lambda at, _: at.clients.find("known"),
    "an unknown client": lambda at, _: at.clients.find("unknown"),
    "a client written": lambda at, text: at.clients.put(client(text)),
    "a known opaque token": lambda at, _: at.tokens.find(KNOWN_TOKEN, NOW),
    "an unknown opaque token": lambda at, _: at.tokens.find(UNKNOWN_TOKEN, NOW),
    "an opaque token written": lambda at, text: at.tokens.put(text, MEANING),
    "an opaque token deleted": lambda at, text: at.tokens.revoke(text, MEANING),
    "a revocation": lambda at, text: at.denied.add(text, NOW + 9),
    "a revoked token": lambda at, _: at.denied.holds(REVOKED_JWT, NOW),
    "a token that is not revoked": lambda at, _: at.denied.holds(OTHER_JWT, NOW),
    "a value used once": lambda at, text: at.used.consume("k", "o", text, NOW + 9, NOW),
    "a counter": lambda at, text: at.counters.increment(text, NOW + 9) in {1, 2},  # 2 after a retry
    "a use of a secret": lambda at, text: at.uses.record(text, "digest", 86_400),
    "a last use": lambda at, _: at.uses.last_used("known", "digest"),
    "no last use": lambda at, _: at.uses.last_used("unknown", "digest"),
    "a secret read": lambda at, _: at.secrets.read(CREDENTIALS_SECRET),
    "a secret written": lambda at, text: at.secrets.write(SIGNING_KEYS_SECRET, text),
    "a secret replaced": Account.replaced_secret,
    "a key made": Account.made_key,
    "a new key that is not needed": Account.new_key,
    "a key deleted": Account.deleted_key,
    "a signature": Account.signature,
    "authorizer: a revoked token": lambda at, _: StateTable(STATE_TABLE, at.aws).is_revoked(
        REVOKED_JWT, NOW, Deadline(3)
    ),
    "authorizer: a token that is not revoked": lambda at, _: StateTable(STATE_TABLE, at.aws).is_revoked(
        OTHER_JWT, NOW, Deadline(3)
    ),
    "authorizer: a proof": lambda at, text: DynamoDbReplayStore(StateTable(STATE_TABLE, at.aws)).consume(
        "jkt", text, NOW + 9, NOW, Deadline(3)
    ),
    "authorizer: an API's rules": lambda at, _: ParameterStore("/gatehouse/gatehouse/apis", at.aws).read(
        "api", Deadline(3)
    ),
    "authorizer: credentials": lambda at, _: SecretsManagerCredentials(CREDENTIALS_SECRET, at.aws)(False, Deadline(3)),
}

OF_ROTATE_KEYS = (
    *("a secret written", "a secret replaced"),
    *("a key made", "a new key that is not needed", "a key deleted"),
)


@pytest.fixture
def account(request: pytest.FixtureRequest, aws: AwsAccount) -> Iterator[Account]:
    """An account that every client reaches through the proxy, those made later too."""
    events = cast("Any", boto3.DEFAULT_SESSION).events
    events.register_first("before-send", aws.proxy)
    plain = Boto3()
    yield Account(aws.requests if request.param == "https" else plain, plain, aws.proxy)
    events.unregister("before-send", aws.proxy)


def _faults(answer: dict[str, Any]) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Yield each fault with its description: bodies, members that are missing, wrong types."""
    for body in BODIES:
        yield repr(body), partial(_replaced, body)
    for name in answer.keys() - {"Item"}:  # a response without Item means that there is none
        yield f"without {name}", _without(name)
    if "Item" in answer:
        yield "an empty Item", lambda answer: {**answer, "Item": {}}
    for path, value in _paths(answer):
        for wrong in WRONG_VALUES:
            # In AWS's JSON protocols a null member is an absent one: so is an Item.
            is_absent = path == ("Item",) and wrong is None
            is_wrong = _kind(wrong) is not _kind(value)
            if path and is_wrong and not is_absent:
                yield f"{path}: {wrong!r}", _with(path, wrong)


def _body(altered: Any) -> bytes:
    """Return the altered response of a read, which moto does not have to execute again."""
    return altered if isinstance(altered, bytes) else json.dumps(altered).encode()


def _replaced(body: bytes, _: object) -> bytes:
    return body


def _kind(value: object) -> type:
    return float if type(value) is int else type(value)


def _without(name: str) -> Callable[[Any], Any]:
    return lambda answer: {key: value for key, value in answer.items() if key != name}


def _with(path: tuple[str | int, ...], wrong: object) -> Callable[[Any], Any]:
    def altered(answer: Any) -> Any:
        answer = found = deepcopy(answer)
        try:
            for step in path[:-1]:
                found = found[step]
            found[path[-1]] = wrong
        except (IndexError, KeyError):
            pass
        return answer

    return altered


def _paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, object]]:
    yield path, value
    if isinstance(value, dict | list):
        steps = value.items() if isinstance(value, dict) else enumerate(value[:1])
        for step, member in steps:
            yield from _paths(member, (*path, step))


@pytest.mark.parametrize(
    ("account", "name"),
    [*(("boto3", name) for name in CALLS), *(("https", name) for name in CALLS if name not in OF_ROTATE_KEYS)],
    indirect=["account"],
)
def test_faulty_response_changes_no_result(account: Account, name: str) -> None:
    run = CALLS[name]
    texts = (f"text-{number}" for number in count())
    expected = run(account, next(texts))
    bodies = dict(account.proxy.bodies)
    is_read = len(bodies) == 1 and next(iter(bodies)).startswith("Get")
    wrong, tried = [], 0
    for operation, body in bodies.items():
        answer = json.loads(body or "null")
        for description, fault in _faults(answer) if answer else ():  # or nothing is read
            account.proxy.faults = {operation: _body(fault(answer)) if is_read else fault}
            tried += 1
            try:
                result = run(account, next(texts))
            except (StorageError, AuthorizerUnavailableError, AwsError):
                continue
            except Exception as error:
                wrong.append((operation, description, repr(error)))
                continue
            if result != expected:
                wrong.append((operation, description, repr(result)))
    assert tried >= len(BODIES)
    assert not wrong


@pytest.mark.parametrize("account", ["boto3"], indirect=True)
def test_every_operation_is_covered(account: Account) -> None:
    tried: set[str] = set()
    for number, run in enumerate(CALLS.values()):
        run(account, f"text-{number}")
        tried |= account.proxy.bodies.keys()
    assert _operations_in_the_code() == tried


def _operations_in_the_code() -> set[str]:
    """Every operation of a checked service that the code of functions and authorizer calls."""
    code = "\n".join(
        path.read_text()
        for package in (functions, authorizer)
        for folder in package.__path__
        for path in Path(folder).rglob("*.py")
    )
    named = set(re.findall(r'"([A-Z]\w+)"(?!:)', code))
    models = (boto3.client(service).meta.service_model for service in ("dynamodb", "secretsmanager", "kms", "ssm"))
    return named & {name for model in models for name in model.operation_names}
