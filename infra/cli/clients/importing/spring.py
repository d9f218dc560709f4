"""Spring Authorization Server's clients: the table oauth2_registered_client as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from functions.shared.clients.authentication_methods import (
    ASSERTION_ALGORITHMS,
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    TLS_CLIENT_AUTH,
)
from functions.shared.clients.client_record import SIGNING_ALGORITHMS, TokenFormat
from infra.cli.clients.importing.certificate_subjects import why_no_match
from infra.cli.clients.importing.imported import Draft, client_id_of, read_documents, words
from infra.cli.terminal.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_DEFAULT_LIFETIME: Final = 300
_ENCODED: Final = re.compile(r"\{([^{}]*)\}(.*)", re.DOTALL)
_ISO_DURATION: Final = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?", re.IGNORECASE)


def read(text: str, source: str) -> Iterator[Draft]:
    """Yield a draft for each row of an export.

    Raises:
        UsageError: it is no such export.
    """
    for row in _rows(text, source):
        yield _draft({str(name).lower(): value for name, value in row.items()}, source)


def _rows(text: str, source: str) -> Iterable[dict[str, Any]]:
    if text.lstrip()[:1] in {"[", "{"}:
        return [row if isinstance(row, dict) else {} for row in read_documents(text, source)]
    rows = csv.DictReader(io.StringIO(text))
    if "client_id" not in [name.lower() for name in rows.fieldnames or ()]:
        raise UsageError(
            f"{source} has no column client_id in its first line.",
            "Export the table with its columns' names.",
        )
    return rows


def _draft(row: Mapping[str, Any], source: str) -> Draft:
    draft = Draft(client_id_of(row, "client_id", source))
    client_settings = _settings(row.get("client_settings"), "settings.client.")
    token_settings = _settings(row.get("token_settings"), "settings.token.")
    draft.document["name"] = row.get("client_name") or ""
    draft.document["scopes"] = words(row.get("scopes"))
    draft.carry_grants(words(row.get("authorization_grant_types")))
    _carry_methods(draft, words(row.get("client_authentication_methods")), client_settings)
    _carry_secret(draft, row.get("client_secret"), row.get("client_secret_expires_at"))
    _carry_tokens(draft, token_settings)
    return draft


def _carry_methods(draft: Draft, methods: list[str], settings: Mapping[str, Any]) -> None:
    kept = list(methods)
    if PRIVATE_KEY_JWT in kept:
        if settings.get("jwk-set-url"):
            draft.document["assertion"] = _assertion(draft, settings)
        else:
            kept.remove(PRIVATE_KEY_JWT)
            draft.lose("private_key_jwt needs the client's keys, and there is no jwk-set-url")
    if TLS_CLIENT_AUTH in kept:
        subject = settings.get("x509-certificate-subject-dn")
        if not subject:
            kept.remove(TLS_CLIENT_AUTH)
            draft.lose("tls_client_auth needs the certificate's subject, which is not there")
        elif reason := why_no_match(subject):
            kept.remove(TLS_CLIENT_AUTH)
            draft.lose(f"tls_client_auth: no certificate can match {subject!r}: {reason}")
        else:
            draft.document["certificate_name"] = {"kind": "subject_dn", "value": subject}
    if SELF_SIGNED_TLS_CLIENT_AUTH in kept:
        kept.remove(SELF_SIGNED_TLS_CLIENT_AUTH)
        draft.lose("self_signed_tls_client_auth needs the certificate: --certificate of create")
    draft.carry_methods(kept)


def _assertion(draft: Draft, settings: Mapping[str, Any]) -> dict[str, object]:
    # Spring's clients send the token endpoint as audience.
    rules: dict[str, object] = {
        "jwks_uri": settings["jwk-set-url"],
        "accepts_token_endpoint": True,
    }
    algorithm = _last(settings.get("token-endpoint-authentication-signing-algorithm"))
    if algorithm in ASSERTION_ALGORITHMS:
        rules["signing_alg"] = algorithm
    elif algorithm:
        draft.lose(f"assertions signed with {algorithm} are not accepted here")
    return rules


def _carry_secret(draft: Draft, stored: object, expires_at: object) -> None:
    if not isinstance(stored, str) or not stored:
        return
    encoded = _ENCODED.fullmatch(stored)
    if not (encoded and encoded[1] == "noop" and encoded[2]):
        kind = encoded[1] if encoded else "not named"
        draft.lose(f"the secret is kept as a hash ({kind}), which cannot be turned into ours")
        return
    try:
        draft.carry_secret(encoded[2], _moment(expires_at))
    except ValueError:
        draft.lose("the secret: when it expires cannot be read")


def _carry_tokens(draft: Draft, settings: Mapping[str, Any]) -> None:
    draft.carry_lifetime(_duration(settings.get("access-token-time-to-live")), _DEFAULT_LIFETIME)
    token_format = settings.get("access-token-format")
    if isinstance(token_format, dict):
        token_format = token_format.get("value")
    if token_format == "reference":  # noqa: S105 - a format, no secret
        draft.document["token_format"] = TokenFormat.OPAQUE.value
    if settings.get("x509-certificate-bound-access-tokens"):
        draft.document["tls_client_certificate_bound_access_tokens"] = True
    algorithm = _last(settings.get("access-token-signature-algorithm"))
    if algorithm in SIGNING_ALGORITHMS:
        draft.document["signing_algorithm"] = algorithm


def _settings(value: object, prefix: str) -> dict[str, Any]:
    """Return settings by their short names. Jackson writes types beside values, which go."""
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return {}
    if not isinstance(value, dict):
        return {}
    return {name.removeprefix(prefix): each for name, each in value.items() if name != "@class"}


def _last(value: object) -> Any:  # noqa: ANN401 - whatever JSON has there
    """Return a value that Jackson may have written as [type, value]."""
    return value[-1] if isinstance(value, list) and value else value


def _duration(value: object) -> float | None:
    value = _last(value)
    if isinstance(value, int | float):
        return float(value)
    match = _ISO_DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _moment(value: object) -> int | None:
    """Return a timestamp of the database, in UTC unless it says otherwise."""
    if isinstance(value, int | float):
        return int(value)
    if not isinstance(value, str) or not value:
        return None
    moment = datetime.fromisoformat(value)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
