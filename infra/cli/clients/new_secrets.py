"""Client secrets as they are made, and handed over once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from functions.shared.clients.client_secrets import (
    StoredSecret,
    digest_generated,
    digest_imported,
    generate_secret,
)
from infra.cli.terminal.confidential import read_secret, write_private_file
from infra.cli.terminal.errors import CommandError, ExitCode
from infra.cli.terminal.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.cli.session import Session

_FILE: Final = click.Path(path_type=Path)

secret_file_option = click.option(
    "--secret-file",
    type=_FILE,
    help="Take this secret, from a file or from stdin (-), in place of a generated one.",
)
secret_to_option = click.option(
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


def deliver(
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
        with session.terminal.progress("Registering it"):
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
    try:
        if session.options.json:
            session.terminal.show(payload)
        elif shown:
            session.terminal.write(shown)
    except (CommandError, BrokenPipeError) as error:
        raise CommandError(
            error.problem if isinstance(error, CommandError) else "Nobody read the result.",
            f"The secret is registered and lost: gatehouse clients rotate-secret {client_id}.",
            ExitCode.TROUBLE,
        ) from error
