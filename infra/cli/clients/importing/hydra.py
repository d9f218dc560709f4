"""Ory Hydra's clients, as `hydra list oauth2-clients --format json` and its API print them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from functions.shared.clients.authentication_methods import (
    ASSERTION_ALGORITHMS,
    CLIENT_SECRET_BASIC,
    PRIVATE_KEY_JWT,
)
from functions.shared.clients.client_record import TokenFormat
from functions.shared.clients.resource_indicators import is_resource_indicator
from infra.cli.clients.importing.imported import Draft, client_id_of, read_documents, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DEFAULT_LIFETIME: Final = 3600
_HASH: Final = re.compile(r"\$(2[abxy]?|pbkdf2-sha\d+|argon2\w*)\$")
_PART_OF_A_DURATION: Final = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def read(text: str, source: str) -> Iterator[Draft]:
    """Yield a draft for each client of an export.

    Raises:
        UsageError: it is no such export.
    """
    for document in read_documents(text, source):
        is_page = isinstance(document, dict) and isinstance(document.get("items"), list)
        for entry in document["items"] if is_page else [document]:
            yield _draft(entry, source)


def _draft(entry: Mapping[str, Any], source: str) -> Draft:
    draft = Draft(client_id_of(entry, "client_id", source))
    draft.document["name"] = entry.get("client_name") or ""
    draft.carry_grants(words(entry.get("grant_types")))
    _carry_method(draft, entry)
    _carry_scopes(draft, words(entry.get("scope")))
    _carry_audience(draft, words(entry.get("audience")))
    draft.carry_lifetime(
        _duration(entry.get("client_credentials_grant_access_token_lifespan")), _DEFAULT_LIFETIME
    )
    strategy = entry.get("access_token_strategy")
    if strategy != "jwt":
        draft.document["token_format"] = TokenFormat.OPAQUE.value
    if not strategy:
        draft.lose("the token format is Hydra's own setting; opaque, which is its default, is kept")
    if entry.get("metadata"):
        draft.lose("metadata has no place here")
    return draft


def _carry_method(draft: Draft, entry: Mapping[str, Any]) -> None:
    method = entry.get("token_endpoint_auth_method") or CLIENT_SECRET_BASIC
    draft.carry_methods([method])
    if method == PRIVATE_KEY_JWT:
        _carry_keys(draft, entry)
    elif method.startswith("client_secret_"):
        _carry_secret(draft, entry)


def _carry_keys(draft: Draft, entry: Mapping[str, Any]) -> None:
    # Hydra takes its token endpoint as audience, and so its clients send it.
    rules: dict[str, object] = {"accepts_token_endpoint": True}
    algorithm = entry.get("token_endpoint_auth_signing_alg")
    if algorithm in ASSERTION_ALGORITHMS:
        rules["signing_alg"] = algorithm
    elif algorithm:
        draft.lose(f"assertions signed with {algorithm} are not accepted here")
    if entry.get("jwks_uri"):
        rules["jwks_uri"] = entry["jwks_uri"]
    elif (entry.get("jwks") or {}).get("keys"):
        rules["jwks"] = {"keys": entry["jwks"]["keys"]}
    else:
        draft.refusal = "private_key_jwt needs the client's keys, which are not in the export"
    draft.document["assertion"] = rules


def _carry_secret(draft: Draft, entry: Mapping[str, Any]) -> None:
    secret = entry.get("client_secret")
    if not secret:
        draft.lose("Hydra exports no secrets")
    elif _HASH.match(secret):
        draft.lose("the secret is kept as a hash, which cannot be turned into ours")
    else:
        draft.carry_secret(secret, entry.get("client_secret_expires_at") or None)


def _carry_scopes(draft: Draft, scopes: list[str]) -> None:
    draft.document["scopes"] = scopes
    patterns = [scope for scope in scopes if "*" in scope]
    if patterns:
        draft.lose(f"scopes are compared exactly here, * included: {', '.join(patterns)}")


def _carry_audience(draft: Draft, audience: list[str]) -> None:
    """Keep the audiences that a request may name: there by `audience`, here by `resource`."""
    named = [each for each in audience if is_resource_indicator(each)]
    others = [each for each in audience if each not in named]
    if named:
        draft.document["allowed_resources"] = named
        draft.lose("a request names its API in resource (RFC 8707), no longer in audience")
    if others:
        draft.lose(f"a resource is an absolute URI, unlike {', '.join(others)}")


def _duration(value: object) -> float | None:
    """Return a duration as Go writes it, in seconds; None if there is none."""
    if not isinstance(value, str) or not value:
        return None
    parts = _PART_OF_A_DURATION.findall(value)
    if "".join(number + unit for number, unit in parts) != value:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
