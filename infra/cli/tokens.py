"""`gatehouse token`: get, inspect, introspect and revoke tokens."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from functions.shared.clients.supported import (
    ASSERTION_ALGORITHMS,
    CLIENT_SECRET_BASIC,
    FEDERATED_JWT,
    METHODS,
    PRIVATE_KEY_JWT,
    TLS_CLIENT_AUTH,
)

from .context import CommandContext, pass_context
from .errors import ExitCode, UsageError
from .http_client import Certificates
from .input_files import STDIN, read_secret, write_private_file
from .local_authorizer import guarded_url
from .options import Group
from .times import span
from .token_inspection import inspect, read_token
from .token_requests import (
    CERTIFICATE_METHODS,
    SECRET_METHODS,
    ClientAuthentication,
    ClientKey,
    TokenRequest,
    by_assertion,
    by_certificate,
    by_secret,
    introspect_token,
    new_key,
    read_key,
    read_or_make_key,
    request_token,
    revoke_token,
)

F = TypeVar("F", bound="Callable[..., object]")

SECRET_VARIABLE = "GATEHOUSE_CLIENT_SECRET"
_FILE = click.Path(path_type=Path)

_AUTHENTICATION = (
    click.option(
        "--method",
        type=click.Choice(sorted(METHODS)),
        metavar="METHOD",
        help=f"Client authentication: {', '.join(sorted(METHODS))}. Default: the method that the "
        f"other options imply, otherwise {CLIENT_SECRET_BASIC}.",
    ),
    click.option(
        "--secret-file",
        type=_FILE,
        help=f"File with the secret, - for stdin. Default: {SECRET_VARIABLE}, otherwise a prompt.",
    ),
    click.option("--key", "key_file", type=_FILE, help="The client's private key, PEM or JWK."),
    click.option("--key-id", help="The key id (kid) of --key. Default: the JWK's own, none for PEM."),
    click.option(
        "--algorithm",
        type=click.Choice(sorted(ASSERTION_ALGORITHMS)),
        help="Algorithm with which --key signs the client assertion. Default for an RSA key: RS256.",
    ),
    click.option(
        "--assertion-file",
        type=_FILE,
        help="File with a JWT to send as the client assertion, such as a workload's token; - for stdin.",
    ),
    click.option("--certificate", type=_FILE, help="The client's certificate, PEM."),
    click.option(
        "--certificate-key", type=_FILE, help="The certificate's private key. Default: in the certificate's file."
    ),
    click.option("--authority", type=_FILE, help="CA certificate of the server for mutual TLS."),
)
_token_file = click.argument("file", type=_FILE, default=STDIN)


def _authentication_options(command: F) -> F:
    for option in reversed(_AUTHENTICATION):
        command = option(command)
    return command


@click.group(cls=Group)
def token() -> None:
    """Get a token as a client, explain a decision, introspect and revoke tokens."""


@dataclass(frozen=True)
class Request:
    """A request to the guarded API with a token."""

    method: str
    url: str
    token: str
    bound_to: ClientKey | None
    certificates: Certificates

    def headers(self, now: float) -> list[str]:
        """Return the headers with the token and, for a bound one, a DPoP proof."""
        if self.bound_to is None:
            return [f"Authorization: Bearer {self.token}"]
        url = self.url.partition("?")[0]  # htu has no query: RFC 9449, 4.2
        proof = self.bound_to.proof(self.method, url, now, token=self.token)
        return [f"Authorization: DPoP {self.token}", f"DPoP: {proof}"]

    def curl(self, headers_file: Path) -> str:
        """Return a shell command without the token: process lists show arguments."""
        words = ["curl", "--request", self.method, "--header", f"@{headers_file}"]
        for option, file in (
            ("--cert", self.certificates.certificate),
            ("--key", self.certificates.key),
            ("--cacert", self.certificates.authority),
        ):
            words += [option, str(file)] if file else []
        return shlex.join([*words, self.url])


@token.command()
@click.argument("client_id")
@_authentication_options
@click.option("--dpop", is_flag=True, help="Bind the token to a new key that is not stored.")
@click.option("--dpop-key", type=_FILE, help="Bind the token to the key in this file; created if missing.")
@click.option("--scope", "scopes", multiple=True, help="Scope to request; may be repeated.")
@click.option("--resource", help="API that the token is for (RFC 8707).")
@click.option("--subject-token-file", type=_FILE, help="File with a token to exchange (RFC 8693), - for stdin.")
@click.option(
    "--request",
    type=(str, str),
    metavar="METHOD PATH",
    default=("GET", "/country"),
    show_default="GET /country",
    help="Request for --headers and --curl.",
)
@click.option("--headers", is_flag=True, help="Print the headers of the request, for curl -H @-.")
@click.option(
    "--curl",
    "curl_file",
    type=_FILE,
    help="Write the headers to a new file with mode 0600 and print a curl command that uses it.",
)
@pass_context
def get(context: CommandContext, /, client_id: str, **given: Any) -> None:
    """Get a token as a client; print the token, its headers, or a curl command."""
    if (given["headers"], bool(given["curl_file"]), context.options.json).count(True) > 1:
        raise UsageError("--headers, --curl and --json exclude each other.", "Choose one.")
    authentication = _authentication(context, client_id, given)
    bound_to = _dpop_key(given)
    subject = given["subject_token_file"]
    wanted = TokenRequest(
        scopes=given["scopes"],
        resource=given["resource"],
        subject_token=read_secret("The token to exchange", subject) if subject else None,
    )
    url = _url(context, given)  # before the token request, because it may fail
    with context.terminal.progress("Requesting a token"):
        answer = request_token(context.deployment.issuer, authentication, wanted, dpop_key=bound_to, now=context.now())
    if url is not None:
        method = given["request"][0].upper()
        request = Request(method, url, answer["access_token"], bound_to, authentication.certificates)
        _show_request(context, request, given["curl_file"])
    elif context.options.json:
        context.terminal.show(answer)
    else:
        context.terminal.write(answer["access_token"])
    lifetime, scope = answer.get("expires_in"), answer.get("scope")
    expiry = f"expires in {span(lifetime)}" if isinstance(lifetime, int) else "unknown lifetime"
    context.terminal.note(f"{answer.get('token_type')} token, {expiry}, {f'scope {scope}' if scope else 'no scope'}.")


@token.command()
@click.argument("client_id")
@_token_file
@_authentication_options
@pass_context
def introspect(context: CommandContext, /, client_id: str, file: Path, **given: Any) -> None:
    """Introspect a token as a client or resource server; exit with 1 if it is not active.

    FILE contains the token; without FILE it is read from stdin or a prompt. CLIENT_ID sees its own
    tokens, tokens with it in the audience, and tokens with one of its resource scopes.
    """
    text, authentication = _token_and_authentication(context, client_id, file, given)
    with context.terminal.progress("Requesting introspection"):
        answer = introspect_token(context.deployment.issuer, authentication, text)
    context.terminal.show(answer, json.dumps(answer, indent=2))
    if not answer["active"]:
        context.terminal.note(f"The token is expired, revoked, unknown, or not visible to {client_id}.")
        click.get_current_context().exit(ExitCode.REFUSED)


@token.command()
@click.argument("client_id")
@_token_file
@_authentication_options
@pass_context
def revoke(context: CommandContext, /, client_id: str, file: Path, **given: Any) -> None:
    """Revoke a token as the client that it was issued to.

    FILE contains the token; without FILE it is read from stdin or a prompt. The server accepts
    tokens that are unknown or have expired as well (RFC 7009, 2.2).
    """
    text, authentication = _token_and_authentication(context, client_id, file, given)
    with context.terminal.progress("Revoking the token"):
        revoke_token(context.deployment.issuer, authentication, text)
    context.terminal.show({"client_id": client_id, "revoked": True}, "Token revoked.")
    context.terminal.note(
        "Introspection reports it as inactive. An API that verifies JWTs itself accepts it until "
        "it expires, unless its authorizer checks revoked tokens (CheckRevokedTokens)."
    )


def _token_and_authentication(
    context: CommandContext, client_id: str, file: Path, given: dict[str, Any]
) -> tuple[str, ClientAuthentication]:
    if file == STDIN and STDIN in (given["secret_file"], given["assertion_file"]):
        raise UsageError("Only one value can be read from stdin.", "Name a file for the token.")
    context.deployment  # noqa: B018 - finds the deployment before anything is typed
    text = read_token(file)
    return text, _authentication(context, client_id, given)


def _show_request(context: CommandContext, request: Request, curl_file: Path | None) -> None:
    headers = "\n".join(request.headers(context.now()))
    if curl_file is None:
        context.terminal.write(headers)
    else:
        write_private_file(curl_file, headers + "\n")
        context.terminal.write(request.curl(curl_file))


def _url(context: CommandContext, given: dict[str, Any]) -> str | None:
    """Return the URL for --headers and --curl; None without these options."""
    is_wanted = given["headers"] or given["curl_file"]
    if not is_wanted and not context.deployment.guarded_api:
        return None
    with_certificate = given["certificate"] is not None
    url = guarded_url(context, given["request"][1], with_certificate=with_certificate)
    return url if is_wanted else None


def _authentication(context: CommandContext, client_id: str, given: dict[str, Any]) -> ClientAuthentication:
    method = _method(given)
    certificates = Certificates(given["certificate"], given["certificate_key"], given["authority"])
    if method in SECRET_METHODS:
        return by_secret(method, client_id, _secret(context, client_id, given["secret_file"]))
    if method in CERTIFICATE_METHODS:
        _needs(method, "--certificate", given["certificate"])
        return by_certificate(client_id, certificates)
    if method == FEDERATED_JWT or given["assertion_file"]:
        _needs(method, "--assertion-file", given["assertion_file"])
        return by_assertion(client_id, read_secret("The assertion", given["assertion_file"]))
    _needs(method, "--key", given["key_file"])
    key = read_key(given["key_file"], kid=given["key_id"], alg=given["algorithm"])
    issuer = context.deployment.issuer
    return by_assertion(client_id, key.assertion(client_id, issuer, context.now()))


def _method(given: dict[str, Any]) -> str:
    if given["method"]:
        return str(given["method"])
    for option, method in (
        ("key_file", PRIVATE_KEY_JWT),
        ("assertion_file", FEDERATED_JWT),
        ("certificate", TLS_CLIENT_AUTH),
    ):
        if given[option]:
            return method
    return CLIENT_SECRET_BASIC


def _needs(method: str, option: str, file: Path | None) -> None:
    if file is None:
        raise UsageError(f"{method} needs {option}.")


def _secret(context: CommandContext, client_id: str, file: Path | None) -> str:
    known = context.environ.get(SECRET_VARIABLE)
    if file is None and known:
        return known
    return read_secret(f"The secret of {client_id}", file, "--secret-file")


def _dpop_key(given: dict[str, Any]) -> ClientKey | None:
    if given["dpop_key"]:
        return read_or_make_key(given["dpop_key"])
    return new_key() if given["dpop"] else None


token.add_command(inspect)
