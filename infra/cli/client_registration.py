"""`gatehouse clients create`, `update` and `rotate-secret`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.hashes import SHA256

from authorizer import base64url
from functions.shared.clients.certificate_name import CertificateNameKind
from functions.shared.clients.client import DEFAULT_TOKEN_LIFETIME, Client, TokenFormat, TokenProfile
from functions.shared.clients.client_secrets import StoredSecret, digest_generated, digest_imported, generate_secret
from functions.shared.clients.supported import (
    CLIENT_CREDENTIALS,
    CLIENT_SECRET_BASIC,
    GRANT_TYPES,
    METHODS,
    SIGNING_ALGORITHMS,
    SPIFFE_JWT,
    SPIFFE_X509,
)
from functions.shared.lifetimes import LONGEST_TOKEN_LIFETIME

from .changes import compare, lines, payload
from .context import CommandContext, pass_context
from .documents import CLIENTS, PROOF_FIELDS, SECRET_METHODS, checked, client_document, implied_methods
from .errors import CommandError, ExitCode, UsageError
from .input_files import parse_yaml, read_certificate, read_secret, read_text, write_private_file
from .options import Command, F, with_options
from .record_store import SEEN_WITHIN, ClientTable
from .times import iso, parse_moment, readable

_FILE = click.Path(path_type=Path)

_SECRET_OPTIONS = (
    click.option(
        "--secret-file", type=_FILE, help="Use the secret in this file (- for stdin) instead of a generated one."
    ),
    click.option(
        "--secret-to", type=_FILE, help="Write the secret to a new file with mode 0600 instead of printing it."
    ),
)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret in plain text, and as it is stored."""

    plain: str = field(repr=False)
    stored: StoredSecret

    @classmethod
    def make(cls, source: Path | None) -> NewSecret:
        """Generate a secret, or read one from a file or stdin."""
        plain = generate_secret() if source is None else read_secret("The client's secret", source)
        digest = digest_generated if source is None else digest_imported
        return cls(plain, StoredSecret(digest(plain)))


def deliver(
    context: CommandContext,
    client_id: str,
    new: NewSecret | None,
    destination: Path | None,
    register: Callable[[], object],
    **report: object,
) -> None:
    """Register a secret and print it once; a file is written first, so that it cannot get lost."""
    if new and destination:
        write_private_file(destination, new.plain + "\n")
    try:
        with context.terminal.progress("Writing the client"):
            register()
    except BaseException:
        if new and destination:
            destination.unlink(missing_ok=True)
        raise
    report = {"client_id": client_id, **report}
    if destination:
        report["secret_file"] = str(destination)
        context.terminal.note(f"The client secret is in {destination}.")
    elif new and not new.stored.is_imported:
        report["client_secret"] = new.plain
        context.terminal.note("The client secret, shown only once:")
    try:
        if context.options.json:
            context.terminal.show(report)
        elif "client_secret" in report:
            context.terminal.write(str(report["client_secret"]))
    except (CommandError, BrokenPipeError) as error:
        raise CommandError(
            error.problem if isinstance(error, CommandError) else "The output was closed.",
            f"The secret is registered but lost. Create another: gatehouse clients rotate-secret {client_id}.",
            ExitCode.FAILURE,
        ) from error


_NOT_RESETTABLE = {"client_id", "authentication_methods", "secrets", "disabled"}

NO_METHOD = "none"
"""Value of --method for a client that cannot authenticate. RFC 7591, 2."""


class _Seconds(click.IntRange):
    name = "number of seconds"


def _parsed(_: click.Context, __: click.Parameter, path: Path | None) -> object:
    return path and parse_yaml(read_text(path), str(path))


def _thumbprints(_: click.Context, __: click.Parameter, path: Path | None) -> list[str] | None:
    # `x5t#S256`: RFC 8705, 3.1.
    return [base64url.encode(read_certificate(path).fingerprint(SHA256()))] if path else None


def _certificate_name(text: str) -> dict[str, str]:
    kind, _, value = text.partition("=")
    return {"kind": kind, "value": value}


def _audience_algorithm(text: str) -> tuple[str, str]:
    audience, _, algorithm = text.rpartition("=")  # an audience may contain an equals sign
    if not audience:
        raise UsageError("An algorithm for an audience has no audience.", "Write AUDIENCE=ALGORITHM.")
    return audience, algorithm


def _claim(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"The claim {text} has no value.", "Write NAME=TEXT.")
    return name, value


def _repeatable(option: str, name: str, description: str) -> Callable[[F], F]:
    return click.option(option, name, multiple=True, help=f"{description}; may be repeated.")


_CLIENT_OPTIONS = (
    click.option("--name", help="Display name."),
    _repeatable("--scope", "scopes", "Scope that the client may request"),
    _repeatable("--default-scope", "default_scopes", "Scope of a token whose request names none"),
    _repeatable("--audience", "audience", "API that accepts the client's tokens (claim aud)"),
    _repeatable(
        "--allowed-resource", "allowed_resources", "Further API that a request may name in resource (RFC 8707)"
    ),
    click.option(
        "--token-format", type=click.Choice([str(each) for each in TokenFormat]), help=f"Default: {TokenFormat.JWT}."
    ),
    click.option(
        "--token-profile",
        type=click.Choice([str(each) for each in TokenProfile]),
        help=f"Claims of its JWTs. Default for a new client: {TokenProfile.AT_JWT} (RFC 9068) with "
        f"--audience or --allowed-resource, otherwise {TokenProfile.PLAIN}.",
    ),
    click.option(
        "--token-lifetime",
        type=_Seconds(2, LONGEST_TOKEN_LIFETIME),
        metavar="SECONDS",
        help=f"Lifetime. Default: {DEFAULT_TOKEN_LIFETIME}.",
    ),
    click.option(
        "--signing-algorithm",
        type=click.Choice(SIGNING_ALGORITHMS),
        help=f"Algorithm that signs its JWTs. Default: {SIGNING_ALGORITHMS[0]}.",
    ),
    click.option(
        "--audience-signing-algorithm",
        "audience_signing_algorithms",
        multiple=True,
        type=_audience_algorithm,
        metavar="AUDIENCE=ALGORITHM",
        help="Algorithm that signs its JWTs for one audience; may be repeated. Replaces all of them.",
    ),
    click.option(
        "--grant-type",
        "grant_types",
        multiple=True,
        type=click.Choice(GRANT_TYPES),
        help=f"Allowed grant type. Default: {CLIENT_CREDENTIALS}. May be repeated.",
    ),
    click.option(
        "--method",
        "authentication_methods",
        multiple=True,
        type=click.Choice([*sorted(METHODS), NO_METHOD]),
        metavar="METHOD",
        help=f"Authentication method: {', '.join(sorted(METHODS))}. {NO_METHOD}: the client gets tokens by trust "
        "rules only. Default: the methods that the other options imply. May be repeated.",
    ),
    click.option("--jwks", type=_FILE, callback=_parsed, help="private_key_jwt: file with the public keys as JWKS."),
    click.option("--jwks-uri", help="private_key_jwt: URL of the public keys."),
    click.option("--federation", type=_FILE, callback=_parsed, help="federated_jwt: file with a list of rules."),
    click.option(
        "--certificate-name",
        type=_certificate_name,
        metavar="KIND=VALUE",
        help=f"tls_client_auth: name in the client certificate. KIND is one of {', '.join(CertificateNameKind)}.",
    ),
    click.option(
        "--certificate",
        "certificate_thumbprints",
        type=_FILE,
        callback=_thumbprints,
        help="self_signed_tls_client_auth: the client certificate, PEM.",
    ),
    click.option(
        "--claim",
        "texts",
        multiple=True,
        type=_claim,
        metavar="NAME=TEXT",
        help="Additional claim of its tokens; may be repeated. Replaces all claims.",
    ),
    click.option(
        "--claims",
        type=_FILE,
        callback=_parsed,
        help="File with additional claims of any type, as an object. Replaces all claims.",
    ),
    click.option(
        "--spiffe-id", metavar="URI", help="spiffe_jwt, spiffe_x509: SPIFFE ID, or a prefix that ends with /*."
    ),
    click.option("--spiffe-bundle-endpoint", metavar="URL", help="URL of the trust domain's SPIFFE bundle."),
    click.option("--spiffe-bundle", type=_FILE, callback=_parsed, help="File with the trust domain's SPIFFE bundle."),
    click.option("--spiffe-jwks-uri", metavar="URL", help="spiffe_jwt: URL of a JWK Set without use."),
    click.option(
        "--dpop/--no-dpop", "dpop_bound_access_tokens", default=None, help="Require DPoP-bound tokens (RFC 9449)."
    ),
)


@click.command(cls=Command)
@click.argument("client_id")
@with_options(_CLIENT_OPTIONS)
@with_options(_SECRET_OPTIONS)
@pass_context
def create(
    context: CommandContext, /, client_id: str, *, secret_file: Path | None, secret_to: Path | None, **options: Any
) -> None:
    """Register a client.

    Without an option for keys or certificates the client gets a secret, which is shown once. With
    --audience its tokens are at+jwt tokens for that API. A clients file has further fields: see
    gatehouse clients apply.
    """
    client = checked({"client_id": client_id, **_fields(options)})
    has_secret = bool(SECRET_METHODS & client.authentication_methods)
    if not has_secret and (secret_file or secret_to):
        raise UsageError(
            "None of the client's authentication methods uses a secret.", f"Add --method {CLIENT_SECRET_BASIC}."
        )
    new = NewSecret.make(secret_file) if has_secret else None
    if new:
        client = replace(client, secrets=(new.stored,))
    clients = ClientTable.of(context)
    if clients.find(client_id):
        raise CommandError(
            f"Client {client_id} already exists.", f"Change it with 'gatehouse clients update {client_id}'."
        )
    deliver(context, client_id, new, secret_to, lambda: clients.put(client, None))
    context.terminal.note(f"Client {client_id} registered.")
    warn(context, client)


@click.command(cls=Command)
@click.argument("client_id")
@with_options(_CLIENT_OPTIONS)
@_repeatable("--add-scope", "added", "Add a scope to the list")
@_repeatable("--remove-scope", "removed", "Remove a scope")
@click.option(
    "--reset",
    "reset",
    multiple=True,
    type=click.Choice(sorted({each.name for each in fields(Client)} - _NOT_RESETTABLE)),
    metavar="FIELD",
    help="Set a field of the clients file to its default, such as default_scopes; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Show the changes without writing them.")
@pass_context
def update(
    context: CommandContext,
    /,
    client_id: str,
    *,
    added: tuple[str, ...],
    removed: tuple[str, ...],
    reset: tuple[str, ...],
    dry_run: bool,
    **options: Any,
) -> None:
    """Change fields of a registered client; other fields do not change.

    A repeatable option replaces the whole list. An option for keys or certificates adds the authentication method that
    it implies; --method replaces all methods. Secrets are changed with rotate-secret.
    """
    given = _fields(options)
    if not (given or added or removed or reset):
        raise UsageError("No change was named.", "See the options: gatehouse clients update --help.")
    clients = ClientTable.of(context)
    with context.terminal.progress("Reading the client"):
        seen = clients.get(client_id)
    wanted = _updated(seen.record, given, added, removed, reset)
    change = compare(CLIENTS, wanted, seen)
    if change.is_written and not dry_run:
        with context.terminal.progress("Writing the client"):
            change.apply(clients)
    context.terminal.show({"dry_run": dry_run, "changes": payload([change])}, *lines([change]))
    warn(context, wanted)


def warn(context: CommandContext, client: Client) -> None:
    """Warn about a client whose tokens open nothing or are rejected."""
    name = client.client_id
    if not client.grant_types:
        return
    if not client.scopes:
        context.terminal.warn(
            f"Client {name} has no scopes, so its tokens open no route. "
            f"Add one: gatehouse clients update {name} --add-scope SCOPE"
        )
    is_plain = client.token_profile is TokenProfile.PLAIN and client.token_format is TokenFormat.JWT
    if is_plain and client.audience:
        context.terminal.warn(
            f"Client {name} has the token profile plain: the audience of its tokens is {name}, "
            f"unless a request names a resource. {', '.join(client.audience)} rejects them. "
            f"Change it: gatehouse clients update {name} --token-profile at+jwt"
        )


def _updated(
    client: Client, given: dict[str, Any], added: tuple[str, ...], removed: tuple[str, ...], reset: tuple[str, ...]
) -> Client:
    document = {**client_document(client), **given}
    unknown = set(removed) - set(document.get("scopes", ()))
    if unknown:
        raise UsageError(f"Client {client.client_id} has no scope {', '.join(sorted(unknown))}.")
    if added or removed:
        scopes = dict.fromkeys([*document.get("scopes", ()), *added])
        document["scopes"] = [scope for scope in scopes if scope not in removed]
    for name in {"assertion", "spiffe"} & given.keys():
        registered = client_document(client).get(name, {})
        replaced = _KEY_FIELDS if _KEY_FIELDS & given[name].keys() else ()
        document[name] = {member: registered[member] for member in registered if member not in replaced} | given[name]
    if PROOF_FIELDS.values() & given.keys():
        implied = set(implied_methods(given))
        if SPIFFE_X509 in client.authentication_methods:  # it has the same field
            implied.discard(SPIFFE_JWT)
        methods = client.authentication_methods | implied
        document["authentication_methods"] = given.get("authentication_methods", sorted(methods))
    if "token_profile" in reset:
        document["token_profile"] = TokenProfile.PLAIN.value
    return checked({k: v for k, v in document.items() if k not in reset}, client)


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a client document that the options set."""
    claims = options["claims"] or {}
    if not isinstance(claims, dict):
        raise UsageError("The file of --claims does not have an object with claims.")
    options["claims"] = {**claims, **dict(options.pop("texts"))}
    options["audience_signing_algorithms"] = dict(options["audience_signing_algorithms"])
    document: dict[str, Any] = {}
    for option, value in options.items():
        if value is None or value in ((), {}):
            continue
        name, member = _MEMBERS.get(option, (option, ""))
        if member:
            document[name] = {**document.get(name, {}), member: value}
        else:
            document[name] = list(value) if isinstance(value, tuple) else value
    methods = document.get("authentication_methods", [])
    if NO_METHOD in methods:
        if len(methods) > 1 or document.keys() & PROOF_FIELDS.values():
            raise UsageError(f"--method {NO_METHOD} excludes other methods and their keys.")
        document["authentication_methods"] = []
    return document


_MEMBERS = {
    "jwks": ("assertion", "jwks"),
    "jwks_uri": ("assertion", "jwks_uri"),
    "spiffe_id": ("spiffe", "spiffe_id"),
    "spiffe_bundle_endpoint": ("spiffe", "spiffe_bundle_endpoint"),
    "spiffe_bundle": ("spiffe", "bundle"),
    "spiffe_jwks_uri": ("spiffe", "jwks_uri"),
}
"""Options that set a member of a field: the field and its member."""

_KEY_FIELDS = frozenset({"jwks", "jwks_uri", "spiffe_bundle_endpoint", "bundle"})
"""Members with keys: one of them replaces another."""


@click.command("rotate-secret", cls=Command)
@click.argument("client_id")
@click.option(
    "--old-until",
    default="7d",
    show_default=True,
    metavar="TIME",
    help="End of validity of the current secrets: now, 12h, 7d, or a date (UTC).",
)
@with_options(_SECRET_OPTIONS)
@pass_context
def rotate_secret(
    context: CommandContext, client_id: str, *, old_until: str, secret_file: Path | None, secret_to: Path | None
) -> None:
    """Create a new secret; the old secrets stay valid until a date."""
    until = parse_moment(old_until, context.now())
    if until < int(context.now()):
        raise UsageError(f"{old_until} is in the past.", "To end them at once, use --old-until now.")
    clients = ClientTable.of(context)
    _refuse_without_secret(clients.get(client_id).record)
    new = NewSecret.make(secret_file)

    def rotate() -> None:
        clients.change(client_id, lambda client: rotated(client, new.stored, until, context.now()))

    deliver(context, client_id, new, secret_to, rotate, old_until=iso(until))
    if until > context.now():
        context.terminal.note(f"The old secrets stay valid until {readable(until)}.")
    else:
        context.terminal.note(f"The old secrets are rejected {SEEN_WITHIN}.")


def rotated(client: Client, new: StoredSecret, until: int, now: float) -> Client:
    """Return the client with a new secret and an end for the others, without expired ones.

    Raises:
        CommandError: no method uses a secret, or the client would have two imported secrets.
    """
    _refuse_without_secret(client)
    kept = (secret if _ends_before(secret, until) else replace(secret, expires_at=until) for secret in client.secrets)
    live = tuple(secret for secret in kept if not _ends_before(secret, int(now)))
    try:
        return replace(client, secrets=(*live, new))
    except ValueError as error:
        raise CommandError(f"Client {client.client_id}: {error}", "End the old secret with --old-until now.") from error


def _ends_before(secret: StoredSecret, moment: int) -> bool:
    return secret.expires_at is not None and secret.expires_at <= moment


def _refuse_without_secret(client: Client) -> None:
    if not SECRET_METHODS & client.authentication_methods:
        methods = sorted(client.authentication_methods)
        options = " ".join(f"--method {each}" for each in (*methods, CLIENT_SECRET_BASIC))
        raise CommandError(
            f"Client {client.client_id} authenticates without a secret, by {', '.join(methods)}.",
            f"Allow one: gatehouse clients update {client.client_id} {options}.",
        )
