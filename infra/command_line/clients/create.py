"""`gatehouse clients create`: a client out of options."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from functions.shared.clients.authentication_methods import (
    CLIENT_SECRET_BASIC,
    FEDERATED_JWT,
    METHODS,
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    TLS_CLIENT_AUTH,
)
from functions.shared.clients.certificate_names import NameKind
from functions.shared.clients.client_record import (
    DEFAULT_TOKEN_LIFETIME,
    LONGEST_TOKEN_LIFETIME,
    TokenFormat,
    TokenProfile,
)
from functions.shared.clients.grant_types import GRANT_TYPES
from infra.command_line.clients.documents import checked
from infra.command_line.clients.new_secrets import (
    SECRET_METHODS,
    NewSecret,
    deliver,
    secret_file_option,
    secret_to_option,
)
from infra.command_line.clients.table import clients_of
from infra.command_line.session import Session, pass_session
from infra.command_line.terminal.errors import CommandError, UsageError
from infra.command_line.terminal.options import Command
from infra.command_line.terminal.strict_yaml import parse_yaml, read_text

_FILE: Final = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("client_id")
@click.option("--name", help="For people.")
@click.option("--scope", "scopes", multiple=True, help="A scope that it may ask for; repeat it.")
@click.option(
    "--default-scope", "default_scopes", multiple=True, help="Granted when a request names none."
)
@click.option("--audience", multiple=True, help="An API that its tokens are for.")
@click.option(
    "--allowed-resource",
    "allowed_resources",
    multiple=True,
    help="A further API that a request may name (RFC 8707).",
)
@click.option(
    "--token-format",
    type=click.Choice([str(each) for each in TokenFormat]),
    help=f"{TokenFormat.JWT} unless told.",
)
@click.option(
    "--token-profile",
    type=click.Choice([str(each) for each in TokenProfile]),
    help=f"Which claims its JWTs carry; {TokenProfile.PLAIN} unless told.",
)
@click.option(
    "--token-lifetime",
    type=click.IntRange(2, LONGEST_TOKEN_LIFETIME),
    help=f"Seconds; {DEFAULT_TOKEN_LIFETIME} unless told.",
)
@click.option(
    "--grant-type", "grant_types", multiple=True, type=click.Choice(GRANT_TYPES), help="Repeat it."
)
@click.option(
    "--method",
    "authentication_methods",
    multiple=True,
    type=click.Choice(sorted(METHODS)),
    metavar="METHOD",
    help=f"How it authenticates: {', '.join(sorted(METHODS))}. What the other options imply unless "
    "told; repeat it.",
)
@click.option("--jwks", type=_FILE, help="private_key_jwt: a file with its public keys (RFC 7517).")
@click.option("--jwks-uri", help="private_key_jwt: where its public keys are.")
@click.option("--federation", type=_FILE, help="federated_jwt: a file with a list of rules.")
@click.option(
    "--certificate-name",
    metavar="KIND=VALUE",
    help=f"tls_client_auth: a name in its certificate; KIND is {', '.join(NameKind)}.",
)
@click.option(
    "--certificate", type=_FILE, help="self_signed_tls_client_auth: its certificate in PEM."
)
@click.option("--dpop", is_flag=True, help="Its tokens are bound to a key by DPoP.")
@secret_file_option
@secret_to_option
@pass_session
def create(
    session: Session,
    /,
    client_id: str,
    *,
    secret_file: Path | None,
    secret_to: Path | None,
    **options: Any,  # noqa: ANN401 - each as click has parsed it
) -> None:
    """Register a client.

    Without an option for keys or certificates it gets a secret, which is shown once. What these
    options cannot say, a clients file can: see gatehouse clients apply.
    """
    client = checked(_document(client_id, options))
    has_secret = bool(SECRET_METHODS & client.authentication_methods)
    if not has_secret and (secret_file or secret_to):
        raise UsageError(
            "None of the client's methods takes a secret.", f"Add --method {CLIENT_SECRET_BASIC}."
        )
    new = NewSecret.make(secret_file) if has_secret else None
    if new:
        client = replace(client, secrets=(new.stored,))
    clients = clients_of(session)
    if clients.find(client_id):
        raise CommandError(
            f"Client {client_id} is there already.", "Change it with gatehouse clients apply."
        )
    deliver(session, client_id, new, secret_to, lambda: clients.put(client, None))
    session.terminal.note(f"Client {client_id} is registered.")


def _document(client_id: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return what the options say as a client's document, without what was not given."""
    jwks, jwks_uri = options.pop("jwks"), options.pop("jwks_uri")
    federation, certificate = options.pop("federation"), options.pop("certificate")
    name, dpop = options.pop("certificate_name"), options.pop("dpop")
    proofs = {
        PRIVATE_KEY_JWT: ("assertion", _assertion(jwks, jwks_uri)),
        FEDERATED_JWT: ("federation", federation and _parsed(federation)),
        TLS_CLIENT_AUTH: ("certificate_name", name and _certificate_name(name)),
        SELF_SIGNED_TLS_CLIENT_AUTH: (
            "certificate_thumbprints",
            certificate and [_thumbprint(certificate)],
        ),
    }
    implied = [method for method, (_, value) in proofs.items() if value]
    given = {key: list(v) if isinstance(v, tuple) else v for key, v in options.items() if v}
    methods = given.pop("authentication_methods", implied or sorted(SECRET_METHODS))
    return {
        "client_id": client_id,
        "authentication_methods": methods,
        **given,
        **{key: value for key, value in proofs.values() if value},
        **({"dpop_bound_access_tokens": True} if dpop else {}),
    }


def _assertion(jwks: Path | None, jwks_uri: str | None) -> dict[str, object] | None:
    rules = {"jwks": _parsed(jwks) if jwks else None, "jwks_uri": jwks_uri}
    return {key: value for key, value in rules.items() if value} or None


def _parsed(path: Path) -> object:
    return parse_yaml(read_text(path), str(path))


def _certificate_name(text: str) -> dict[str, str]:
    kind, _, value = text.partition("=")
    return {"kind": kind, "value": value}


def _thumbprint(path: Path) -> str:
    """Return a certificate's `x5t#S256`. RFC 8705, 3.1."""
    try:
        certificate = load_pem_x509_certificate(read_text(path).encode())
    except ValueError as error:
        raise UsageError(f"{path} is no certificate in PEM.") from error
    return urlsafe_b64encode(certificate.fingerprint(SHA256())).rstrip(b"=").decode()
