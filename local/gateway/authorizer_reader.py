"""Read authorizers of an OpenAPI document: their identity sources, and native JWT authorizers.

Sources: the API models of `apigateway` and `apigatewayv2`, and API Gateway Developer Guide,
"Create a JWT authorizer for a REST API".
"""

import re
from collections.abc import Mapping
from typing import Any

from authorizer.https_client import parse_url
from infra.cloudformation import TemplateError
from local.gateway.model import IdentitySource, JwtAuthorizer, JwtIssuer, RequiredClaim
from local.gateway.native_jwt import HTTP_ALGORITHMS, REST_ALGORITHMS

_HTTP_SOURCE = re.compile(r"\$(?:request\.(header|querystring)|(context|stageVariables))\.(.+)")
_REST_SOURCE = re.compile(r"(?:method\.request\.(header|querystring)|(context|stageVariables))\.(.+)")
# A native JWT authorizer checks these itself.
_RESERVED_CLAIMS = {"iss", "aud", "exp", "nbf", "iat", "scope", "scp"}


def check_supported(properties: Mapping[str, Any], supported: str, ignored: str, where: str) -> None:
    """Reject properties that are neither supported nor ignored, both separated by spaces.

    An ignored property changes no response. A gateway that skipped others would emulate an API
    that differs from the deployed one.
    """
    unknown = sorted(set(properties) - {*supported.split(), *ignored.split()})
    if unknown:
        raise TemplateError(f"{where}: {', '.join(unknown)} is not supported on the laptop")


def authorizer_kind(scheme: Mapping[str, Any]) -> str:
    """Return the type of a security scheme's authorizer in upper case."""
    return str(scheme.get("x-amazon-apigateway-authorizer", {}).get("type")).upper()


def read_jwt_authorizer(name: str, scheme: Mapping[str, Any], api: str, *, rest: bool) -> JwtAuthorizer:
    """Return a native JWT authorizer; raises TemplateError for one that AWS would not create."""
    where = f"{api}: authorizer {name}"
    declared = scheme["x-amazon-apigateway-authorizer"]
    check_supported(declared, "identitySource jwtConfiguration type", "", where)
    sources = identity_sources(declared, where, rest=rest)
    locations = ("header",) if rest else ("header", "querystring")
    if len(sources) != 1 or sources[0].location not in locations:
        raise TemplateError(f"{where}: a JWT authorizer needs one identity source, a request header")
    configuration = declared.get("jwtConfiguration", {})
    if rest:
        check_supported(configuration, "defaultAlgorithms issuers", "", where)
        algorithms = frozenset(configuration.get("defaultAlgorithms", []))
        issuers = tuple(_jwt_issuer(each, where) for each in configuration.get("issuers", []))
    else:
        check_supported(configuration, "audience issuer", "", where)
        algorithms = HTTP_ALGORITHMS
        members = {"issuer": configuration.get("issuer"), "audiences": configuration.get("audience")}
        issuers = (_jwt_issuer(members, where),)
    if not algorithms or not algorithms <= REST_ALGORITHMS:
        raise TemplateError(f"{where}: defaultAlgorithms must be some of {', '.join(sorted(REST_ALGORITHMS))}")
    if not issuers or len({each.issuer for each in issuers}) < len(issuers):
        raise TemplateError(f"{where}: a JWT authorizer needs issuers that differ")
    return JwtAuthorizer(name, sources[0], issuers, algorithms)


def _jwt_issuer(declared: Mapping[str, Any], where: str) -> JwtIssuer:
    check_supported(declared, "additionalClaims audiences issuer", "", where)
    issuer = str(declared.get("issuer"))
    try:
        parse_url(issuer)  # the laptop accepts http for a loopback host
    except ValueError as error:
        raise TemplateError(f"{where}: the issuer {issuer} is {error}") from error
    if "?" in issuer:
        raise TemplateError(f"{where}: the issuer {issuer} has a query")
    audiences = frozenset(declared.get("audiences") or [])
    if not audiences or not all(audiences):
        raise TemplateError(f"{where}: the issuer {issuer} needs audiences")
    claims = tuple(_required_claim(each, where) for each in declared.get("additionalClaims", []))
    if len({each.name for each in claims}) < len(claims):
        raise TemplateError(f"{where}: an additional claim is declared twice")
    return JwtIssuer(issuer, audiences, claims)


def _required_claim(declared: Mapping[str, Any], where: str) -> RequiredClaim:
    check_supported(declared, "claimName expectedValues format required", "", where)
    name, values = declared.get("claimName"), declared.get("expectedValues", [])
    if not name or name in _RESERVED_CLAIMS:
        raise TemplateError(f"{where}: {name} is not an additional claim")
    if declared.get("format") != "SINGLE_STRING":
        raise TemplateError(f"{where}: the format of {name} must be SINGLE_STRING")
    if len(values) > 1:
        raise TemplateError(f"{where}: {name} has several values")
    return RequiredClaim(str(name), values[0] if values else None, declared.get("required", False) in (True, "true"))


def identity_sources(declared: Mapping[str, Any], where: str, *, rest: bool) -> tuple[IdentitySource, ...]:
    """Return the identity sources of an authorizer; raises TemplateError."""
    sources = declared.get("identitySource", [])
    if isinstance(sources, str):
        sources = [source.strip() for source in sources.split(",") if source.strip()]
    return tuple(_identity_source(_REST_SOURCE if rest else _HTTP_SOURCE, source, where) for source in sources)


def _identity_source(pattern: re.Pattern[str], text: object, where: str) -> IdentitySource:
    match = pattern.fullmatch(str(text))
    if match is None:
        raise TemplateError(f"{where}: {text!r} is not an identity source that is supported")
    if match[1] == "header":
        return IdentitySource("header", match[3])
    if match[1] == "querystring":
        return IdentitySource("querystring", match[3])
    return IdentitySource("stage_variable" if match[2] == "stageVariables" else "context", match[3])
