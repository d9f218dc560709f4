"""The token endpoints: issuing, introspection and exchange."""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from functions.shared.clients.client import TokenFormat, TokenProfile, to_item
from functions.shared.clients.supported import CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from functions.shared.keys import key_ring, signing_keys
from functions.shared.tokens import opaque_tokens
from functions.shared.web.endpoint import INTROSPECTION_PATH, TOKEN_PATH
from tests.benchmarks.aws_server import Content, LocalAws, serving_aws
from tests.benchmarks.oidc_provider import Introspection
from tests.benchmarks.results import Goal, Section, compared, measured, within
from tests.benchmarks.turns import Contender, Contestant, has_node, python, take_turns
from tests.support.aws import CREDENTIALS, ENVIRONMENT, ISSUER, KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.proxy_events import basic, form_event
from tests.support.server import NOW, SCOPES, SECRET, client, key, ring

COUNTED = 1500
RUNS = 300  # in a turn: its first runs are slower, because the other contenders have used the caches
API = "https://api.example.com"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
_SCOPE = "country.read customer.read"
_SIGNATURE = "cryptography: RSA signature alone"
_JWT, _OPAQUE, _EXCHANGE = "a JWT", "an opaque token", "exchange of a JWT for a JWT"
_OPAQUE_INTROSPECTION, _JWT_INTROSPECTION = "introspection of an opaque token", "introspection of a JWT"
_OIDC_PROVIDER = "oidc-provider: introspection of an opaque token"
_CLIENTS = (
    client("jwt"),
    client("opaque", token_format=TokenFormat.OPAQUE, audience=("api",)),
    client(
        "api",
        grant_types=frozenset({CLIENT_CREDENTIALS, TOKEN_EXCHANGE}),
        token_profile=TokenProfile.AT_JWT,
        audience=(API,),
        resource_scopes=frozenset(SCOPES),
        exchange_subjects=frozenset({"jwt"}),
    ),
)


class _Server(NamedTuple):
    """The environment of the functions, an opaque token, and the AWS that has its meaning."""

    environ: Mapping[str, str]
    opaque_token: str
    aws: LocalAws

    def contender(self, function: str, event: Mapping[str, Any]) -> Contender:
        """Return a handler that gets the same event each time."""
        setup = {"module": f"functions.{function}.handler", "environ": self.environ, "events": [event]}
        return Contender(python("handler"), setup)

    def jwt(self) -> str:
        """Issue a JWT."""
        with patch.dict(os.environ, self.environ):
            from functions.issue_token.handler import handle

            token: str = json.loads(handle(_issue("jwt"), None)["body"])["access_token"]
            return token


@contextmanager
def _server() -> Iterator[_Server]:
    signing, token, now = key(), opaque_tokens.generate_token(), int(time.time())
    meaning = opaque_tokens.ActiveToken(
        client_id="opaque",
        subject="opaque",
        scopes=tuple(_SCOPE.split(" ")),
        audience=("api",),
        issuer=ISSUER,
        issued_at=now,
        not_before=now,
        expires_at=now + 14_400,
    )
    content = Content(
        items={
            **{each.client_id: to_item(each) for each in _CLIENTS},
            opaque_tokens.token_digest(token): opaque_tokens._to_item(token, meaning),
        },
        secrets={
            KEY_RING_SECRET: key_ring.to_json(ring(signing, now=NOW)),
            SIGNING_KEYS_SECRET: signing_keys.to_json({signing.kid: signing.private_pem}),
        },
        key_set=b"",
        introspection=b"",
    )
    with tempfile.TemporaryDirectory() as directory, serving_aws(content, Path(directory)) as aws:
        environ = {
            **ENVIRONMENT,
            **CREDENTIALS,
            "AWS_REGION": CREDENTIALS["AWS_DEFAULT_REGION"],
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_CA_BUNDLE": str(aws.bundle),
            "SSL_CERT_FILE": str(aws.bundle),
        }
        yield _Server(environ, token, aws)


def _issue(client_id: str, **form: str) -> dict[str, Any]:
    parameters = {"grant_type": CLIENT_CREDENTIALS, "scope": _SCOPE} | form
    return form_event(TOKEN_PATH, parameters, headers=basic(client_id, SECRET))


def _exchange(jwt: str) -> dict[str, Any]:
    return _issue("api", grant_type=TOKEN_EXCHANGE, subject_token=jwt, subject_token_type=ACCESS_TOKEN)


def _introspect(token: str) -> dict[str, Any]:
    return form_event(INTROSPECTION_PATH, {"token": token}, headers=basic("api", SECRET))


@contextmanager
def jwt_contender() -> Iterator[Contender]:
    """Provide the handler that issues JWTs."""
    with _server() as server:
        yield server.contender("issue_token", _issue("jwt"))


def issuing() -> Section:
    """Measure the handlers with their signature, and with oidc-provider."""
    with _server() as server:
        jwt = server.jwt()
        contenders: dict[str, Contestant] = {
            _JWT: (issue := server.contender("issue_token", _issue("jwt"))._replace(runs=RUNS)),
            _SIGNATURE: Contender(python("signature"), {"pem": key().private_pem}, RUNS),
            _OPAQUE: server.contender("issue_token", _issue("opaque")),
            _EXCHANGE: server.contender("issue_token", _exchange(jwt)),
            _OPAQUE_INTROSPECTION: server.contender("introspect_token", _introspect(server.opaque_token)),
            _JWT_INTROSPECTION: server.contender("introspect_token", _introspect(jwt)),
        }
        if has_node():
            contenders[_OIDC_PROVIDER] = Introspection(200)
        samples = take_turns(contenders, turns=15)
        with issue.start() as process:
            server.aws.calls.clear()
            process.run(COUNTED)
            calls = len(server.aws.calls)
    exchange = [whole - signed for whole, signed in zip(samples[_EXCHANGE], samples[_SIGNATURE], strict=True)]
    goals = [
        compared("a JWT compared with its signature", samples[_JWT], samples[_SIGNATURE], 1.12),
        Goal(f"calls to AWS per JWT (of {COUNTED:,})", calls / COUNTED, 0.005, "calls"),
        within("an opaque token", samples[_OPAQUE], 350, "µs"),
        within("introspection of an opaque token", samples[_OPAQUE_INTROSPECTION], 350, "µs"),
        within("introspection of a JWT", samples[_JWT_INTROSPECTION], 350, "µs"),
        within("an exchange without its signature", exchange, 450, "µs"),
    ]
    if _OIDC_PROVIDER in samples:
        name = "introspection of an opaque token compared with oidc-provider, which has it in memory"
        goals.append(compared(name, samples[_OPAQUE_INTROSPECTION], samples[_OIDC_PROVIDER], 1.5))
    return Section(
        "Issuing, introspection and exchange",
        "Warm handlers, event in, response and log line out, for clients with a generated secret. JWTs are RS256 with "
        f"a key of 2,048 bits; each turn of a JWT and of its signature has {RUNS} runs. AWS is a server on this "
        "machine, over TLS: requests to it count here, its own work does not. An opaque token needs one write, each "
        "introspection and each exchange one read. oidc-provider has its state in memory; its figure includes Node's "
        "HTTP server.",
        [measured(name, each, "µs") for name, each in samples.items()],
        goals,
    )
