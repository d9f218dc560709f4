"""The settings of an authorizer, from its environment."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from . import strict_json
from .claims import CERTIFICATE, DPOP_KEY, context_name, one_or_more
from .https_client import parse_url
from .jws import ALGORITHMS, with_both_names

_T = TypeVar("_T")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
_CONFIRMATION_METHODS = {"dpop": DPOP_KEY, "mtls": CERTIFICATE}
_PARAMETER_PATH = re.compile(r"(/[A-Za-z0-9_.-]+)+")
_DISCOVER = "discover"
_ISSUER_MEMBERS = frozenset(("jwks_uri", "audience", "client_ids"))


class SettingsError(ValueError):
    """Raised with every setting that is missing or wrong."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("the authorizer's environment is not usable: " + "; ".join(faults))


class IssuerSettings(NamedTuple):
    """A trusted issuer. An empty set of audiences or clients means any.

    `jwks_uri` is None if it is discovered from the issuer's metadata.
    """

    issuer: str
    jwks_uri: str | None
    audiences: frozenset[str]
    client_ids: frozenset[str]


class Settings(NamedTuple):
    """The authorizer's settings. Times are in seconds.

    `jwks_uri` is None if it is discovered from the issuer's metadata.
    """

    # Trusted issuers and rules for their tokens
    issuer: str
    """The `iss` of tokens, byte for byte."""

    jwks_uri: str | None
    """The URL of its keys: https, or http on this machine. `discover`: as in its `/.well-known/openid-configuration`.
    """

    other_issuers: tuple[IssuerSettings, ...]
    """More issuers, as JSON: `{"https://…": {"jwks_uri": "https://…", "audience": ["…"], "client_ids": ["…"]}}`.
    `audience` is required, `client_ids` is never empty; without `client_ids` any client of that issuer is accepted,
    which is logged at the start; without `jwks_uri` the keys are discovered.
    """

    audiences: frozenset[str]
    """Comma list; a token and an introspection response need one of them. Without it audiences are not checked, which
    is logged once.
    """

    client_ids: frozenset[str]
    """Comma list of the clients accepted from `ISSUER`. Without it any. A token names its client in `client_id` or
    `azp`, or else in `cid` (Okta) or `appid` (Entra ID v1).
    """

    algorithms: frozenset[str]
    """Comma list of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, Ed25519, ML-DSA-44, ML-DSA-65,
    ML-DSA-87. `EdDSA` is another name of Ed25519. The key set of an issuer decides which of them each key may verify.
    """

    require_at_jwt: bool
    """Accept tokens of type `at+jwt` (RFC 9068) only."""

    max_token_lifetime: float
    """A JWT with a longer lifetime is rejected."""

    # Key sets, and other remote data
    jwks_soft_age: float
    """A key set older than this is fetched again."""

    jwks_hard_age: float
    """The longest use of a key set while the issuer is unavailable."""

    jwks_cool_down: float
    """The time for which one unknown key id prevents fetches for others."""

    jwks_seed: str | None
    """A file with the key set of `ISSUER`, to start with ([a seed](../guard-your-api.md#a-seed))."""

    fetch_timeout: float
    """The time for all fetches of one request, or less if Lambda's time-out is near."""

    # Opaque tokens
    introspection_uri: str | None
    """The introspection endpoint (RFC 7662). Without it opaque tokens are rejected."""

    introspection_client_id: str | None
    """The authorizer's client id for that endpoint."""

    introspection_client_secret: str | None
    """Its secret."""

    introspection_secret_arn: str | None
    """A Secrets Manager secret with both, `{"client_id": …, "client_secret": …}`."""

    introspection_cache: float
    """The time for which an active token is cached, and stays usable after its revocation."""

    # Tokens that are bound to a key
    confirmation_methods: frozenset[str]
    """Comma list of dpop, mtls. Without it tokens that are bound to a key are rejected."""

    resource: str | None
    """This API's URL, if its callers use another one than the event's domain name."""

    replay_table: str | None
    """The DynamoDB table of used proofs. dpop needs it."""

    replays_in_memory: bool
    """Store them in this process instead, if there is only one."""

    # Revoked JWTs
    deny_list_table: str | None
    """The DynamoDB table of revoked JWTs. Without it they are not looked up."""

    deny_list_soft_age: float
    """The time for which "not revoked" is cached."""

    deny_list_hard_age: float
    """The same while the table is unavailable."""

    # Scope maps of one API or of several
    scope_map: str | None
    """The scope map, as JSON or as a file's path. Default: `scopes.json` next to the code."""

    api_rules: str | None
    """The path of the parameters that have each API's rules; takes the place of `SCOPE_MAP` and `AUDIENCE`. Rules
    without `audience` are rejected. Without it one scope map for every API.
    """

    api_rules_soft_age: float
    """Rules older than this are loaded again."""

    api_rules_hard_age: float
    """The longest use of rules while they cannot be loaded."""

    # ResponseWriter, memory and log lines
    simple_response: bool
    """Return a boolean instead of a policy (HTTP API, payload format 2.0)."""

    usage_keys: str | None
    """A file with [API keys by client id](../guard-your-api.md#usage-plans)."""

    context_claims: frozenset[str]
    """Comma list of claims that the context has for the backend, as `claim_<name>`. Without it none."""

    policy_expires: bool
    """End the Allow with the token."""

    remembered_tokens: int
    """The number of cached tokens (of each API), and of cached results of the deny list."""

    stack_name: str | None
    """The stack dimension of the [metrics](metrics.md). Without it lines have no metrics."""

    @property
    def issuers(self) -> tuple[IssuerSettings, ...]:
        """All trusted issuers, that of `ISSUER` first."""
        first = IssuerSettings(self.issuer, self.jwks_uri, self.audiences, self.client_ids)
        return first, *self.other_issuers

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings; an empty variable counts as one that is not set.

        Raises:
            SettingsError: naming each variable that is missing or not usable.
        """
        reader = _Reader(environ)
        issuer = reader.read("ISSUER", _issuer, "")
        settings = cls(
            issuer=issuer,
            jwks_uri=reader.read("JWKS_URI", _jwks_uri, _usual_jwks_uri(issuer)),
            other_issuers=reader.read("OTHER_ISSUERS", _other_issuers, ()),
            audiences=reader.read("AUDIENCE", _comma_list, frozenset()),
            client_ids=reader.read("CLIENT_IDS", _comma_list, frozenset()),
            algorithms=reader.read("ALGORITHMS", _algorithms, frozenset(("RS256",))),
            require_at_jwt=reader.read("REQUIRE_AT_JWT", _switch, default=False),
            max_token_lifetime=reader.read("MAX_TOKEN_LIFETIME", _seconds, 86_400.0),
            jwks_soft_age=reader.read("JWKS_SOFT_AGE", _seconds, 300.0),
            jwks_hard_age=reader.read("JWKS_HARD_AGE", _seconds, 3600.0),
            jwks_cool_down=reader.read("JWKS_COOL_DOWN", _seconds, 30.0),
            jwks_seed=reader.read("JWKS_SEED", str, None),
            fetch_timeout=reader.read("FETCH_TIMEOUT", _seconds, 3.0),
            introspection_uri=reader.read("INTROSPECTION_URI", _url, None),
            introspection_client_id=reader.read("INTROSPECTION_CLIENT_ID", str, None),
            introspection_client_secret=reader.read("INTROSPECTION_CLIENT_SECRET", str, None),
            introspection_secret_arn=reader.read("INTROSPECTION_SECRET_ARN", str, None),
            introspection_cache=reader.read("INTROSPECTION_CACHE", _seconds, 60.0),
            confirmation_methods=reader.read("PROOF_OF_POSSESSION", _confirmation_methods, frozenset()),
            resource=reader.read("RESOURCE", _resource, None),
            replay_table=reader.read("REPLAY_TABLE", str, None),
            replays_in_memory=reader.read("REPLAYS_IN_MEMORY", _switch, default=False),
            deny_list_table=reader.read("DENY_LIST_TABLE", str, None),
            deny_list_soft_age=reader.read("DENY_LIST_SOFT_AGE", _seconds, 60.0),
            deny_list_hard_age=reader.read("DENY_LIST_HARD_AGE", _seconds, 300.0),
            scope_map=reader.read("SCOPE_MAP", str, None),
            api_rules=reader.read("API_RULES", _parameter_path, None),
            api_rules_soft_age=reader.read("API_RULES_SOFT_AGE", _seconds, 300.0),
            api_rules_hard_age=reader.read("API_RULES_HARD_AGE", _seconds, 3600.0),
            simple_response=reader.read("SIMPLE_RESPONSE", _switch, default=False),
            usage_keys=reader.read("USAGE_KEYS", str, None),
            context_claims=reader.read("CONTEXT_CLAIMS", _context_claims, frozenset()),
            policy_expires=reader.read("POLICY_EXPIRES", _switch, default=True),
            remembered_tokens=reader.read("REMEMBERED_TOKENS", _count, 1024),
            stack_name=reader.read("STACK_NAME", str, None),
        )
        faults = [*reader.faults, *_contradictions(settings)]
        if faults:
            raise SettingsError(faults)
        return settings


class _Reader:
    """Reads variables one by one and collects their faults, never their values."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults = [] if environ.get("ISSUER") else ["ISSUER is not set"]

    def read(self, name: str, convert: Callable[[str], _T], default: _T) -> _T:
        value = self._environ.get(name)
        if not value:
            return default
        try:
            return convert(value)
        except ValueError as error:
            self.faults.append(f"{name} is {error}")
            return default


def _contradictions(settings: Settings) -> list[str]:
    credentials = (settings.introspection_client_id, settings.introspection_client_secret)
    own_credentials = "INTROSPECTION_CLIENT_ID and INTROSPECTION_CLIENT_SECRET"
    in_memory = "REPLAYS_IN_MEMORY where one process answers every request"
    accepts_dpop = DPOP_KEY in settings.confirmation_methods
    for_several_apis = settings.api_rules is not None
    faults = [
        (credentials.count(None) == 1, f"{own_credentials} go together"),
        (
            settings.introspection_uri and not (all(credentials) or settings.introspection_secret_arn),
            f"INTROSPECTION_URI needs INTROSPECTION_SECRET_ARN, or {own_credentials}",
        ),
        (
            accepts_dpop and (settings.replay_table is None) != settings.replays_in_memory,
            f"PROOF_OF_POSSESSION by dpop needs REPLAY_TABLE, or {in_memory}",
        ),
        (settings.simple_response and settings.usage_keys, "USAGE_KEYS has no place in a SIMPLE_RESPONSE"),
        (settings.issuer in {each.issuer for each in settings.other_issuers}, "OTHER_ISSUERS names ISSUER again"),
        *(
            (soft > hard, f"{name}_SOFT_AGE is longer than {name}_HARD_AGE")
            for name, soft, hard in (
                ("JWKS", settings.jwks_soft_age, settings.jwks_hard_age),
                ("DENY_LIST", settings.deny_list_soft_age, settings.deny_list_hard_age),
                ("API_RULES", settings.api_rules_soft_age, settings.api_rules_hard_age),
            )
        ),
        (for_several_apis and settings.scope_map, "API_RULES takes the place of SCOPE_MAP: one of them only"),
        (
            for_several_apis and settings.audiences,
            "AUDIENCE is for one API: with API_RULES, each API's rules name theirs",
        ),
        (for_several_apis and settings.resource, "RESOURCE is the address of one API, and API_RULES is for several"),
    ]
    return [fault for is_present, fault in faults if is_present]


def _url(value: str) -> str:
    parse_url(value)
    return value


def _usual_jwks_uri(issuer: str) -> str | None:
    return f"{issuer.removesuffix('/')}/oauth2/jwks"


def _jwks_uri(value: str) -> str | None:
    return None if value == _DISCOVER else _url(value)


def _issuer(value: str) -> str:
    """Check an issuer identifier: a URL without a query (RFC 8414, 2), unchanged."""
    if "?" in value:
        raise ValueError("an issuer with a query")
    return _url(value)


def _resource(value: str) -> str:
    """Check the API's URL: without a query. A final slash is removed."""
    if "?" in value:
        raise ValueError("an address with a query")
    return _url(value).rstrip("/")


def _other_issuers(value: str) -> tuple[IssuerSettings, ...]:
    """Read a JSON object: issuer to `audience` and, where they matter, `jwks_uri`, `client_ids`."""
    try:
        members = strict_json.parse_object(value.encode())
    except strict_json.JsonError as error:
        raise ValueError(f"not a JSON object: {error}") from None
    return tuple(_other_issuer(issuer, members) for issuer, members in members.items())


def _other_issuer(issuer: str, members: object) -> IssuerSettings:
    if not isinstance(members, dict) or not _ISSUER_MEMBERS.issuperset(members):
        raise ValueError(f"an issuer with members other than {', '.join(sorted(_ISSUER_MEMBERS))}")
    uri = members.get("jwks_uri", _DISCOVER)
    if not isinstance(uri, str) or not members.get("audience"):
        raise ValueError("an issuer without audience, or with a jwks_uri that is not a text")
    audiences = _texts(members["audience"])
    client_ids = _texts(members["client_ids"]) if "client_ids" in members else frozenset()
    return IssuerSettings(_issuer(issuer), _jwks_uri(uri), audiences, client_ids)


def _texts(value: object) -> frozenset[str]:
    """Read a text or a list of texts. An empty one is rejected, because it would mean any."""
    texts = one_or_more(value)
    if texts is None:
        raise ValueError("an issuer whose audience or client_ids are not texts")
    return texts


def _confirmation_methods(value: str) -> frozenset[str]:
    names = _comma_list(value)
    if not names <= _CONFIRMATION_METHODS.keys():
        raise ValueError(f"not a comma list of {', '.join(_CONFIRMATION_METHODS)}")
    return frozenset(_CONFIRMATION_METHODS[name] for name in names)


def _parameter_path(value: str) -> str:
    """Check the path of Systems Manager parameters: one per API lies right below it."""
    if not _PARAMETER_PATH.fullmatch(value):
        raise ValueError("not a path of parameters, such as /gatehouse/apis")
    return value


def _comma_list(value: str) -> frozenset[str]:
    members = [member.strip() for member in value.split(",")]
    if not all(members):
        raise ValueError("a comma list with an empty member")
    return frozenset(members)


def _context_claims(value: str) -> frozenset[str]:
    claims = _comma_list(value)
    if len({context_name(claim) for claim in claims}) < len(claims):
        raise ValueError("a comma list with two claims of one name in the context")
    return claims


def _algorithms(value: str) -> frozenset[str]:
    algorithms = _comma_list(value)
    if not algorithms <= ALGORITHMS:
        raise ValueError(f"not a comma list of {', '.join(sorted(ALGORITHMS))}")
    return with_both_names(algorithms)


def _seconds(value: str) -> float:
    if not _NUMBER.fullmatch(value) or not float(value):
        raise ValueError("not a number of seconds above 0")
    return float(value)


def _count(value: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(value) or not int(value):
        raise ValueError("not a whole number above 0")
    return int(value)


def _switch(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("neither true nor false")
    return value == "true"
