"""What the environment says about this authorizer."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from authorizer.https_client import parse_url
from authorizer.jwk import ALGORITHMS

_T = TypeVar("_T")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


class SettingsError(ValueError):
    """Raised with every setting that is missing or wrong, so that one look is enough."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("the authorizer's environment is not usable: " + "; ".join(faults))


class Settings(NamedTuple):
    """The authorizer's settings. Times are in seconds."""

    issuer: str
    jwks_uri: str
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
    scope_map: str | None
    policy_expires: bool
    remembered_tokens: int

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
            jwks_uri=reader.read("JWKS_URI", _url, f"{issuer}/oauth2/jwks"),
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
            scope_map=reader.read("SCOPE_MAP", _optional, None),
            policy_expires=reader.read("POLICY_EXPIRES", _switch, default=True),
            remembered_tokens=reader.read("REMEMBERED_TOKENS", _count, 1024),
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
    if settings.jwks_soft_age > settings.jwks_hard_age:
        faults.append("JWKS_SOFT_AGE is longer than JWKS_HARD_AGE")
    return faults


def _url(value: str) -> str:
    parse_url(value)
    return value


def _issuer(value: str) -> str:
    """Check an issuer identifier: a URL without a query (RFC 8414 section 2), kept as it is."""
    if "?" in value:
        raise ValueError("an issuer with a query")
    return _url(value)


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
