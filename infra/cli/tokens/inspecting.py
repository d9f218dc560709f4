"""`gatehouse token inspect`: what the authorizer decides about a token and a request, and why."""

from __future__ import annotations

import sys
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from rich.text import Text

from authorizer.errors import AuthorizerError
from infra.cli.keys.room import KeyRoom
from infra.cli.session import Session, pass_session
from infra.cli.terminal.confidential import STDIN, read_secret
from infra.cli.terminal.errors import CommandError, ExitCode
from infra.cli.terminal.options import Command
from infra.cli.terminal.rows import safe
from infra.cli.terminal.strict_yaml import read_text
from infra.cli.terminal.troubles import translated
from infra.cli.tokens.authorizer_copy import AuthorizerCopy, Call
from infra.cli.tokens.client_keys import read_key
from infra.cli.tokens.explanations import Explanation, Step, explain
from infra.cli.tokens.guards import Guard
from infra.cli.tokens.steps import Known
from infra.cli.tokens.urls import address_of

if TYPE_CHECKING:
    from functions.shared.keys.key_ring import KeyRing

_FILE: Final = click.Path(path_type=Path)
_MARKS: Final = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}


@click.command(cls=Command)
@click.argument("file", type=_FILE, default=STDIN)
@click.option(
    "--request",
    type=(str, str),
    metavar="METHOD PATH",
    help="Decide about this request, such as GET /country/code/AUS.",
)
@click.option("--dpop-key", type=_FILE, help="Prove the key of a bound token: PEM or JWK.")
@click.option("--certificate", type=_FILE, help="The caller's certificate, PEM.")
@click.option(
    "--api",
    metavar="ID",
    help="An API of another stack, with the shared authorizer and its own rules: its id, or "
    "ID/STAGE.",
)
@click.option(
    "--function", metavar="NAME", help="An authorizer of your own: its function's name or ARN."
)
@click.option(
    "--settings",
    type=_FILE,
    help="An authorizer of your own: a file with its variables, YAML or JSON.",
)
@click.option(
    "--scope-map",
    type=_FILE,
    help="A file in place of the deployed scope map, or with --api of the API's rules.",
)
@click.option(
    "--route",
    metavar="KEY",
    help="For simple answers: the route that API Gateway chooses, such as 'GET /customers/{id}'; "
    "else the one of the scope map that fits.",
)
@pass_session
def inspect(session: Session, /, file: Path, **given: Any) -> None:  # noqa: ANN401 - click's
    """Explain what the authorizer makes of a token, step by step; exits with 1 if it is refused.

    FILE holds the token; without it, it is read from stdin, or asked for. The authorizer's own code
    decides, with the deployed settings and rules, on the time of this machine.
    """
    names = ("api", "function", "settings", "scope_map", "route")
    copy = AuthorizerCopy(session, Guard(**{name: given[name] for name in names}))
    with session.terminal.progress("Looking up how the authorizer is set"):
        copy.settings  # noqa: B018 - which deployment, before anybody types a token
    text = read_token(file)
    method, path = given["request"] or ("GET", "/")
    call = _call(copy, text, (method.upper(), path.partition("?")[0]), given)
    with session.terminal.progress("Asking the issuer for its keys"):
        explanation = _explained(copy, text, call, whole=given["request"] is None)
    _show(session, explanation)
    if explanation.status != HTTPStatus.OK:
        click.get_current_context().exit(ExitCode.REFUSED)


def read_token(file: Path) -> str:
    """Return the token in a file, from stdin, or typed at a prompt if stdin is a terminal."""
    is_typed = file == STDIN and sys.stdin.isatty()
    return read_secret("The token", None if is_typed else file).strip()


def _explained(copy: AuthorizerCopy, text: str, call: Call, *, whole: bool) -> Explanation:
    session = copy.session
    ring, trouble = _ring(session)
    outcome: AuthorizerError | dict[str, Any]
    try:
        outcome = copy.judge(call).output
    except AuthorizerError as error:
        outcome = error
    said: dict[str, Any] = {} if isinstance(outcome, AuthorizerError) else outcome
    known = Known(text, copy, ring, trouble, session.now(), said.get("context", {}))
    return explain(known, None if whole else call, outcome)


def _ring(session: Session) -> tuple[KeyRing | None, str]:
    """Return the ring, or why there is none: who may look at tokens need not see it."""
    try:
        return KeyRoom(session).ring, ""
    except Exception as error:
        failure = translated(error)
        if failure is None:
            raise
        return None, failure.problem


def _call(copy: AuthorizerCopy, text: str, request: tuple[str, str], given: dict[str, Any]) -> Call:
    method, path = request
    url = address_of(copy.address, path)
    headers = {"Authorization": f"Bearer {text}"}
    if given["dpop_key"]:
        key = read_key(given["dpop_key"])
        proof = key.proof(method, url, copy.session.now(), token=text)
        headers = {"Authorization": f"DPoP {text}", "DPoP": proof}
    certificate = _only_certificate(given["certificate"]) if given["certificate"] else None
    return Call(method, path, headers, certificate)


def _only_certificate(path: Path) -> str:
    """Return a file's certificate; a private key beside it stays there."""
    try:
        loaded = load_pem_x509_certificate(read_text(path).encode())
    except ValueError:
        raise CommandError(f"{path} holds no certificate.", "Give PEM.", ExitCode.USAGE) from None
    return loaded.public_bytes(Encoding.PEM).decode()


def _show(session: Session, explanation: Explanation) -> None:
    parts: list[str | Text] = [_rendered(step) for step in explanation.steps]
    session.terminal.show(
        asdict(explanation), *parts, Text(), safe(explanation.decision, style="bold")
    )


def _rendered(step: Step) -> Text:
    mark, style = _MARKS[step.passed]
    line = Text(f"{mark} ", style=style).append(f"{step.stage:<14}", style="bold")
    indent = "\n" + " " * 16
    return line.append(safe(indent.join(step.says), style="default" if step.says else "dim"))
