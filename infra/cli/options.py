"""The options that every command takes, before or after its name, and the classes that add them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, cast

import click

from infra.cli.errors import ExitCode
from infra.cli.output import Terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_KEY = "gatehouse.options"
_WHOLE_SENTENCE = 200
"""Letters, more than any command's first sentence has."""


@dataclass(frozen=True)
class GlobalOptions:
    """Which deployment, whose AWS, and for whom the output is."""

    stack: str | None = None
    local: bool = False
    region: str | None = None
    profile: str | None = None
    json: bool = False

    @classmethod
    def of(cls, context: click.Context) -> Self:
        """Return the options that this run was given."""
        return cls(**context.meta.get(_KEY, {}))


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    # Before a command's name and after it: what was given last counts, what was not given nothing.
    if value and parameter.name:
        context.meta.setdefault(_KEY, {})[parameter.name] = value


def _global_options() -> list[click.Parameter]:
    made: Sequence[tuple[str, dict[str, Any]]] = (
        ("--stack", {"metavar": "NAME", "help": "The deployment's CloudFormation stack."}),
        ("--local", {"is_flag": True, "help": "The laptop edition that 'make run' started."}),
        ("--region", {"metavar": "NAME", "help": "The stack's AWS region."}),
        ("--profile", {"metavar": "NAME", "help": "The AWS profile to use."}),
        ("--json", {"is_flag": True, "help": "JSON for programs, in place of tables."}),
    )
    return [
        click.Option([name], expose_value=False, is_eager=True, callback=_remember, **settings)
        for name, settings in made
    ]


class Command(click.Command):
    """A command with the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options apart from those that all of them have."""
        _write_options(self, ctx, formatter)


class Group(click.Group):
    """A group of commands with the global options."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the group's own options apart from those that all commands have."""
        _write_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its whole first sentence: click would cut it."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(_WHOLE_SENTENCE))
                    for name, command in found
                    if command is not None
                ]
            )


class LazyGroup(Group):
    """A group whose members are imported when they are asked for: completion must be quick."""

    members: Mapping[str, str]
    """`module:attribute` by command name."""

    def __init__(self, members: Mapping[str, str], *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **kwargs)
        self.members = members

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own
        """Run the command; an error becomes a sentence on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(ExitCode.INTERRUPTED)
        except Exception as error:
            if isinstance(error, click.ClickException | click.exceptions.Exit | click.Abort):
                raise
            if isinstance(error, BrokenPipeError):
                raise  # nobody reads on, which is nobody's fault: click ends without a word
            from infra.cli.aws_errors import translated  # noqa: PLC0415 - see its docstring

            failure = translated(error)
            if failure is None:
                raise
            Terminal(as_json=GlobalOptions.of(ctx).json).fail(failure)
            ctx.exit(failure.code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the table."""
        return [*self.members, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing it now."""
        if cmd_name not in self.members:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.members[cmd_name].partition(":")
        return cast("click.Command", getattr(import_module(module), attribute))


def global_option_names() -> frozenset[str]:
    """Return the names of the options that every command takes."""
    return frozenset(option.name for option in _global_options() if option.name)


def _write_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    shared = global_option_names()
    for title, wanted in (("Options", False), ("For every command", True)):
        records = [
            record
            for parameter in command.get_params(ctx)
            if isinstance(parameter, click.Option)  # an argument is in the line of the usage
            and (parameter.name in shared) is wanted
            and (record := parameter.get_help_record(ctx)) is not None
        ]
        if records:
            with formatter.section(title):
                formatter.write_dl(records)
