"""Cognito's app clients, as `aws cognito-idp describe-user-pool-client` prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from functions.shared.clients.authentication_methods import CLIENT_SECRET_BASIC, CLIENT_SECRET_POST
from infra.cli.clients.importing.imported import Draft, client_id_of, read_documents, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECONDS: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400}
_DEFAULT_LIFETIME: Final = 3600
_FLOWS: Final = {"code": "authorization_code", "implicit": "implicit"}
_PEOPLES_SCOPES: Final = frozenset(
    {"openid", "email", "phone", "profile", "aws.cognito.signin.user.admin"}
)


def read(text: str, source: str) -> Iterator[Draft]:
    """Yield a draft for each app client of an export.

    Raises:
        UsageError: it is no such export.
    """
    for document in read_documents(text, source):
        is_wrapped = isinstance(document, dict) and "UserPoolClient" in document
        yield _draft(document["UserPoolClient"] if is_wrapped else document, source)


def _draft(entry: Mapping[str, Any], source: str) -> Draft:
    draft = Draft(client_id_of(entry, "ClientId", source))
    draft.document["name"] = entry.get("ClientName", "")
    draft.carry_grants(_FLOWS.get(flow, flow) for flow in entry.get("AllowedOAuthFlows", []))
    draft.carry_methods([CLIENT_SECRET_BASIC, CLIENT_SECRET_POST])
    if entry.get("ClientSecret"):
        draft.carry_secret(entry["ClientSecret"])
    elif not draft.refusal:
        draft.lose("the export holds no ClientSecret")
    scopes = words(entry.get("AllowedOAuthScopes", []))
    machine_scopes = [scope for scope in scopes if scope not in _PEOPLES_SCOPES]
    peoples = [scope for scope in scopes if scope in _PEOPLES_SCOPES]
    if peoples:
        draft.lose(f"scopes about people do not exist here: {', '.join(peoples)}")
    draft.document["scopes"] = machine_scopes
    # Cognito grants all of them to a request that names none.
    draft.document["default_scopes"] = machine_scopes
    draft.carry_lifetime(_lifetime(entry), _DEFAULT_LIFETIME)
    return draft


def _lifetime(entry: Mapping[str, Any]) -> int | None:
    validity = entry.get("AccessTokenValidity")
    unit = (entry.get("TokenValidityUnits") or {}).get("AccessToken", "hours")
    # Zero is Cognito's way to say that nothing was chosen.
    return int(validity) * _SECONDS.get(unit, 3600) if validity else None
