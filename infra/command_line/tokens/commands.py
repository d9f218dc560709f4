"""`gatehouse token`: tokens as clients get them, and as the authorizer sees them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from functions.shared.clients.authentication_methods import (
    ASSERTION_ALGORITHMS,
    CLIENT_SECRET_BASIC,
    FEDERATED_JWT,
    METHODS,
    PRIVATE_KEY_JWT,
    TLS_CLIENT_AUTH,
)
from infra.command_line.deployment.web import Certificates
from infra.command_line.session import Session, pass_session
from infra.command_line.terminal.confidential import read_secret, write_private_file
from infra.command_line.terminal.errors import UsageError
from infra.command_line.terminal.options import Group
from infra.command_line.terminal.times import span
from infra.command_line.tokens.client_keys import ClientKey, new_key, read_key, read_or_make_key
from infra.command_line.tokens.inspecting import inspect
from infra.command_line.tokens.requesting import (
    CERTIFICATE_METHODS,
    SECRET_METHODS,
    Proof,
    Wanted,
    by_assertion,
    by_certificate,
    by_secret,
    request_token,
    token_endpoint,
)
from infra.command_line.tokens.urls import guarded_url

SECRET_VARIABLE: Final = "GATEHOUSE_CLIENT_SECRET"  # noqa: S105 - the name of a variable
_FILE: Final = click.Path(path_type=Path)


@click.group(cls=Group)
def token() -> None:
    """Get a token as a client does, and see what the authorizer makes of one."""


@dataclass(frozen=True)
class Request:
    """A request to the guarded API that carries a token."""

    method: str
    url: str
    token: str
    bound_to: ClientKey | None
    certificates: Certificates

    def headers(self, now: float) -> list[str]:
        """Return the headers that show the token."""
        if self.bound_to is None:
            return [f"Authorization: Bearer {self.token}"]
        url = self.url.partition("?")[0]  # a proof is for an address without its query
        proof = self.bound_to.proof(self.method, url, now, token=self.token)
        return [f"Authorization: DPoP {self.token}", f"DPoP: {proof}"]

    def curl(self, headers_file: Path) -> str:
        """Return a line for a shell. The token is not in it: arguments can be seen by everyone."""
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
@click.option(
    "--method",
    type=click.Choice(sorted(METHODS)),
    metavar="METHOD",
    help=f"How the client proves who it is: {', '.join(sorted(METHODS))}. Told by the files given, "
    f"else {CLIENT_SECRET_BASIC}.",
)
@click.option(
    "--secret-file",
    type=_FILE,
    help=f"The secret, from a file or stdin (-). Else {SECRET_VARIABLE}, else a prompt.",
)
@click.option("--key", "key_file", type=_FILE, help="The client's private key, PEM or JWK.")
@click.option("--key-id", help="The id that the key is registered under; a JWK has its own.")
@click.option(
    "--algorithm",
    type=click.Choice(sorted(ASSERTION_ALGORITHMS)),
    help="What --key signs the client's assertion with, where the key could do several: RS256 for "
    "an RSA key unless told. The token's own is the client's signing_algorithm.",
)
@click.option(
    "--assertion-file", type=_FILE, help="A ready JWT: a workload's own token, or - for stdin."
)
@click.option("--certificate", type=_FILE, help="The client's certificate, PEM.")
@click.option("--certificate-key", type=_FILE, help="Its key, where it is in another file.")
@click.option("--authority", type=_FILE, help="Whom to trust as the server, for mutual TLS.")
@click.option("--dpop", is_flag=True, help="Bind the token to a new key, which is kept nowhere.")
@click.option("--dpop-key", type=_FILE, help="Bind it to the key of a file; made if there is none.")
@click.option("--scope", "scopes", multiple=True, help="A scope to ask for; repeat it.")
@click.option("--resource", help="The API that the token is for (RFC 8707).")
@click.option(
    "--subject-token-file", type=_FILE, help="Exchange this token, or - for stdin (RFC 8693)."
)
@click.option(
    "--request",
    type=(str, str),
    metavar="METHOD PATH",
    default=("GET", "/country"),
    show_default="GET /country",
    help="What --headers and --curl are for.",
)
@click.option("--headers", is_flag=True, help="Print the request's headers: | curl -H @- URL.")
@click.option(
    "--curl",
    "curl_file",
    type=_FILE,
    help="Write the headers to a new file of mode 0600, print the curl line that sends them.",
)
@pass_session
def get(session: Session, /, client_id: str, **given: Any) -> None:  # noqa: ANN401 - click's
    """Get a token as a client, and print it, its headers, or a curl line."""
    if (given["headers"], bool(given["curl_file"]), session.options.json).count(True) > 1:
        raise UsageError("--headers, --curl and --json are ways of one thing.", "Choose one.")
    issuer = session.deployment.issuer
    proof = _proof(session, client_id, given)
    bound_to = _dpop_key(given)
    subject = given["subject_token_file"]
    wanted = Wanted(
        scopes=given["scopes"],
        resource=given["resource"],
        subject_token=read_secret("The token to exchange", subject) if subject else None,
    )
    url = _url(session, given)  # first: it may be that there is no such address
    with session.terminal.progress("Asking the token endpoint"):
        endpoint = token_endpoint(issuer, proof)
        answer = request_token(endpoint, proof, wanted, dpop_key=bound_to, now=session.now())
    if url is not None:
        method = given["request"][0].upper()
        request = Request(method, url, answer["access_token"], bound_to, proof.certificates)
        _show_request(session, request, given["curl_file"])
    elif session.options.json:
        session.terminal.show(answer)
    else:
        session.terminal.write(answer["access_token"])
    lifetime, scope = answer.get("expires_in"), answer.get("scope")
    ends = f"expires in {span(lifetime)}" if isinstance(lifetime, int) else "expires some time"
    session.terminal.note(
        f"A {answer.get('token_type')} token that {ends}, with "
        f"{f'scope {scope}' if scope else 'no scope'}."
    )


def _show_request(session: Session, request: Request, curl_file: Path | None) -> None:
    headers = "\n".join(request.headers(session.now()))
    if curl_file is None:
        session.terminal.write(headers)
    else:
        write_private_file(curl_file, headers + "\n")
        session.terminal.write(request.curl(curl_file))


def _url(session: Session, given: dict[str, Any]) -> str | None:
    """Return the address that headers or a curl line are for; None where neither is wanted."""
    is_wanted = given["headers"] or given["curl_file"]
    if not is_wanted and not session.deployment.guarded_api:
        return None
    with_certificate = given["certificate"] is not None
    url = guarded_url(session, given["request"][1], with_certificate=with_certificate)
    return url if is_wanted else None


def _proof(session: Session, client_id: str, given: dict[str, Any]) -> Proof:
    method = _method(given)
    certificates = Certificates(given["certificate"], given["certificate_key"], given["authority"])
    if method in SECRET_METHODS:
        return by_secret(method, client_id, _secret(session, client_id, given["secret_file"]))
    if method in CERTIFICATE_METHODS:
        _needs(method, "--certificate", given["certificate"])
        return by_certificate(client_id, certificates)
    if method == FEDERATED_JWT or given["assertion_file"]:
        _needs(method, "--assertion-file", given["assertion_file"])
        return by_assertion(client_id, read_secret("The assertion", given["assertion_file"]))
    _needs(method, "--key", given["key_file"])
    key = read_key(given["key_file"], kid=given["key_id"], alg=given["algorithm"])
    issuer = session.deployment.issuer
    return by_assertion(client_id, key.assertion(client_id, issuer, session.now()))


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


def _secret(session: Session, client_id: str, file: Path | None) -> str:
    known = session.outside.environ.get(SECRET_VARIABLE)
    if file is None and known:
        return known
    return read_secret(f"The secret of {client_id}", file)


def _dpop_key(given: dict[str, Any]) -> ClientKey | None:
    if given["dpop_key"]:
        return read_or_make_key(given["dpop_key"])
    return new_key() if given["dpop"] else None


token.add_command(inspect)
