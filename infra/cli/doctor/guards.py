"""Checks of native guards: whether they accept this deployment's tokens, and what they do not check."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from functions.shared.clients.client import Client, TokenFormat, TokenProfile
from functions.shared.keys.key_ring import JWKS_MAX_AGE
from functions.shared.keys.rotation import PROPAGATION_SECONDS
from functions.shared.web.endpoint import DISCOVERY_PATH, JWKS_PATH

from ...cloudformation import Resolver, TemplateError, checked_types, parse
from ...guards import KEY_CACHE_SECONDS, MAX_ALB_KEYS, MAX_KEY_SET_LENGTH, Guard
from ..context import Deployment
from ..errors import UsageError
from ..input_files import read_text
from ..output import counted
from ..times import span
from .context import (
    CheckContext,
    Checks,
    Finding,
    Findings,
    NativeGuard,
    failure,
    named,
    ok,
    possible_audiences,
    warning,
)

_OTHER_GUARD = "Guard that API with the Lambda authorizer or the library."

CHECKS = Checks()


@CHECKS.add("native guards", "issuer")
def issuer(context: CheckContext) -> Findings:
    """The issuer of each guard is that of the tokens, byte for byte."""
    own = context.deployment.issuer
    for guard in _guards(context):
        if guard.issuer != own and _alike(guard.issuer, own):
            yield failure(
                f"{guard} has the issuer {guard.issuer}, and tokens have {own}: every byte is compared",
                "Correct the issuer in the template.",
            )
    if context.given_guards and not any(_alike(guard.issuer, own) for guard in context.given_guards):
        yield warning(f"no guard of the templates trusts {own}", "Are these templates of another deployment?")
    return f"{counted(len(_own(context)), 'native guard')} for {own}"


@CHECKS.add("native guards", "audience")
def audience(context: CheckContext) -> Findings:
    """Clients have tokens for the audiences of each guard, byte for byte."""
    known = {name for client in context.clients for name in possible_audiences(client)}
    for guard in _own(context):
        if not guard.audiences:
            yield warning(
                f"{guard} accepts tokens for any audience, also those for other APIs", "Require the claim aud."
            )
        for name in sorted(guard.audiences - known):
            if similar := sorted(each for each in known if _alike(each, name)):
                yield failure(
                    f"{guard} has the audience {name}, and tokens have {similar[0]}: every byte is compared",
                    "Correct the audience in the template or at the clients.",
                )
            else:
                yield warning(
                    f"no client gets tokens for the audience {name} of {guard}", "Register one, or correct it."
                )
    return "clients get tokens for every audience"


@CHECKS.add("native guards", "discovery document")
def discovery(context: CheckContext) -> Findings:
    """The discovery document and the key set are as the guards need them."""
    own = context.deployment.issuer
    if not _own(context):
        return "no native guard needs it"
    if urlsplit(own).scheme != "https":
        yield failure(
            f"the issuer {own} is not an https URL, and AWS's guards read no other", "Deploy with a domain name."
        )
    url = own + DISCOVERY_PATH
    answer = context.ask("GET", url)
    jwks_uri = answer.member("jwks_uri")
    if answer.status != HTTPStatus.OK or answer.member("issuer") != own or not isinstance(jwks_uri, str):
        yield failure(
            f"{url} answers {answer.status} with the issuer {answer.member('issuer')} and the jwks_uri {jwks_uri}; "
            f"a JWT authorizer needs {own} and {own}{JWKS_PATH}",
            "Deploy again, before the authorizer is created: API Gateway reads the document then.",
        )
    for guard in _own(context):
        if guard.jwks_endpoint and guard.jwks_endpoint != jwks_uri:
            yield failure(f"{guard} reads keys at {guard.jwks_endpoint}, not at {jwks_uri}", "Correct JwksEndpoint.")
    return f"{url} names the issuer and its key set"


@CHECKS.add("native guards", "key set")
def key_set(context: CheckContext) -> Findings:
    """The key set has no more keys and bytes than the guards accept, also after rotations."""
    guards = _own(context)
    if not guards:
        return "no native guard reads it"
    answer = context.ask("GET", context.deployment.issuer + JWKS_PATH)
    keys = answer.member("keys")
    number = len(keys) if isinstance(keys, list) else 0
    for guard in guards:
        if guard.guard is Guard.ALB and number > MAX_ALB_KEYS:
            yield failure(
                f"the key set has {number} keys, and {guard} forwards no request with more than {MAX_ALB_KEYS}",
                f"Sign with fewer algorithms. {_OTHER_GUARD}",
            )
        elif guard.guard is Guard.ALB and context.keys.most_published > MAX_ALB_KEYS:
            yield warning(
                f"the key set can have {context.keys.most_published} keys, and {guard} forwards no request with more "
                f"than {MAX_ALB_KEYS}",
                f"Sign with fewer algorithms, or rotate keys less often. {_OTHER_GUARD}",
            )
        if len(answer.body) > MAX_KEY_SET_LENGTH.get(guard.guard, len(answer.body)):
            yield failure(
                f"the key set has {len(answer.body)} bytes, and {guard} accepts {MAX_KEY_SET_LENGTH[guard.guard]}",
                f"Sign with fewer algorithms. {_OTHER_GUARD}",
            )
    return f"the key set has {counted(number, 'key')}"


@CHECKS.add("native guards", "tokens bound to a key")
def bound_tokens(context: CheckContext) -> Findings:
    """No native guard accepts tokens that are bound to a key, because it would not check the key."""
    for guard in _own(context):
        bound = [
            client.client_id
            for client in _clients(context, guard)
            if client.dpop_bound_access_tokens or client.tls_client_certificate_bound_access_tokens
        ]
        if bound:
            yield warning(
                f"{guard} does not check the key of bound tokens: those of {named(bound)} pass as bearer tokens",
                _OTHER_GUARD,
            )
    return "no client with bound tokens has an audience of a guard"


@CHECKS.add("native guards", "rejected tokens")
def rejected_tokens(context: CheckContext) -> Findings:
    """Each guard accepts the tokens of the clients that have its audience."""
    for guard in _own(context):
        clients = _clients(context, guard)
        reasons = {
            "opaque": [each.client_id for each in clients if each.token_format is TokenFormat.OPAQUE],
            "the plain profile": [
                each.client_id
                for each in clients
                if each.token_format is TokenFormat.JWT and each.token_profile is TokenProfile.PLAIN
            ],
            "an algorithm that it does not support": [
                each.client_id
                for each in clients
                if each.token_format is TokenFormat.JWT
                and not all(map(guard.accepts, _signing_algorithms(each, guard)))
            ],
        }
        for reason, found in reasons.items():
            if found:
                yield warning(
                    f"{guard} rejects the tokens of {named(found)}: {reason}", "Change the clients' registration."
                )
    return "the guards accept the tokens of every client with their audience"


@CHECKS.add("native guards", "revocation")
def revocation(context: CheckContext) -> Iterator[Finding]:
    """An emergency revocation of a key waits for the key cache of each guard."""
    for guard in _own(context):
        seconds = KEY_CACHE_SECONDS[guard.guard]
        cached = span(seconds) if seconds else "a time that AWS does not document"
        yield warning(
            f"{guard} caches keys for {cached}. Until then tokens of a key pass that was revoked in an emergency. "
            "A revoked token passes until it expires",
            f"In an incident detach the authorizer or close the API. {_OTHER_GUARD}",
        )
    if not _own(context):
        yield ok("no native guard caches keys")


@CHECKS.add("native guards", "key rotation")
def key_rotation(context: CheckContext) -> Findings:
    """A new key is published long enough before it signs for every guard to have it."""
    announcing = context.keys.rules.announcing
    for guard in _own(context):
        needed = JWKS_MAX_AGE + (KEY_CACHE_SECONDS[guard.guard] or 0) + PROPAGATION_SECONDS
        if announcing < needed:
            yield failure(
                f"a key is announced for {span(announcing)}, and {guard} can need {span(needed)} until it has the key: "
                "tokens of the new key would be rejected",
                "Raise KeyAnnounceHours.",
            )
    return f"keys are announced for {span(announcing)}"


def _own(context: CheckContext) -> list[NativeGuard]:
    return [guard for guard in _guards(context) if guard.issuer == context.deployment.issuer]


def _guards(context: CheckContext) -> list[NativeGuard]:
    return [*context.given_guards, *context.once(_deployed_guards)]


def _clients(context: CheckContext, guard: NativeGuard) -> list[Client]:
    """Return the clients whose tokens can have an audience of a guard."""
    return [
        client
        for client in context.clients
        if client.grant_types and (not guard.audiences or not guard.audiences.isdisjoint(possible_audiences(client)))
    ]


def _alike(one: str, other: str) -> bool:
    """Return whether two URLs differ in case or in a final slash at most."""
    return one.rstrip("/").casefold() == other.rstrip("/").casefold()


def _signing_algorithms(client: Client, guard: NativeGuard) -> set[str]:
    """Return the algorithms of a client's tokens for the audiences of a guard."""
    names = guard.audiences.intersection(possible_audiences(client))
    return {client.signing_algorithm_for([name]) for name in names} or {client.signing_algorithm}


def template_guards(path: Path, deployment: Deployment) -> list[NativeGuard]:
    """Return the native guards of a template, as resources or in OpenAPI definitions.

    Parameters have their defaults, or the values of the deployment.

    Raises:
        NotFoundError: the template cannot be read.
        UsageError: it has no resources, or an issuer, audience or key set URL is not known from it.
    """
    values = {
        "AWS::Region": deployment.region,
        "AWS::Partition": "aws",
        "AWS::URLSuffix": "amazonaws.com",
        "AWS::StackName": path.stem,
        "GatehouseStack": deployment.name,
    }
    exports = {
        f"{deployment.name}-Issuer": deployment.issuer,
        f"{deployment.name}-JwksUri": deployment.issuer + JWKS_PATH,
    }
    try:
        return list(dict.fromkeys(_read_template(parse(read_text(path)), values, exports)))
    except TemplateError as error:
        raise UsageError(f"The guards of {path} are not known: {error}.", "Give parameters a default.") from error


def _read_template(document: object, values: Mapping[str, str], exports: Mapping[str, str]) -> Iterator[NativeGuard]:
    if not isinstance(document, dict) or "Resources" not in document:
        raise TemplateError("there are no Resources")
    sections = {name: document.get(name, {}) for name in ("Parameters", "Conditions", "Mappings", "Resources")}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise TemplateError(f"{name} is not an object")
    defaults = {
        name: each["Default"]
        for name, each in sections["Parameters"].items()
        if isinstance(each, dict) and "Default" in each
    }
    resolver = Resolver({**defaults, **values}, sections["Conditions"], sections["Mappings"], exports)
    for name, resource in sections["Resources"].items():
        for configuration in _configurations(resource):
            yield from _read(name, resolver.resolve(configuration, name))


def _deployed_guards(context: CheckContext) -> list[NativeGuard]:
    """Return the native guards of the APIs and load balancers of the account and region."""
    return [
        guard
        for name, resource in (() if context.deployment.is_local else _guarding_resources(context))
        for configuration in _configurations(resource)
        for guard in _read(name, configuration)
    ]


def _guarding_resources(context: CheckContext) -> Iterator[tuple[str, object]]:
    """Yield the authorizers of REST and HTTP APIs, and the actions of the rules of load balancers, with a name.

    AWS returns the default actions of a listener as a rule, too.
    """
    rest, http = context.aws("apigateway"), context.aws("apigatewayv2")
    for api in context.items("apigateway", "get_rest_apis", "items"):
        yield f"{api['name']} {api['id']}", rest.get_authorizers(restApiId=api["id"]).get("items", [])
    for api in context.items("apigatewayv2", "get_apis", "Items"):
        if api["ProtocolType"] == "HTTP":
            yield f"{api['Name']} {api['ApiId']}", http.get_authorizers(ApiId=api["ApiId"])["Items"]
    for balancer in context.items("elbv2", "describe_load_balancers", "LoadBalancers"):
        if balancer["Type"] == "application":
            arn = balancer["LoadBalancerArn"]
            for listener in context.items("elbv2", "describe_listeners", "Listeners", LoadBalancerArn=arn):
                name = f"{balancer['LoadBalancerName']}:{listener['Port']}"
                for rule in context.items("elbv2", "describe_rules", "Rules", ListenerArn=listener["ListenerArn"]):
                    yield f"{name} rule {rule['Priority']}", rule["Actions"]


_CONFIGURATIONS = frozenset({"jwtconfiguration", "jwtvalidationconfig"})


def _configurations(node: object) -> Iterator[object]:
    """Yield each JWT configuration in a resource. CloudFormation, OpenAPI and AWS's APIs have the same members."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from [value] if str(key).lower() in _CONFIGURATIONS else _configurations(value)
    elif isinstance(node, list):
        for value in node:
            yield from _configurations(value)


def _lower(node: Any) -> Any:
    """Return a configuration with keys in lower case."""
    if isinstance(node, dict):
        return {str(key).lower(): _lower(value) for key, value in node.items()}
    return [_lower(value) for value in node] if isinstance(node, list) else node


def _read(name: str, described: object) -> Iterator[NativeGuard]:
    configuration = _lower(described)
    with checked_types(f"{name}: the JWT configuration is not complete"):
        if "issuers" in configuration:
            algorithms = _texts(configuration.get("defaultalgorithms", []))
            for trusted in configuration["issuers"]:
                issuer, audiences = _text(trusted["issuer"]), _texts(trusted["audiences"])
                yield NativeGuard(Guard.REST_JWT, name, issuer, audiences, algorithms=algorithms)
        elif "jwksendpoint" in configuration:
            claims = configuration.get("additionalclaims", [])
            allowed = [_texts(claim["values"]) for claim in claims if claim["name"] == "aud"]
            endpoint = _text(configuration["jwksendpoint"])
            yield NativeGuard(Guard.ALB, name, _text(configuration["issuer"]), frozenset().union(*allowed), endpoint)
        else:
            issuer = _text(configuration["issuer"])
            yield NativeGuard(Guard.HTTP_JWT, name, issuer, _texts(configuration["audience"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _texts(value: object) -> frozenset[str]:
    """Return a list of texts. CloudFormation takes a text as a list of one."""
    if isinstance(value, str):
        return frozenset((value,))
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return frozenset(map(_text, value))
