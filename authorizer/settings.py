"""What the environment says about this authorizer."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from authorizer import strict_json
from authorizer.claims import CERTIFICATE, DPOP_KEY
from authorizer.https_client import parse_url
from authorizer.jwk import ALGORITHMS

_T = TypeVar("_T")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_CONFIRMATION_METHODS = {"dpop": DPOP_KEY, "mtls": CERTIFICATE}
_PARAMETER_PATH = re.compile(r"(/[A-Za-z0-9_.-]+)+")
_DISCOVER = "discover"
_ISSUER_MEMBERS = frozenset(("jwks_uri", "audience", "client_ids"))


class SettingsError(ValueError):
    """Raised with every setting that is missing or wrong, so that one look is enough."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("the authorizer's environment is not usable: " + "; ".join(faults))


class OtherIssuer(NamedTuple):
    """An issuer trusted beside the first one. An empty set of clients means any.

    `jwks_uri` is None where the issuer's own metadata tell.
    """

    issuer: str
    jwks_uri: str | None
    audiences: frozenset[str]
    client_ids: frozenset[str]


class Settings(NamedTuple):
    """The authorizer's settings. Times are in seconds.

    `jwks_uri` is None where the issuer's own metadata tell.
    """

    issuer: str
    jwks_uri: str | None
    other_issuers: tuple[OtherIssuer, ...]
    audiences: frozenset[str]
    client_ids: frozenset[str]
    algorithms: frozenset[str]
    require_at_jwt: bool
    max_token_lifetime: float
    jwks_soft_age: float
    jwks_hard_age: float
    jwks_cool_down: float
    jwks_seed: str | None
    fetch_timeout: float
    introspection_uri: str | None
    introspection_client_id: str | None
    introspection_client_secret: str | None
    introspection_secret_arn: str | None
    introspection_cache: float
    confirmation_methods: frozenset[str]
    resource: str | None
    replay_table: str | None
    replays_in_memory: bool
    deny_list_table: str | None
    deny_list_soft_age: float
    deny_list_hard_age: float
    scope_map: str | None
    api_rules: str | None
    api_rules_soft_age: float
    api_rules_hard_age: float
    simple_response: bool
    usage_keys: str | None
    policy_expires: bool
    remembered_tokens: int
    stack_name: str | None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings; an empty variable counts as one that is not set.

        Raises:
            SettingsError: naming each variable that is missing or not usable.
        """
        reader = _Reader(environ)
        issuer = reader.required("ISSUER", _issuer)
        settings = cls(
            issuer=issuer or "",
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
            jwks_seed=reader.read("JWKS_SEED", _optional, None),
            fetch_timeout=reader.read("FETCH_TIMEOUT", _seconds, 3.0),
            introspection_uri=reader.read("INTROSPECTION_URI", _optional_url, None),
            introspection_client_id=reader.read("INTROSPECTION_CLIENT_ID", _optional, None),
            introspection_client_secret=reader.read("INTROSPECTION_CLIENT_SECRET", _optional, None),
            introspection_secret_arn=reader.read("INTROSPECTION_SECRET_ARN", _optional, None),
            introspection_cache=reader.read("INTROSPECTION_CACHE", _seconds, 60.0),
            confirmation_methods=reader.read(
                "PROOF_OF_POSSESSION", _confirmation_methods, frozenset()
            ),
            resource=reader.read("RESOURCE", _resource, None),
            replay_table=reader.read("REPLAY_TABLE", _optional, None),
            replays_in_memory=reader.read("REPLAYS_IN_MEMORY", _switch, default=False),
            deny_list_table=reader.read("DENY_LIST_TABLE", _optional, None),
            deny_list_soft_age=reader.read("DENY_LIST_SOFT_AGE", _seconds, 60.0),
            deny_list_hard_age=reader.read("DENY_LIST_HARD_AGE", _seconds, 300.0),
            scope_map=reader.read("SCOPE_MAP", _optional, None),
            api_rules=reader.read("API_RULES", _parameter_path, None),
            api_rules_soft_age=reader.read("API_RULES_SOFT_AGE", _seconds, 300.0),
            api_rules_hard_age=reader.read("API_RULES_HARD_AGE", _seconds, 3600.0),
            simple_response=reader.read("SIMPLE_RESPONSE", _switch, default=False),
            usage_keys=reader.read("USAGE_KEYS", _optional, None),
            policy_expires=reader.read("POLICY_EXPIRES", _switch, default=True),
            remembered_tokens=reader.read("REMEMBERED_TOKENS", _count, 1024),
            stack_name=reader.read("STACK_NAME", _optional, None),
        )
        faults = [*reader.faults, *_contradictions(settings)]
        if faults:
            raise SettingsError(faults)
        return settings


class _Reader:
    """Reads variables one by one and collects what is wrong with them, never their values."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: list[str] = []

    def required(self, name: str, convert: Callable[[str], _T]) -> _T | None:
        if not self._environ.get(name):
            self.faults.append(f"{name} is not set")
            return None
        return self.read(name, convert, None)

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
    faults = []
    pair = (settings.introspection_client_id, settings.introspection_client_secret)
    if (pair[0] is None) != (pair[1] is None):
        faults.append("INTROSPECTION_CLIENT_ID and INTROSPECTION_CLIENT_SECRET go together")
    if settings.introspection_uri and not (all(pair) or settings.introspection_secret_arn):
        faults.append(
            "INTROSPECTION_URI needs INTROSPECTION_SECRET_ARN, or INTROSPECTION_CLIENT_ID and "
            "INTROSPECTION_CLIENT_SECRET"
        )
    if DPOP_KEY in settings.confirmation_methods and (
        (settings.replay_table is None) != settings.replays_in_memory
    ):
        faults.append(
            "PROOF_OF_POSSESSION by dpop needs REPLAY_TABLE, or REPLAYS_IN_MEMORY where one "
            "process answers every request"
        )
    if settings.simple_response and settings.usage_keys is not None:
        faults.append("USAGE_KEYS has no place in a SIMPLE_RESPONSE")
    issuers = [settings.issuer, *(other.issuer for other in settings.other_issuers)]
    if len(set(issuers)) != len(issuers):
        faults.append("OTHER_ISSUERS names ISSUER again")
    return [*faults, *_age_contradictions(settings), *_api_rules_contradictions(settings)]


def _age_contradictions(settings: Settings) -> list[str]:
    ages = {
        "JWKS": (settings.jwks_soft_age, settings.jwks_hard_age),
        "DENY_LIST": (settings.deny_list_soft_age, settings.deny_list_hard_age),
        "API_RULES": (settings.api_rules_soft_age, settings.api_rules_hard_age),
    }
    return [
        f"{name}_SOFT_AGE is longer than {name}_HARD_AGE"
        for name, (soft, hard) in ages.items()
        if soft > hard
    ]


def _api_rules_contradictions(settings: Settings) -> list[str]:
    if settings.api_rules is None:
        return []
    faults = []
    if settings.scope_map is not None:
        faults.append("API_RULES takes the place of SCOPE_MAP: one of them only")
    if settings.resource is not None:
        faults.append("RESOURCE is the address of one API, and API_RULES is for several")
    return faults


def _url(value: str) -> str:
    parse_url(value)
    return value


def _usual_jwks_uri(issuer: str | None) -> str | None:
    return f"{issuer}/oauth2/jwks"


def _jwks_uri(value: str) -> str | None:
    return None if value == _DISCOVER else _url(value)


def _issuer(value: str) -> str:
    """Check an issuer identifier: a URL without a query (RFC 8414 section 2), kept as it is."""
    if "?" in value:
        raise ValueError("an issuer with a query")
    return _url(value)


def _resource(value: str) -> str | None:
    """Check the API's own address: a URL without a query, kept without a slash at its end."""
    if "?" in value:
        raise ValueError("an address with a query")
    return _url(value).rstrip("/")


def _other_issuers(value: str) -> tuple[OtherIssuer, ...]:
    """Read a JSON object: issuer to `audience` and, where they matter, `jwks_uri`, `client_ids`."""
    try:
        members = strict_json.parse_object(value.encode())
    except strict_json.JsonError as error:
        raise ValueError(f"not a JSON object: {error}") from None
    return tuple(_other_issuer(issuer, said) for issuer, said in members.items())


def _other_issuer(issuer: str, said: object) -> OtherIssuer:
    if not isinstance(said, dict) or not _ISSUER_MEMBERS.issuperset(said):
        raise ValueError(f"an issuer with members other than {', '.join(sorted(_ISSUER_MEMBERS))}")
    uri, audiences = said.get("jwks_uri", _DISCOVER), _texts(said.get("audience", []))
    if not isinstance(uri, str) or not audiences:
        raise ValueError("an issuer without audience, or with a jwks_uri that is not a text")
    client_ids = _texts(said.get("client_ids", []))
    return OtherIssuer(_issuer(issuer), _jwks_uri(uri), audiences, client_ids)


def _texts(value: object) -> frozenset[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(text, str) and text for text in values):
        raise ValueError("an issuer whose audience or client_ids are not texts")
    return frozenset(values)


def _confirmation_methods(value: str) -> frozenset[str]:
    names = _comma_list(value)
    if not names <= _CONFIRMATION_METHODS.keys():
        raise ValueError(f"not a comma list of {', '.join(_CONFIRMATION_METHODS)}")
    return frozenset(_CONFIRMATION_METHODS[name] for name in names)


def _parameter_path(value: str) -> str | None:
    """Check the path of Systems Manager parameters: one per API lies right below it."""
    if not _PARAMETER_PATH.fullmatch(value):
        raise ValueError("not a path of parameters, such as /gatehouse/apis")
    return value


def _optional_url(value: str) -> str | None:
    return _url(value)


def _optional(value: str) -> str | None:
    return value


def _comma_list(value: str) -> frozenset[str]:
    members = [member.strip() for member in value.split(",")]
    if not all(members):
        raise ValueError("a comma list with an empty member")
    return frozenset(members)


def _algorithms(value: str) -> frozenset[str]:
    algorithms = _comma_list(value)
    if not algorithms <= ALGORITHMS:
        raise ValueError(f"not a comma list of {', '.join(sorted(ALGORITHMS))}")
    return algorithms


def _seconds(value: str) -> float:
    if not _NUMBER.fullmatch(value) or not float(value):
        raise ValueError("not a number of seconds above 0")
    return float(value)


def _count(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not int(value[:9]):
        raise ValueError("not a whole number above 0")
    return int(value[:9])


def _switch(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("neither true nor false")
    return value == "true"
