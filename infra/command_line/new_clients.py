"""`gatehouse clients create` and `rotate-secret`: where secrets are made and shown once."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from functions.shared.clients.authentication_methods import (
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
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
from functions.shared.clients.client_registry import WARM_SECONDS
from functions.shared.clients.client_secrets import (
    StoredSecret,
    digest_generated,
    digest_imported,
    generate_secret,
)
from functions.shared.clients.grant_types import GRANT_TYPES
from infra.command_line.client_documents import checked, parse_yaml, read_text
from infra.command_line.client_table import clients_of
from infra.command_line.errors import CommandError, UsageError
from infra.command_line.options import Command
from infra.command_line.secrets_in import read_secret, write_private_file
from infra.command_line.session import Session, pass_session
from infra.command_line.times import iso, parse_moment, readable

if TYPE_CHECKING:
    from collections.abc import Callable

    from functions.shared.clients.client_record import Client

SECRET_METHODS: Final = frozenset({CLIENT_SECRET_BASIC, CLIENT_SECRET_POST})
_FILE: Final = click.Path(path_type=Path)

_secret_file = click.option(
    "--secret-file",
    type=_FILE,
    help="Take this secret, from a file or from stdin (-), in place of a generated one.",
)
_secret_to = click.option(
    "--secret-to",
    type=_FILE,
    help="Write the secret to a new file of mode 0600 in place of showing it.",
)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret as its client needs it, and as it is kept."""

    plain: str = field(repr=False)
    stored: StoredSecret
    is_generated: bool

    @classmethod
    def make(cls, source: Path | None) -> NewSecret:
        """Generate a secret, or take the one in a file or from stdin."""
        if source is None:
            secret = generate_secret()
            return cls(secret, StoredSecret(digest_generated(secret)), is_generated=True)
        secret = read_secret("The client's secret", source)
        return cls(secret, StoredSecret(digest_imported(secret)), is_generated=False)


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
    help="How it authenticates; what the other options imply unless told.",
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
@_secret_file
@_secret_to
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
    _deliver(session, client_id, new, secret_to, lambda: clients.put(client, None))
    session.terminal.note(f"Client {client_id} is registered.")


@click.command("rotate-secret", cls=Command)
@click.argument("client_id")
@click.option(
    "--old-until",
    default="7d",
    show_default=True,
    metavar="TIME",
    help="Until when the secrets of today count: now, 12h, 7d, or a date (UTC).",
)
@_secret_file
@_secret_to
@pass_session
def rotate_secret(
    session: Session,
    client_id: str,
    *,
    old_until: str,
    secret_file: Path | None,
    secret_to: Path | None,
) -> None:
    """Give a client a new secret; the old ones count until a date."""
    until = parse_moment(old_until, session.now())
    if until < int(session.now()):
        raise UsageError(f"{old_until} is over.", "For an end at once, write --old-until now.")
    clients = clients_of(session)
    _refuse_without_secret(clients.get(client_id).client)
    new = NewSecret.make(secret_file)

    def rotate() -> None:
        clients.change(client_id, lambda client: rotated(client, new.stored, until, session.now()))

    _deliver(session, client_id, new, secret_to, rotate, old_until=until)
    if until > session.now():
        session.terminal.note(f"Secrets from before count until {readable(until)}.")
    else:
        session.terminal.note(f"Secrets from before end everywhere within {WARM_SECONDS} seconds.")


def rotated(client: Client, new: StoredSecret, until: int, now: float) -> Client:
    """Return the client with a further secret, and with an end for those it had; ended ones go.

    Raises:
        CommandError: it has no method that takes a secret, or would have two imported ones.
    """
    _refuse_without_secret(client)
    kept = (
        secret if _ends_before(secret, until) else replace(secret, expires_at=until)
        for secret in client.secrets
    )
    live = tuple(secret for secret in kept if not _ends_before(secret, int(now)))
    try:
        return replace(client, secrets=(*live, new))
    except ValueError as error:
        raise CommandError(
            f"Client {client.client_id}: {error}", "End the old one with --old-until now."
        ) from error


def _ends_before(secret: StoredSecret, moment: int) -> bool:
    return secret.expires_at is not None and secret.expires_at <= moment


def _refuse_without_secret(client: Client) -> None:
    if not SECRET_METHODS & client.authentication_methods:
        methods = ", ".join(sorted(client.authentication_methods))
        raise CommandError(
            f"Client {client.client_id} proves itself without a secret, by {methods}.",
            f"To give it one, add {CLIENT_SECRET_BASIC} to its methods in a clients file.",
        )


def _deliver(
    session: Session,
    client_id: str,
    new: NewSecret | None,
    destination: Path | None,
    register: Callable[[], object],
    old_until: int | None = None,
) -> None:
    """Register a secret and hand it over once: to a file first, so that it cannot get lost."""
    if new and destination:
        write_private_file(destination, new.plain + "\n")
    try:
        register()
    except BaseException:
        if new and destination:
            destination.unlink(missing_ok=True)
        raise
    payload: dict[str, object] = {"client_id": client_id}
    if old_until is not None:
        payload["old_until"] = iso(old_until)
    shown = ""
    if new and new.is_generated and not destination:
        payload["client_secret"] = shown = new.plain
        session.terminal.note("Its secret, which is shown this once:")
    elif destination:
        payload["secret_file"] = str(destination)
        session.terminal.note(f"Its secret is in {destination}.")
    if session.options.json:
        session.terminal.show(payload)
    elif shown:
        session.terminal.write(shown)


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
