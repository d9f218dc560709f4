"""`gatehouse clients import`: clients of Cognito, Keycloak, Spring Authorization Server and Hydra.

Each converter turns an export into documents of a clients file and lists what it cannot convert.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from functions.shared.clients.additional_claims import check_claims, is_reserved
from functions.shared.clients.certificate_name import parse_distinguished_name
from functions.shared.clients.client import Client, TokenFormat, TokenProfile, is_resource_indicator
from functions.shared.clients.client_secrets import StoredSecret, digest_imported
from functions.shared.clients.supported import (
    ASSERTION_ALGORITHMS,
    CLIENT_CREDENTIALS,
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
    GRANT_TYPES,
    METHODS,
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    SIGNING_ALGORITHMS,
    TLS_CLIENT_AUTH,
)
from functions.shared.lifetimes import DAY, LONGEST_TOKEN_LIFETIME

from .documents import checked
from .errors import UsageError
from .input_files import read_text
from .times import parse_moment

_SHORTEST_LIFETIME = 2

_COGNITO_FLOWS = {"code": "authorization_code", "implicit": "implicit"}
_USER_SCOPES = frozenset({"openid", "email", "phone", "profile", "aws.cognito.signin.user.admin"})
_SPRING_SECRET = re.compile(r"\{([^{}]*)\}(.*)", re.DOTALL)
_HYDRA_HASH = re.compile(r"\$(2[abxy]?|pbkdf2-sha\d+|argon2\w*)\$")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_COGNITO_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": DAY}
_DURATION = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)(ns|us|µs|ms|s|m|h)")
_X500_UNIQUE_IDENTIFIER = "2.5.4.45"
_KEYCLOAK_CLIENTS = frozenset(
    {"account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console"}
)
"""Clients of every realm, which belong to Keycloak itself."""

_KEYCLOAK_FLOWS = {
    "serviceAccountsEnabled": CLIENT_CREDENTIALS,
    "standardFlowEnabled": "authorization_code",
    "implicitFlowEnabled": "implicit",
    "directAccessGrantsEnabled": "password",
}
_KEYCLOAK_SCOPES = frozenset(
    {
        *("acr", "address", "basic", "email", "microprofile-jwt", "offline_access", "openid", "organization"),
        *("phone", "profile", "roles", "service_account", "web-origins"),
    }
)
"""Client scopes of every realm, which are about users or belong to Keycloak itself."""

_KEYCLOAK_BINDINGS = {
    "tls.client.certificate.bound.access.tokens": "tls_client_certificate_bound_access_tokens",
    "dpop.bound.access.tokens": "dpop_bound_access_tokens",
}
_CLAIM_PATH = re.compile(r"(?<!\\)\.")
_FORMAT_ERRORS = (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError, csv.Error)
"""Raised by converters for values of another type, size or depth than the format has."""


@dataclass(slots=True)
class Draft:
    """A converted client: a document of a clients file, and what was not converted.

    `refusal` is the reason why the client cannot be registered at all.
    """

    client_id: str
    document: dict[str, Any] = field(default_factory=dict)
    secret: StoredSecret | None = None
    lost: list[str] = field(default_factory=list)
    refusal: str = ""

    def lose(self, problem: str, names: Iterable[str]) -> None:
        """Record names that cannot be converted."""
        if text := ", ".join(names):
            self.lost.append(f"{problem}: {text}")

    def carry_methods(self, methods: Iterable[str]) -> None:
        """Import the supported authentication methods."""
        given = dict.fromkeys(methods)
        self.lost += [f"authentication method {each} is not supported" for each in given if each not in METHODS]
        supported = self.document["authentication_methods"] = [each for each in given if each in METHODS]
        if not supported:
            self.refusal = "no supported authentication method"

    def carry_grants(self, grants: Iterable[str]) -> None:
        """Import the grant types for machines."""
        given = dict.fromkeys(grants)
        self.lose("grant types for users are not supported", (grant for grant in given if grant not in GRANT_TYPES))
        supported = [grant for grant in given if grant in GRANT_TYPES]
        if CLIENT_CREDENTIALS not in supported:
            self.refusal = "client credentials grant is not allowed"
        if supported != [CLIENT_CREDENTIALS]:
            self.document["grant_types"] = supported

    def carry_lifetime(self, seconds: float | None, default: int) -> None:
        """Import a token lifetime within the supported range."""
        wanted = int(default if seconds is None else seconds)
        lifetime = self.document["token_lifetime"] = min(max(wanted, _SHORTEST_LIFETIME), LONGEST_TOKEN_LIFETIME)
        if lifetime != wanted:
            self.lost.append(f"token lifetime of {wanted} seconds becomes {lifetime}")

    def carry_algorithm(self, algorithm: object) -> bool:
        """Import the algorithm that signs its tokens; return whether it is supported."""
        if is_supported := algorithm in SIGNING_ALGORITHMS:
            self.document["signing_algorithm"] = algorithm
        return is_supported

    def carry_assertion(self, keys: Mapping[str, object], algorithm: object) -> None:
        """Import the rules of private_key_jwt; these clients send the token endpoint as `aud`."""
        rules = self.document["assertion"] = {"accepts_token_endpoint": True, **keys}
        if algorithm in ASSERTION_ALGORITHMS:
            rules["signing_alg"] = algorithm
        elif algorithm:
            self.lost.append(f"assertions signed with {algorithm} are not supported")

    def finished(self) -> Client | None:
        """Return the client without its secret, or None with `refusal` set."""
        if self.refusal:
            return None
        try:
            return checked({"client_id": self.client_id, "token_profile": TokenProfile.PLAIN, **self.document})
        except UsageError as error:
            self.refusal = f"not valid: {error.problem}"
            return None


def read_cognito(text: str, source: str) -> Iterator[Draft]:
    """Convert the output of `aws cognito-idp describe-user-pool-client`; raises UsageError."""
    for document in read_documents(text, source):
        is_wrapped = isinstance(document, dict) and "UserPoolClient" in document
        entry = document["UserPoolClient"] if is_wrapped else document
        draft = Draft(_client_id(entry, "ClientId", source), {"name": entry.get("ClientName", "")})
        draft.carry_grants(_COGNITO_FLOWS.get(flow, flow) for flow in entry.get("AllowedOAuthFlows", []))
        draft.carry_methods([CLIENT_SECRET_BASIC, CLIENT_SECRET_POST])
        if entry.get("ClientSecret"):
            draft.secret = StoredSecret(digest_imported(entry["ClientSecret"]))
        elif not draft.refusal:
            draft.lost.append("the export contains no ClientSecret")
        scopes = _words(entry.get("AllowedOAuthScopes", []))
        draft.lose("scopes of users are not supported", (scope for scope in scopes if scope in _USER_SCOPES))
        draft.document["scopes"] = [scope for scope in scopes if scope not in _USER_SCOPES]
        # Cognito grants all scopes to a request that names none.
        draft.document["default_scopes"] = draft.document["scopes"]
        validity = entry.get("AccessTokenValidity")  # 0: the default
        unit = (entry.get("TokenValidityUnits") or {}).get("AccessToken", "hours")
        draft.carry_lifetime(int(validity) * _COGNITO_UNITS.get(unit, 3600) if validity else None, 3600)
        yield draft


def read_spring(text: str, source: str) -> Iterator[Draft]:
    """Convert Spring's table oauth2_registered_client, as CSV or JSON; raises UsageError."""
    for columns in _spring_rows(text, source):
        row = {str(name).lower(): value for name, value in columns.items()}
        draft = Draft(_client_id(row, "client_id", source), {"name": row.get("client_name") or ""})
        draft.document["scopes"] = _words(row.get("scopes"))
        draft.carry_grants(_words(row.get("authorization_grant_types")))
        client_settings = _spring_settings(row.get("client_settings"), "settings.client.")
        _spring_methods(draft, _words(row.get("client_authentication_methods")), client_settings)
        _spring_secret(draft, row.get("client_secret"), row.get("client_secret_expires_at"))
        settings = _spring_settings(row.get("token_settings"), "settings.token.")
        draft.carry_lifetime(_seconds(settings.get("access-token-time-to-live")), 300)
        token_format = settings.get("access-token-format")
        if (token_format.get("value") if isinstance(token_format, dict) else token_format) == "reference":
            draft.document["token_format"] = TokenFormat.OPAQUE.value
        if settings.get("x509-certificate-bound-access-tokens"):
            draft.document["tls_client_certificate_bound_access_tokens"] = True
        draft.carry_algorithm(_last(settings.get("access-token-signature-algorithm")))
        yield draft


def _spring_rows(text: str, source: str) -> Iterable[dict[str, Any]]:
    if text.lstrip()[:1] in {"[", "{"}:
        return [row if isinstance(row, dict) else {} for row in read_documents(text, source)]
    rows = csv.DictReader(io.StringIO(text))
    if "client_id" not in [name.lower() for name in rows.fieldnames or ()]:
        raise UsageError(f"{source} has no column client_id in its first line.", "Export the table with column names.")
    return rows


def _spring_methods(draft: Draft, methods: list[str], settings: Mapping[str, Any]) -> None:
    keys, subject = settings.get("jwk-set-url"), settings.get("x509-certificate-subject-dn")
    unusable = {SELF_SIGNED_TLS_CLIENT_AUTH: " needs the certificate: use create --certificate"}
    if not keys:
        unusable[PRIVATE_KEY_JWT] = " needs jwk-set-url, which is not set"
    if not subject:
        unusable[TLS_CLIENT_AUTH] = " needs the certificate subject, which is not set"
    elif reason := subject_mismatch(subject):
        unusable[TLS_CLIENT_AUTH] = f": no certificate can match {subject!r}: {reason}"
    draft.lost += [f"{method}{unusable[method]}" for method in methods if method in unusable]
    usable = [method for method in methods if method not in unusable]
    if PRIVATE_KEY_JWT in usable:
        algorithm = _last(settings.get("token-endpoint-authentication-signing-algorithm"))
        draft.carry_assertion({"jwks_uri": keys}, algorithm)
    if TLS_CLIENT_AUTH in usable:
        draft.document["certificate_name"] = {"kind": "subject_dn", "value": subject}
    draft.carry_methods(usable)


def subject_mismatch(subject: object) -> str:
    """Return why no certificate can match a subject; empty if one can."""
    if not isinstance(subject, str):
        return "it is not a string"
    try:
        name = parse_distinguished_name(subject)
    except ValueError as error:
        return str(error)
    for oid, value in frozenset().union(*name):
        if isinstance(value, bytes) and oid != _X500_UNIQUE_IDENTIFIER:
            return f"only x500UniqueIdentifier can be a BIT STRING, and {oid} is not"
    return ""


def _spring_secret(draft: Draft, stored: object, expires_at: object) -> None:
    if not isinstance(stored, str) or not stored:
        return
    encoded = _SPRING_SECRET.fullmatch(stored)
    if not (encoded and encoded[1] == "noop" and encoded[2]):
        kind = encoded[1] if encoded else "unnamed"
        draft.lost.append(f"the secret is a hash ({kind}), which cannot be converted")
        return
    if isinstance(expires_at, str):
        try:
            expires_at = parse_moment(expires_at, 0) if expires_at else None
        except UsageError:
            draft.lost.append("the secret, because its expiry cannot be read")
            return
    end = int(expires_at) if isinstance(expires_at, int | float) else None
    draft.secret = StoredSecret(digest_imported(encoded[2]), expires_at=end)


def _spring_settings(value: object, prefix: str) -> dict[str, Any]:
    """Return settings by their short names, without Jackson's type members."""
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return {}
    if not isinstance(value, dict):
        return {}
    return {name.removeprefix(prefix): each for name, each in value.items() if name != "@class"}


def _last(value: object) -> Any:
    """Return a value that Jackson may write as [type, value]."""
    return value[-1] if isinstance(value, list) and value else value


def read_hydra(text: str, source: str) -> Iterator[Draft]:
    """Convert the output of `hydra list oauth2-clients --format json`, or of Hydra's API.

    Raises:
        UsageError: the text is not such an export.
    """
    for document in read_documents(text, source):
        is_page = isinstance(document, dict) and isinstance(document.get("items"), list)
        for entry in document["items"] if is_page else [document]:
            draft = Draft(_client_id(entry, "client_id", source), {"name": entry.get("client_name") or ""})
            draft.carry_grants(_words(entry.get("grant_types")))
            _hydra_method(draft, entry)
            scopes = draft.document["scopes"] = _words(entry.get("scope"))
            draft.lose("scope patterns become exact scopes", (scope for scope in scopes if "*" in scope))
            _hydra_audience(draft, _words(entry.get("audience")))
            draft.carry_lifetime(_seconds(entry.get("client_credentials_grant_access_token_lifespan")), 3600)
            strategy = entry.get("access_token_strategy")
            if strategy != "jwt":
                draft.document["token_format"] = TokenFormat.OPAQUE.value
            if not strategy:
                draft.lost.append("token format: imported as opaque, the default of Hydra")
            if entry.get("metadata"):
                draft.lost.append("metadata is not supported")
            yield draft


def _hydra_method(draft: Draft, entry: Mapping[str, Any]) -> None:
    method = entry.get("token_endpoint_auth_method") or CLIENT_SECRET_BASIC
    draft.carry_methods([method])
    if method == PRIVATE_KEY_JWT:
        uri, inline = entry.get("jwks_uri"), (entry.get("jwks") or {}).get("keys")
        if not (uri or inline):
            draft.refusal = "the export lacks the client's keys for private_key_jwt"
        keys = {"jwks_uri": uri} if uri else {"jwks": {"keys": inline}}
        draft.carry_assertion(keys, entry.get("token_endpoint_auth_signing_alg"))
    elif method.startswith("client_secret_"):
        secret = entry.get("client_secret")
        if not secret:
            draft.lost.append("Hydra exports no secrets")
        elif _HYDRA_HASH.match(secret):
            draft.lost.append("the secret is a hash, which cannot be converted")
        else:
            expires_at = entry.get("client_secret_expires_at") or None
            draft.secret = StoredSecret(digest_imported(secret), expires_at=expires_at)


def _hydra_audience(draft: Draft, audience: list[str]) -> None:
    """Import the audiences that a request may name: in Hydra `audience`, here `resource`."""
    named = [each for each in audience if is_resource_indicator(each)]
    if named:
        draft.document["allowed_resources"] = named
        draft.lost.append("requests name their API in resource (RFC 8707), not in audience")
    draft.lose("not an absolute URI and therefore not a resource", (each for each in audience if each not in named))


def read_keycloak(text: str, source: str) -> Iterator[Draft]:
    """Convert a realm export of Keycloak, or representations of clients; raises UsageError."""
    for document in read_documents(text, source):
        is_realm = isinstance(document, dict) and "clients" in document
        for entry in document["clients"] if is_realm else [document]:
            draft = Draft(_client_id(entry, "clientId", source), {"name": entry.get("name") or ""})
            if draft.client_id not in _KEYCLOAK_CLIENTS:
                _keycloak_client(draft, entry, document if is_realm else {})
                yield draft


def _keycloak_client(draft: Draft, entry: Mapping[str, Any], realm: Mapping[str, Any]) -> None:
    settings = entry.get("attributes") or {}
    draft.carry_grants(flow for name, flow in _KEYCLOAK_FLOWS.items() if entry.get(name))
    _keycloak_method(draft, entry, settings)
    default, optional = (entry.get(f"{kind}ClientScopes") or [] for kind in ("default", "optional"))
    given = draft.document["scopes"] = [each for each in (*default, *optional) if each not in _KEYCLOAK_SCOPES]
    # Keycloak adds the default scopes to each token.
    draft.document["default_scopes"] = [scope for scope in given if scope in default]
    lifespan = settings.get("access.token.lifespan") or realm.get("accessTokenLifespan")
    draft.carry_lifetime(_seconds(f"{lifespan}s") if lifespan else None, 300)
    default_scopes = [scope for scope in realm.get("clientScopes", ()) if scope["name"] in default]
    mappers = [mapper for owner in (entry, *default_scopes) for mapper in owner.get("protocolMappers") or ()]
    _keycloak_mappers(draft, mappers)
    algorithm = settings.get("access.token.signed.response.alg") or realm.get("defaultSignatureAlgorithm")
    if algorithm and not draft.carry_algorithm(algorithm):
        draft.lost.append(f"tokens signed with {algorithm} are not supported")
    for setting, name in _KEYCLOAK_BINDINGS.items():
        if settings.get(setting) == "true":
            draft.document[name] = True
    if entry.get("enabled") is False:
        draft.document["disabled"] = True


def _keycloak_method(draft: Draft, entry: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    kind, secret = entry.get("clientAuthenticatorType", "client-secret"), entry.get("secret")
    if entry.get("publicClient"):
        draft.refusal = "a public client does not authenticate"
    elif kind == "client-jwt" and settings.get("use.jwks.url") == "true" and settings.get("jwks.url"):
        draft.carry_assertion({"jwks_uri": settings["jwks.url"]}, settings.get("token.endpoint.auth.signing.alg"))
        draft.carry_methods([PRIVATE_KEY_JWT])
    elif kind == "client-secret":
        draft.carry_methods([CLIENT_SECRET_BASIC, CLIENT_SECRET_POST])
        if isinstance(secret, str) and secret.strip("*"):
            draft.secret = StoredSecret(digest_imported(secret))
        else:
            draft.lost.append("the export contains no secret")
    else:
        draft.refusal = f"client authentication {kind} is imported only with keys at a URL"


def _keycloak_mappers(draft: Draft, mappers: Iterable[Mapping[str, Any]]) -> None:
    """Import audiences and hard-coded claims of access tokens. Other mappers are about users."""
    audience: list[str] = []
    claims: dict[str, Any] = {}
    for mapper in mappers:
        kind, config = mapper.get("protocolMapper"), mapper.get("config") or {}
        if config.get("access.token.claim", "true") != "true":
            continue
        if kind == "oidc-audience-mapper":
            audience += filter(None, [config.get("included.client.audience") or config.get("included.custom.audience")])
        elif kind == "oidc-hardcoded-claim-mapper":
            _add_claim(draft, claims, config)
    if audience:
        draft.document |= {"audience": [*dict.fromkeys(audience)], "token_profile": TokenProfile.AT_JWT.value}
    else:
        draft.lost.append("no audience mapper: tokens get the profile plain")
    try:
        check_claims(claims)
        draft.document["claims"] = claims
    except ValueError as error:
        draft.lost.append(f"hard-coded claims: {error}")


def _add_claim(draft: Draft, claims: dict[str, Any], config: Mapping[str, Any]) -> None:
    """Add a hard-coded claim. A dot in its name separates objects, unless a backslash precedes it."""
    *parents, name = (part.replace(r"\.", ".") for part in _CLAIM_PATH.split(config.get("claim.name", "")))
    if is_reserved(parents[0] if parents else name):
        draft.lost.append(f"the claim {config['claim.name']} is reserved")
        return
    text = config.get("claim.value", "")
    value = text if config.get("jsonType.label", "String") == "String" else json.loads(text)
    for parent in parents:
        claims = claims.setdefault(parent, {})
    claims[name] = value


def _seconds(value: object) -> float | None:
    """Return a duration in seconds: a number, or text of ISO 8601 (PT1H) or Go (1h30m)."""
    value = _last(value)
    if isinstance(value, int | float):
        return float(value)
    text = value.lower().removeprefix("pt") if isinstance(value, str) else ""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def read_documents(text: str, source: str) -> Iterator[Any]:
    """Yield JSON documents: one, an array of them, or several one after the other.

    Raises:
        UsageError: the text is empty or not JSON.
    """
    decoder, position = json.JSONDecoder(), 0
    if not text.strip():
        raise UsageError(f"{source} is empty.")
    while rest := text[position:].lstrip():
        try:
            document, position = decoder.raw_decode(text, len(text) - len(rest))
        except json.JSONDecodeError as error:
            # Without the text, because an export contains secrets.
            raise UsageError(f"{source} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}.") from None
        yield from document if isinstance(document, list) else [document]


def _client_id(entry: Mapping[str, Any], name: str, source: str) -> str:
    client_id = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(client_id, str) or not client_id:
        raise UsageError(f"{source} has an entry without {name}.", "Check the format.")
    return client_id


def _words(value: object) -> list[str]:
    """Return the entries of a list, or of a string separated by spaces or commas."""
    if isinstance(value, str):
        return value.replace(",", " ").split()
    return [str(each) for each in value] if isinstance(value, list) else []


def read_export(kind: str, file: Path) -> list[Draft]:
    """Convert an export in one of FORMATS; raises NotFoundError, UsageError."""
    text = read_text(file)
    try:
        return list(FORMATS[kind](text, str(file)))
    except _FORMAT_ERRORS as error:
        # Without the value, because an export contains secrets.
        problem = f"{file} contains a value that the format {kind} does not have."
        raise UsageError(problem, "Check the format.") from error


FORMATS: Mapping[str, Callable[[str, str], Iterator[Draft]]] = {
    "cognito": read_cognito,
    "keycloak": read_keycloak,
    "spring": read_spring,
    "hydra": read_hydra,
}
