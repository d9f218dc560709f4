"""`gatehouse token`: get, inspect, introspect and revoke tokens."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click

from authorizer.introspection import Credentials, basic_authorization
from functions.issue_token.token_exchange import ACCESS_TOKEN
from functions.shared.authentication.credentials import ASSERTION_TYPE, SPIFFE_ASSERTION_TYPE
from functions.shared.clients.supported import (
    ASSERTION_ALGORITHMS,
    CLIENT_CREDENTIALS,
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
    FEDERATED_JWT,
    METHODS,
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    SPIFFE_JWT,
    SPIFFE_X509,
    TLS_CLIENT_AUTH,
    TOKEN_EXCHANGE,
)

from .context import CommandContext, pass_context
from .documents import SECRET_METHODS
from .errors import ExitCode, UsageError
from .http_client import Certificates
from .input_files import STDIN, read_secret, read_token, token_in, write_private_file
from .local_authorizer import guarded_url
from .options import Group, with_options
from .times import span
from .token_inspection import inspect
from .token_requests import ClientAuthentication, ClientKey, new_key, not_understood, post, read_key

SECRET_VARIABLE = "GATEHOUSE_CLIENT_SECRET"

_JWT = "urn:ietf:params:oauth:token-type:jwt"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1
_IMPLIED = (("key_file", PRIVATE_KEY_JWT), ("assertion_file", FEDERATED_JWT), ("certificate", TLS_CLIENT_AUTH))
"""Options, and the authentication methods that they imply."""

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
        help="File with a JWT to send as the client assertion, such as a workload's token or JWT-SVID; - for stdin.",
    ),
    click.option("--certificate", type=_FILE, help="The client's certificate, PEM."),
    click.option(
        "--certificate-key", type=_FILE, help="The certificate's private key. Default: in the certificate's file."
    ),
    click.option("--authority", type=_FILE, help="CA certificate of the server for mutual TLS."),
)
_token_file = click.argument("file", type=_FILE, default=STDIN)


@click.group(cls=Group)
def token() -> None:
    """Get a token as a client, explain a decision, introspect and revoke tokens."""


@token.command()
@click.argument("client_id")
@with_options(_AUTHENTICATION)
@click.option("--dpop", is_flag=True, help="Bind the token to a new key that is not stored.")
@click.option("--dpop-key", type=_FILE, help="Bind the token to the key in this file; created if missing.")
@click.option("--scope", "scopes", multiple=True, help="Scope to request; may be repeated.")
@click.option("--resource", help="API that the token is for (RFC 8707).")
@click.option("--subject-token-file", type=_FILE, help="File with a token to exchange (RFC 8693), - for stdin.")
@click.option("--actor-token-file", type=_FILE, help="File with a JWT of the client's workload, as the actor token.")
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
    dpop_file, subject = given["dpop_key"], given["subject_token_file"]
    bound_to = None
    if dpop_file or given["dpop"]:
        bound_to = read_key(dpop_file) if dpop_file and dpop_file.exists() else new_key(dpop_file)
    form = {"grant_type": CLIENT_CREDENTIALS}
    if subject:
        exchanged = token_in(read_secret("The token to exchange", subject))
        form = {"grant_type": TOKEN_EXCHANGE, "subject_token": exchanged, "subject_token_type": ACCESS_TOKEN}
    if actor := given["actor_token_file"]:
        if not subject:
            raise UsageError("--actor-token-file belongs to an exchange.", "Add --subject-token-file.")
        form |= {"actor_token": token_in(read_secret("The actor token", actor)), "actor_token_type": _JWT}
    form |= {"scope": " ".join(given["scopes"])} if given["scopes"] else {}
    form |= {"resource": given["resource"]} if given["resource"] else {}
    url = _url(context, given)  # before the token request, because it may fail
    issuer, now = context.deployment.issuer, context.now()
    with context.terminal.progress("Requesting a token"):
        answer = post(issuer, "token", authentication, form, dpop_key=bound_to, now=now).json
    # The token is written to a terminal, a pipe or a header without escaping.
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise not_understood("token")
    if url is not None:
        _show_request(context, given, url, token, bound_to, authentication.certificates)
    elif context.options.json:
        context.terminal.show(answer)
    else:
        context.terminal.write(token)
    lifetime, scope = answer.get("expires_in"), answer.get("scope")
    expiry = f"expires in {span(lifetime)}" if isinstance(lifetime, int) else "unknown lifetime"
    context.terminal.note(f"{answer.get('token_type')} token, {expiry}, {f'scope {scope}' if scope else 'no scope'}.")


@token.command()
@click.argument("client_id")
@_token_file
@with_options(_AUTHENTICATION)
@pass_context
def introspect(context: CommandContext, /, client_id: str, file: Path, **given: Any) -> None:
    """Introspect a token as a client or resource server; exit with 1 if it is not active.

    FILE contains the token, alone, in a header or in a token response. Without FILE it is read from stdin or a prompt.
    CLIENT_ID sees its own tokens, tokens with it in the audience, and tokens with one of its resource scopes.
    """
    text, authentication = _token_and_authentication(context, client_id, file, given)
    with context.terminal.progress("Requesting introspection"):
        answer = post(context.deployment.issuer, "introspection", authentication, {"token": text})
    if not isinstance(answer.member("active"), bool):
        raise not_understood("introspection")
    context.terminal.show(answer.json, json.dumps(answer.json, indent=2))
    if not answer.member("active"):
        context.terminal.note(f"The token is expired, revoked, unknown, or not visible to {client_id}.")
        click.get_current_context().exit(ExitCode.REFUSED)


@token.command()
@click.argument("client_id")
@_token_file
@with_options(_AUTHENTICATION)
@pass_context
def revoke(context: CommandContext, /, client_id: str, file: Path, **given: Any) -> None:
    """Revoke a token as the client that it was issued to.

    FILE contains the token, alone, in a header or in a token response. Without FILE it is read from stdin
    or a prompt. The server accepts tokens that are unknown or have expired as well (RFC 7009, 2.2).
    """
    text, authentication = _token_and_authentication(context, client_id, file, given)
    with context.terminal.progress("Revoking the token"):
        post(context.deployment.issuer, "revocation", authentication, {"token": text})
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
    _ = context.deployment  # found before anything is typed
    text = read_token(file)
    return text, _authentication(context, client_id, given)


def _show_request(
    context: CommandContext, given: dict[str, Any], url: str, token: str, bound_to: ClientKey | None, tls: Certificates
) -> None:
    """Print the headers of a request with a token, or a curl command without it: process lists show arguments."""
    method = given["request"][0].upper()
    headers = [f"Authorization: Bearer {token}"]
    if bound_to:
        # htu has no query: RFC 9449, 4.2.
        proof = bound_to.proof(method, url.partition("?")[0], context.now(), token=token)
        headers = [f"Authorization: DPoP {token}", f"DPoP: {proof}"]
    if given["curl_file"] is None:
        context.terminal.write("\n".join(headers))
        return
    write_private_file(given["curl_file"], "\n".join([*headers, ""]))
    words = ["curl", "--request", method, "--header", f"@{given['curl_file']}"]
    for option, file in (("--cert", tls.certificate), ("--key", tls.key), ("--cacert", tls.authority)):
        words += [option, str(file)] if file else []
    context.terminal.write(shlex.join([*words, url]))


def _url(context: CommandContext, given: dict[str, Any]) -> str | None:
    """Return the URL for --headers and --curl; None without these options."""
    is_wanted = given["headers"] or given["curl_file"]
    if not is_wanted and not context.deployment.guarded_api:
        return None
    with_certificate = given["certificate"] is not None
    url = guarded_url(context, given["request"][1], with_certificate=with_certificate)
    return url if is_wanted else None


def _authentication(context: CommandContext, client_id: str, given: dict[str, Any]) -> ClientAuthentication:
    method = given["method"] or next((each for name, each in _IMPLIED if given[name]), CLIENT_SECRET_BASIC)
    form = {"client_id": client_id}
    if method in SECRET_METHODS:
        secret = None if given["secret_file"] else context.environ.get(SECRET_VARIABLE)
        secret = secret or read_secret(f"The secret of {client_id}", given["secret_file"], "--secret-file")
        if method == CLIENT_SECRET_POST:
            return ClientAuthentication(form={**form, "client_secret": secret})
        basic = basic_authorization(Credentials(client_id, secret))
        return ClientAuthentication(headers={"Authorization": basic})
    if method in {TLS_CLIENT_AUTH, SELF_SIGNED_TLS_CLIENT_AUTH, SPIFFE_X509}:
        _needs(method, "--certificate", given["certificate"])
        tls = Certificates(given["certificate"], given["certificate_key"], given["authority"])
        return ClientAuthentication(form=form, certificates=tls)
    if method in {FEDERATED_JWT, SPIFFE_JWT} or given["assertion_file"]:
        _needs(method, "--assertion-file", given["assertion_file"])
        assertion = read_secret("The assertion", given["assertion_file"])
    else:
        _needs(method, "--key", given["key_file"])
        key = read_key(given["key_file"], kid=given["key_id"], alg=given["algorithm"])
        assertion = key.assertion(client_id, context.deployment.issuer, context.now())
    # RFC 7523, 2.2.
    kind = SPIFFE_ASSERTION_TYPE if method == SPIFFE_JWT else ASSERTION_TYPE
    return ClientAuthentication(form={**form, "client_assertion_type": kind, "client_assertion": assertion})


def _needs(method: str, option: str, file: Path | None) -> None:
    if file is None:
        raise UsageError(f"{method} needs {option}.")


token.add_command(inspect)
