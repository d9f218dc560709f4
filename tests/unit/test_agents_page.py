"""docs/agents.md: its requests fit the API models of botocore, and its clients get tokens that AgentCore accepts."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import jwt
import pytest
from botocore import xform_name
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from botocore.session import get_session
from botocore.validate import ParamValidator

from functions.issue_token.token_exchange import ACCESS_TOKEN, ID_TOKEN
from functions.publish_metadata.handler import document
from functions.shared.clients.client import Client
from functions.shared.clients.client_secrets import StoredSecret, digest_generated
from functions.shared.clients.supported import JWT_BEARER, TOKEN_EXCHANGE
from functions.shared.clients.trust_rule import TrustRule, federated_clients
from functions.shared.web.endpoint import TOKEN_PATH
from infra.cli.documents import CLIENTS, RULES, build_rule, checked, parse_documents
from tests.support.assertions import assertion, assertion_form
from tests.support.aws import ISSUER
from tests.support.doc_blocks import ROOT, blocks, commands
from tests.support.memory_server import MemoryServer, memory_server
from tests.support.proxy_events import form_event
from tests.support.server import NOW, SECRET
from tests.support.tokens import rsa_jwk

BLOCKS = blocks(ROOT / "docs" / "agents.md")
PAGE_ISSUER = "https://auth.example/ms-auth-server"


def requests() -> list[tuple[str, str, Any]]:
    """Return service, operation and input of the page's requests: each command is followed by its file."""
    found = []
    for block, file in pairwise(BLOCKS):
        for command in commands(block) if block.kind == "console" else ():
            if command.text.startswith("aws "):
                _, service, operation, *_ = command.text.split()
                found.append((service, operation, json.loads(file.text)))
    return found


REQUESTS = requests()


def faults(shape: Shape, value: object, path: str = "") -> list[str]:
    """Return the constraints that a value does not meet: botocore itself checks types and names only."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        return [fault for name, part in value.items() for fault in faults(shape.members[name], part, f"{path}.{name}")]
    if isinstance(shape, ListShape) and isinstance(value, list):
        inner = [fault for part in value for fault in faults(shape.member, part, path)]
        return [*_length(shape, len(value), path), *inner]
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return _length(shape, len(value), path)
    if not isinstance(shape, StringShape) or not isinstance(value, str):
        return []
    found = _length(shape, len(value), path)
    if shape.enum and value not in shape.enum:
        found.append(f"{path}: {value} is not one of {shape.enum}")
    pattern = shape.metadata.get("pattern")
    if pattern and not re.fullmatch(pattern, value):
        found.append(f"{path}: {value} does not match {pattern}")
    return found


def _length(shape: Shape, length: int, path: str) -> list[str]:
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max", length)
    return [] if low <= length <= high else [f"{path}: has the length {length}"]


def input_shape(service: str, operation: str) -> StructureShape:
    model = get_session().get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    shape = model.operation_model(names[operation]).input_shape
    assert isinstance(shape, StructureShape)
    return shape


def all_faults(service: str, operation: str, value: Mapping[str, Any]) -> list[str]:
    shape = input_shape(service, operation)
    report = ParamValidator().validate(value, shape).generate_report()
    return [report] if report else faults(shape, value)


@pytest.mark.parametrize(("service", "operation", "value"), REQUESTS, ids=[operation for _, operation, _ in REQUESTS])
def test_request_fits_the_api_model(service: str, operation: str, value: dict[str, Any]) -> None:
    assert all_faults(service, operation, value) == []


def test_every_json_block_is_a_request_or_a_token() -> None:
    assert len([block for block in BLOCKS if block.kind == "json"]) == len(REQUESTS) + 1


def _provider() -> dict[str, Any]:
    return json.loads(json.dumps(REQUESTS[0][2]))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("clientAuthenticationMethod", "PRIVATE_KEY", "is not one of"),
        ("oauthDiscovery", {"discoveryUrl": "https://auth.example/metadata"}, "does not match"),
        ("oauthDiscovery", {"discovery": "https://auth.example"}, "Unknown parameter"),
        ("oauthDiscovery", {"authorizationServerMetadata": {"issuer": "https://auth.example"}}, "Missing required"),
        ("clientId", "x" * 257, "length"),
    ],
)
def test_wrong_request_does_not_fit(name: str, value: Any, fault: str) -> None:
    provider = _provider()
    provider["oauth2ProviderConfigInput"]["customOauth2ProviderConfig"][name] = value
    assert fault in "\n".join(all_faults("bedrock-agentcore-control", "create-oauth2-credential-provider", provider))


def test_explicit_metadata_fits_the_api_model() -> None:
    metadata = document(PAGE_ISSUER, authorization_endpoint=f"{PAGE_ISSUER}/oauth2/authorize")
    provider = _provider()
    provider["oauth2ProviderConfigInput"]["customOauth2ProviderConfig"]["oauthDiscovery"] = {
        "authorizationServerMetadata": {
            "issuer": metadata["issuer"],
            "authorizationEndpoint": metadata["authorization_endpoint"],
            "tokenEndpoint": metadata["token_endpoint"],
            "responseTypes": metadata["response_types_supported"],
            "tokenEndpointAuthMethods": ["client_secret_basic", "client_secret_post"],
        }
    }
    assert all_faults("bedrock-agentcore-control", "create-oauth2-credential-provider", provider) == []


# The clients


def page_clients() -> dict[str, Client]:
    """Return the page's clients, each with a secret. Federation rules have the tests' issuer as audience."""
    clients = {}
    for block in BLOCKS:
        if block.kind == "yaml" and block.text.startswith("clients:"):
            for each in parse_documents(block.text.replace(PAGE_ISSUER, ISSUER), block.place, CLIENTS):
                secrets = (StoredSecret(digest_generated(SECRET)),)
                clients[each["client_id"]] = replace(checked(each), secrets=secrets)
    return clients


def page_rules() -> list[TrustRule]:
    return [
        build_rule(each)
        for block in BLOCKS
        if block.kind == "yaml" and block.text.startswith("rules:")
        for each in parse_documents(block.text, block.place, RULES)
    ]


def server() -> MemoryServer:
    on_page = memory_server(*page_clients().values())
    on_page.trust.entries += page_rules()
    for each in page_clients().values():
        on_page.trust.entries += federated_clients(each)
    return on_page


def authorizers() -> list[dict[str, Any]]:
    configurations = [value.get("authorizerConfiguration") for _, _, value in REQUESTS]
    return [each["customJWTAuthorizer"] for each in configurations if each]


def test_providers_name_registered_clients() -> None:
    methods = {"CLIENT_SECRET_BASIC": "client_secret_basic", "AWS_IAM_ID_TOKEN_JWT": "federated_jwt"}
    seen = set()
    for _, _, value in REQUESTS:
        provider = value.get("oauth2ProviderConfigInput", {}).get("customOauth2ProviderConfig")
        if provider:
            method = provider["clientAuthenticationMethod"]
            registered = page_clients()[provider["clientId"]]
            if method in methods:
                assert methods[method] in registered.authentication_methods
            seen.add(method)
    assert seen == {*methods, "PRIVATE_KEY_JWT"}


@pytest.mark.parametrize("authorizer", authorizers(), ids=lambda each: each["allowedAudience"][0])
def test_tokens_meet_the_inbound_authorizers(authorizer: dict[str, Any]) -> None:
    (audience,), (client_id,), (scope,) = (
        authorizer[name] for name in ("allowedAudience", "allowedClients", "allowedScopes")
    )
    token = server().token(client_id, {"resource": audience, "scope": scope})["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["aud"], claims["client_id"], claims["scope"].split()) == (audience, client_id, [scope])
    assert jwt.get_unverified_header(token)["alg"] == "RS256"


def test_token_of_the_role_authenticates_without_a_client_id() -> None:
    on_page = server()
    (rule,) = page_clients()["role-agent"].federation
    on_page.issuers.publish(rule.issuer, rsa_jwk("sts"))
    account = {"https://sts.amazonaws.com/": {"aws_account": "123456789012", "principal_id": rule.subject}}
    role = {"iss": rule.issuer, "sub": rule.subject, "aud": ISSUER, "iat": NOW, "exp": NOW + 300, **account}
    statuses = []
    for claims in (role, role | {"sub": "arn:aws:iam::123456789012:role/assistant"}):
        form = assertion_form(assertion(claims, alg="RS256", kid="sts"), scope="customer.read")
        statuses.append(on_page.token_endpoint(form_event(TOKEN_PATH, form))["statusCode"])
    # The client assistant has a rule for the second role. It is for actor tokens only.
    assert statuses == [200, 401]


def test_caller_of_another_issuer_gets_a_token_by_the_shown_rule() -> None:
    on_page = server()
    on_page.issuers.publish("https://login.example", rsa_jwk("idp"))
    user: dict[str, Any] = {
        "iss": "https://login.example",
        "sub": "ada",
        "aud": "https://assistant.example",
        "groups": ["staff", "it"],
    }
    user |= {"iat": NOW, "exp": NOW + 300}
    form = {"grant_type": JWT_BEARER, "scope": "customer.read", "resource": "https://customer.example"}
    form["assertion"] = assertion(user, alg="RS256", kid="idp")
    answer = on_page.token("assistant", form)
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert (claims["sub"], claims["client_id"], claims["aud"]) == ("ada", "assistant", "https://customer.example")
    assert answer["expires_in"] == 599
    unauthenticated = on_page.token_endpoint(form_event(TOKEN_PATH, form))
    assert unauthenticated["statusCode"] == 401
    form["assertion"] = assertion(user | {"groups": ["guests"]}, alg="RS256", kid="idp")
    assert on_page.refusal("assistant", form) == "invalid_grant"


def test_exchanged_token_has_the_shown_claims() -> None:
    (shown,) = (json.loads(block.text) for block in BLOCKS if block.kind == "json" and '"act"' in block.text)
    issuer = shown["act"]["iss"]
    on_page = server()
    on_page.issuers.publish(issuer, rsa_jwk("sts"))
    request = {"resource": "https://assistant.example", "scope": "customer.read"}
    subject = on_page.token("agent", request)["access_token"]
    actor = {"iss": issuer, "sub": shown["act"]["sub"], "aud": ISSUER, "iat": NOW, "exp": NOW + 300}
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": subject,
        "subject_token_type": ACCESS_TOKEN,
        "actor_token": assertion(actor, alg="RS256", kid="sts"),
        "actor_token_type": ID_TOKEN,
        "resource": "https://customer.example",
        "scope": "customer.read",
    }
    claims = jwt.decode(on_page.token("assistant", form)["access_token"], options={"verify_signature": False})
    assert claims.items() >= shown.items()
