"""template.yaml, the authorizer's settings in it and the scope map go together."""

import json
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest

from authorizer import state_table
from authorizer.jws import PROOF_ALGORITHMS
from authorizer.scope_map import parse_scope_map
from authorizer.state_table import REVOKED, state_key
from infra.cloudformation import load
from local.gateway.template import Template
from tests.support.privileges import role_statements
from tests.support.template_lint import faults

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
SCOPES = (ROOT / "authorizer" / "scopes.json").read_bytes()
MADE = {
    "StateTable": "state",
    "StateTable.Arn": "arn:aws:dynamodb:us-east-1:123456789012:table/state",
    "IntrospectionCredentials": "arn:aws:secretsmanager:us-east-1:123456789012:secret:x",
    "DataKey.Arn": "arn:aws:kms:us-east-1:123456789012:key/x",
}
UNCACHED = {"AuthorizerCacheSeconds": "0"}


def _faults(template: Template, scopes: bytes = SCOPES) -> list[str]:
    return faults(template, "GuardedApi", parse_scope_map(scopes), MADE)


def _read(**parameters: str) -> Template:
    return Template.read(TEMPLATE, parameters)


@pytest.mark.parametrize(
    ("parameters", "challenge"),
    [
        ({}, "'Bearer'"),
        (
            {"ResourceMetadataUrl": "https://api.example.com/m"},
            "'Bearer resource_metadata=\"https://api.example.com/m\"'",
        ),
        (UNCACHED | {"ProofOfPossession": "dpop"}, f"'DPoP algs=\"{' '.join(sorted(PROOF_ALGORITHMS))}\", Bearer'"),
    ],
)
def test_challenge_has_the_configured_metadata(parameters: dict[str, str], challenge: str) -> None:
    responses = _read(**parameters).api("GuardedApi").gateway_responses
    assert responses["UNAUTHORIZED"].headers == {"WWW-Authenticate": challenge}
    denied = responses["ACCESS_DENIED"].headers["WWW-Authenticate"]
    assert denied.startswith('\'Bearer error="insufficient_scope"')
    assert ("resource_metadata" in denied) == ("ResourceMetadataUrl" in parameters)


def test_cloudformation_rejects_cached_proofs() -> None:
    (assertion,) = load(TEMPLATE)["Rules"]["ProofsAreNotCached"]["Assertions"]
    assert assertion["Assert"] == {"Fn::Equals": [{"Ref": "AuthorizerCacheSeconds"}, "0"]}


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"AuthorizerCacheSeconds": "3601"}, "an answer is kept for 3601 seconds"),
        ({"ProofOfPossession": "dpop"}, "an answer to a DPoP proof is kept"),
        ({"ProofOfPossession": "mtls"}, "an answer is kept for the token alone"),
    ],
)
def test_parameters_that_do_not_go_together_are_found(parameters: dict[str, str], fault: str) -> None:
    (found,) = _faults(_read(**parameters))
    assert fault in found


@pytest.mark.parametrize(
    ("parameters", "state"),
    [
        ({}, {}),
        ({"CheckRevokedTokens": "true"}, {"dynamodb:GetItem": ["revoked#*"]}),
        (UNCACHED | {"ProofOfPossession": "mtls"}, {}),
        (UNCACHED | {"ProofOfPossession": "dpop"}, {"dynamodb:PutItem": ["proof#*"]}),
    ],
    ids=str,
)
def test_the_authorizer_may_touch_its_own_entries_only(parameters: dict[str, str], state: dict[str, list[str]]) -> None:
    statements = {
        statement["Action"]: statement
        for statement in role_statements(_read(**parameters), "Authorizer", MADE)
        if isinstance(statement["Action"], str)  # and not Lambda's own, of logs and traces
    }
    always = {"secretsmanager:GetSecretValue", "kms:Decrypt"}
    assert statements.keys() == always | state.keys()
    for action, entries in state.items():
        keys = {"dynamodb:LeadingKeys": entries}
        assert statements[action]["Condition"] == {"ForAllValues:StringLike": keys}
    assert state_key(state_table.PROOF, "a").startswith("proof#")
    assert state_key(REVOKED, "a").startswith("revoked#")


RESPONSES = "GuardedApi.Properties.GatewayResponses"
AUTH = "GuardedApi.Properties.Auth"
BEARER = f"{AUTH}.Authorizers.BearerToken"


def _route(method: str, path: str, **more: object) -> dict[str, Any]:
    route = {"RestApiId": {"Ref": "GuardedApi"}, "Method": method, "Path": path, **more}
    return {"Another": {"Type": "Api", "Properties": route}}


EVENTS = "LookUpCountry.Properties.Events"
MISTAKES: dict[str, tuple[str, dict[str, Any] | None, str]] = {
    "no challenge": (f"{RESPONSES}.UNAUTHORIZED.ResponseParameters", None, "UNAUTHORIZED has no challenge"),
    "no gateway response": (
        f"{RESPONSES}.AUTHORIZER_FAILURE",
        None,
        "the gateway response AUTHORIZER_FAILURE is missing",
    ),
    "no literal": (
        f"{RESPONSES}.DEFAULT_4XX",
        {"ResponseParameters": {"Headers": {"X-Stage": "context.stage"}}},
        "DEFAULT_4XX.X-Stage is no literal",
    ),
    "guarded preflights": (f"{AUTH}.AddDefaultAuthorizerToCorsPreflight", None, "guards CORS preflights"),
    "a guarded preflight": (
        EVENTS,
        _route("OPTIONS", "/country", Auth={"Authorizer": "BearerToken"}),
        "OPTIONS /country is guarded: a preflight",
    ),
    "any method": (EVENTS, _route("ANY", "/any"), "guarded for any method"),
    "a route that no scope opens": (
        EVENTS,
        _route("DELETE", "/country/code/{code}"),
        "DELETE /country/code/{code} is guarded and no scope opens it",
    ),
    "a route that a parameter swallows": (
        EVENTS,
        _route("GET", "/country/code/export-all"),
        "GET /country/code/export-all is open to every scope that opens GET /country/code/{par",
    ),
    "a TOKEN authorizer": (
        BEARER,
        {"FunctionPayloadType": "TOKEN", "Identity": {"ReauthorizeEvery": 300}},
        "a TOKEN authorizer sees one header only",
    ),
    "another identity source": (
        f"{BEARER}.Identity",
        {"Headers": ["X-Caller"]},
        "without the Authorization header among the identity sources",
    ),
    "simple answers from a policy's gateway": (
        "Authorizer.Properties.Environment.Variables",
        {"SIMPLE_RESPONSE": "true"},
        "SIMPLE_RESPONSE and EnableSimpleResponses differ",
    ),
}
"""The part of the template that is updated, or deleted without a value, and the fault."""


@pytest.mark.parametrize(("path", "value", "fault"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_template_is_found(
    tmp_path: Path, path: str, value: dict[str, Any] | None, fault: str
) -> None:
    document = load(TEMPLATE)
    *parents, name = path.split(".")
    parent = reduce(getitem, parents, document["Resources"])
    if value is None:
        del parent[name]
    else:
        parent[name].update(value)
    (tmp_path / "template.yaml").write_text(json.dumps(document), encoding="utf-8")
    assert any(fault in found for found in _faults(Template.read(tmp_path / "template.yaml")))


@pytest.mark.parametrize(
    ("scopes", "fault"),
    [
        (b'{"r": ["GET /country"]}', "GET /country/code/{code} is guarded and no scope opens it"),
        (
            b'{"r": ["GET /country", "GET /country/code/{code}", "GET /gone"]}',
            "the scope map names GET /gone, which is not a guarded route",
        ),
        (b'{"r": ["GET /a/{x}", "GET /a/{x}/c/b"], "s": ["GET /a/{x}/b"]}', "r: GET/a/*/c/b is opened and yet denied"),
    ],
)
def test_a_mistake_in_the_scope_map_is_found(scopes: bytes, fault: str) -> None:
    assert any(fault in found for found in _faults(_read(), scopes))
