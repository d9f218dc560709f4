"""docs/reference/cli.md and clients.schema.json: every command, and what a clients file may say."""

from __future__ import annotations

import json
from inspect import cleandoc
from typing import TYPE_CHECKING, Final

import click

from infra.cli.app import app
from infra.cli.clients.schema import clients_file
from infra.cli.terminal.errors import EXIT_CODES
from infra.cli.terminal.options import global_option_names

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD: Final = (
    "# gatehouse\n\n"
    "Written from the code by `make reference`. "
    "What the commands are for, with examples: [cli.md](../cli.md)."
)


def write_schema() -> str:
    """Return the JSON schema of a clients file."""
    return json.dumps(clients_file(), indent=2) + "\n"


def write_page() -> str:
    """Return the reference of every command, option and exit code."""
    root = click.Context(app, info_name="gatehouse")
    parts = [_HEAD, "## For every command", _options(root, wanted_global=True)]
    parts += [_described(context) for context in _commands(root)]
    codes = "\n".join(f"| {code.value} | {meaning} |" for code, meaning in EXIT_CODES.items())
    parts.append(f"## Exit codes\n| code | meaning |\n|---|---|\n{codes}")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _commands(context: click.Context) -> Iterator[click.Context]:
    group = context.command
    if not isinstance(group, click.Group):
        yield context
        return
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield from _commands(click.Context(command, info_name=name, parent=context))


def _described(context: click.Context) -> str:
    usage = " ".join(context.command.collect_usage_pieces(context))
    text = cleandoc(context.command.help or "")
    return (
        f"## {context.command_path}\n```\n{context.command_path} {usage}\n```\n"
        f"{text}\n\n{_options(context, wanted_global=False)}"
    )


def _options(context: click.Context, *, wanted_global: bool) -> str:
    shared = global_option_names()
    records = (
        parameter.get_help_record(context)
        for parameter in context.command.params
        if (parameter.name in shared) is wanted_global
    )
    rows = [
        f"| `{_cell(names)}` | {_cell(text)} |" for names, text in filter(None, records) if text
    ]
    return "\n".join(["| option | |", "|---|---|", *rows]) if rows else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
