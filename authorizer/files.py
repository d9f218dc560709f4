"""The files that the settings name, read and checked when an authorizer is built."""

import os
from collections.abc import Mapping, Sequence
from typing import cast

from authorizer import strict_json
from authorizer.jwks_cache import Seed
from authorizer.scope_map import ScopeMap, parse_scope_map
from authorizer.settings import SettingsError

# ruff: noqa: PTH118, PTH120, PTH123 - pathlib alone would be a sixth of a cold start

_SCOPES = os.path.join(os.path.dirname(__file__), "scopes.json")

# Every time in milliseconds lies beyond: such a seed would be fresh in each new sandbox.
_YEAR_5138 = 1e11


def read_scope_map(setting: str | None) -> ScopeMap:
    """Read the scope map: what stands in the setting itself, or a file.

    Raises:
        ScopeMapError: it is not usable.
    """
    said = setting or _SCOPES
    return parse_scope_map(said.encode() if said.lstrip().startswith("{") else _read(said))


def read_usage_keys(path: str, issuers: Sequence[str]) -> Mapping[tuple[str, str], str]:
    """Read the API keys of clients, by issuer and client id.

    The file is a JSON object of client id to key, for clients of the first issuer. A member that is
    named after an issuer has such an object for clients of this issuer.

    Raises:
        SettingsError: it is something else.
    """
    members = _parse_object("USAGE_KEYS", _read(path))
    keys: dict[tuple[str, str], object] = {}
    for name, value in members.items():
        if name in issuers and isinstance(value, dict):
            keys |= {(name, client_id): key for client_id, key in value.items()}
        else:
            keys[issuers[0], name] = value
    if not all(isinstance(key, str) and key for key in keys.values()):
        raise SettingsError(["USAGE_KEYS has a key that is not a text"])
    return cast("Mapping[tuple[str, str], str]", keys)


def read_seed(path: str) -> Seed:
    """Read a key set with the time at which it was fetched, if the file tells: `fetched_at`.

    Raises:
        SettingsError: it is no JSON object, or that time is none in seconds since the epoch.
    """
    body = _read(path)
    members = _parse_object("JWKS_SEED", body)
    if "fetched_at" not in members:
        return Seed(body)
    fetched_at = members["fetched_at"]
    if isinstance(fetched_at, bool) or not isinstance(fetched_at, int | float):
        raise SettingsError(["JWKS_SEED has a fetched_at that is not a number of seconds"])
    if not 0 <= fetched_at < _YEAR_5138:
        raise SettingsError(["JWKS_SEED has a fetched_at that is no time in seconds"])
    return Seed(body, fetched_at)


def _parse_object(setting: str, raw: bytes) -> Mapping[str, object]:
    try:
        return strict_json.parse_object(raw)
    except strict_json.JsonError as error:
        raise SettingsError([f"{setting} is not a JSON object: {error}"]) from None


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
