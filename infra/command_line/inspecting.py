"""`gatehouse token inspect`: what the authorizer decides about a token and a request, and why."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.text import Text

from authorizer.errors import AuthorizerError
from infra.command_line.authorizer_copy import AuthorizerCopy, Call
from infra.command_line.client_keys import read_key
from infra.command_line.errors import CommandError, ExitCode
from infra.command_line.explanations import Explanation, Step, explain
from infra.command_line.key_room import KeyRoom
from infra.command_line.options import Command
from infra.command_line.secrets_in import STDIN, read_secret
from infra.command_line.session import Session, pass_session
from infra.command_line.terminal import safe
from infra.command_line.troubles import translated

if TYPE_CHECKING:
    from functions.shared.keys.key_ring import KeyRing

_FILE: Final = click.Path(path_type=Path)
_MARKS: Final = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}


@dataclass(frozen=True)
class Evidence:
    """What a request brings along for a token that is bound to a key."""

    dpop_key: Path | None
    certificate: Path | None


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
@click.option("--scope-map", type=_FILE, help="The scope map, where it is not the package's own.")
@pass_session
def inspect(
    session: Session,
    *,
    file: Path,
    request: tuple[str, str] | None,
    dpop_key: Path | None,
    certificate: Path | None,
    scope_map: Path | None,
) -> None:
    """Explain what the authorizer makes of a token, step by step; exits with 1 if it is refused.

    FILE holds the token; without it, it is read from stdin, or asked for. The authorizer's own code
    decides, with the deployed settings, on the time of this machine.
    """
    # Which deployment, before anybody types a token.
    copy = AuthorizerCopy(session, scope_map)
    copy.settings  # noqa: B018 - likewise
    typed = file == STDIN and sys.stdin.isatty()
    text = read_secret("The token", None if typed else file).strip()
    call = _call(session, text, request or ("GET", "/"), Evidence(dpop_key, certificate))
    with session.terminal.progress("Asking the issuer for its keys"):
        explanation = _explained(session, copy, text, call, whole=request is None)
    _show(session, explanation)
    if explanation.status != HTTPStatus.OK:
        click.get_current_context().exit(ExitCode.REFUSED)


def _explained(
    session: Session, copy: AuthorizerCopy, text: str, call: Call, *, whole: bool
) -> Explanation:
    ring, trouble = _ring(session)
    outcome: AuthorizerError | dict[str, object]
    try:
        outcome = copy.judge(call).output
    except AuthorizerError as error:
        outcome = error
    return explain(
        text,
        None if whole else call,
        outcome,
        copy=copy,
        ring=ring,
        ring_trouble=trouble,
        now=session.now(),
    )


def _ring(session: Session) -> tuple[KeyRing | None, str]:
    """Return the ring, or why there is none: who may look at tokens need not see it."""
    try:
        return KeyRoom(session).ring, ""
    except Exception as error:
        failure = translated(error)
        if failure is None:
            raise
        return None, failure.problem


def _call(session: Session, text: str, request: tuple[str, str], evidence: Evidence) -> Call:
    from infra.command_line.tokens import guarded_url  # noqa: PLC0415 - it imports this module

    method, path = request[0].upper(), request[1].partition("?")[0]
    url = guarded_url(session, path, with_certificate=False)
    headers = {"Authorization": f"Bearer {text}"}
    if evidence.dpop_key is not None:
        proof = read_key(evidence.dpop_key).proof(method, url, session.now(), token=text)
        headers = {"Authorization": f"DPoP {text}", "DPoP": proof}
    certificate = None
    if evidence.certificate is not None:
        certificate = _only_certificate(evidence.certificate)
    return Call(method, path, headers, certificate)


def _only_certificate(path: Path) -> str:
    """Return a file's certificate; a private key beside it stays there."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415

    from infra.command_line.client_documents import read_text  # noqa: PLC0415

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
