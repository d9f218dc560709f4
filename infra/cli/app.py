"""`gatehouse`: its commands, and the output of their errors."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import click
from click.shell_completion import get_completion_class

from .errors import ExitCode
from .options import LazyGroup
from .output import write_in_any_encoding

COMMANDS: Mapping[str, str] = {
    "clients": ".clients:clients",
    "rules": ".rules:rules",
    "keys": ".keys:keys",
    "token": ".tokens:token",
    "guard": ".guards:guard",
    "doctor": ".doctor.command:doctor",
    "backup": ".backup:backup",
    "restore": ".backup:restore",
}
"""Commands as `module:attribute`."""


def _version() -> str:
    try:
        return version("gatehouse")
    except PackageNotFoundError:  # a checkout, not an installed package
        return "from a checkout"


@click.group("gatehouse", cls=LazyGroup, members=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), message="%(prog)s %(version)s")
def app() -> None:
    """Operate Gatehouse: clients, trust rules, keys, tokens, guards, backups.

    Commands use your AWS credentials. Name a deployment by its CloudFormation stack (--stack or
    GATEHOUSE_STACK), or use --local for the laptop.
    """


@app.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell script that completes commands and options.

    In ~/.bashrc: eval "$(gatehouse completion bash)"

    In ~/.zshrc: eval "$(gatehouse completion zsh)"

    In ~/.config/fish/config.fish: source (gatehouse completion fish | psub)
    """
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(app, {}, "gatehouse", "_GATEHOUSE_COMPLETE").source())


def main() -> None:
    """Run the command line; never return."""
    write_in_any_encoding()
    try:
        app.main(prog_name="gatehouse")
    except OSError as error:  # a page of help, or an error message itself
        with suppress(OSError):
            click.echo(f"The output cannot be written: {error.strerror}.", err=True)
        sys.exit(ExitCode.FAILURE)
    finally:
        _discard_unwritable_output()


def _discard_unwritable_output() -> None:
    """Make the interpreter's own flush at exit succeed: if it fails, the exit code becomes 120."""
    for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
