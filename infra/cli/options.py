"""Options of every command, before or after its name, and the classes that add them."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self, TypeVar, cast

import click

from .errors import ExitCode
from .output import Terminal

F = TypeVar("F", bound="Callable[..., Any]")

_KEY = "gatehouse.options"
_WHOLE_SENTENCE = 200
"""Longer than the first sentence of any command."""


@dataclass(frozen=True)
class GlobalOptions:
    """Options for the deployment, AWS and the output."""

    stack: str | None = None
    local: bool = False
    region: str | None = None
    profile: str | None = None
    json: bool = False

    @classmethod
    def of(cls, context: click.Context) -> Self:
        """Return the options of this run."""
        return cls(**context.meta.get(_KEY, {}))

    @property
    def target(self) -> str:
        """The options of the deployment as a user types them."""
        named = {"--stack": self.stack, "--region": self.region, "--profile": self.profile}
        words = [word for option, value in named.items() if value for word in (option, value)]
        return shlex.join([*words, *(["--local"] if self.local else [])])


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    # Options may precede or follow the command; the last value wins.
    if value and parameter.name:
        context.meta.setdefault(_KEY, {})[parameter.name] = value


def _global_options() -> list[click.Parameter]:
    made: Sequence[tuple[str, dict[str, Any]]] = (
        ("--stack", {"metavar": "NAME", "help": "CloudFormation stack of the deployment."}),
        ("--local", {"is_flag": True, "help": "Use the laptop deployment that 'make run' started."}),
        ("--region", {"metavar": "NAME", "help": "AWS region of the stack."}),
        ("--profile", {"metavar": "NAME", "help": "AWS profile."}),
        ("--json", {"is_flag": True, "help": "Print JSON instead of text."}),
    )
    return [
        click.Option([name], expose_value=False, is_eager=True, callback=_remember, **settings)
        for name, settings in made
    ]


class Command(click.Command):
    """A command with the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options apart from those that all commands have."""
        shared = global_option_names()
        for title, wanted in (("Options", False), ("For every command", True)):
            records = [
                record
                for parameter in self.get_params(ctx)
                if isinstance(parameter, click.Option)  # an argument is in the line of the usage
                and (parameter.name in shared) is wanted
                and (record := parameter.get_help_record(ctx)) is not None
            ]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Group(Command, click.Group):
    """A group of commands with the global options."""

    command_class = Command
    group_class = type

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the group's own options apart from those that all commands have."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its whole first sentence: click would cut it."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(_WHOLE_SENTENCE)) for name, command in found if command is not None]
            )


class LazyGroup(Group):
    """A group that imports its commands lazily, so that completion is fast."""

    members: Mapping[str, str]
    """`module:attribute` by command name."""

    def __init__(self, members: Mapping[str, str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.members = members

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error becomes a sentence on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(ExitCode.INTERRUPTED)
        except Exception as error:
            if isinstance(error, click.ClickException | click.exceptions.Exit | click.Abort):
                raise
            if isinstance(error, BrokenPipeError):
                raise  # the reader closed the pipe; click ends silently
            from .aws_errors import translated

            failure = translated(error)
            if failure is None:
                raise
            options = GlobalOptions.of(ctx)
            Terminal(as_json=options.json, target=options.target).fail(failure)
            ctx.exit(failure.code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the table."""
        return [*self.members, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing it now."""
        if cmd_name not in self.members:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.members[cmd_name].partition(":")
        return cast("click.Command", getattr(import_module(module, __package__), attribute))


def with_options(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """Return a decorator that adds options to a command, in their order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def global_option_names() -> frozenset[str]:
    """Return the names of the options that every command takes."""
    return frozenset(option.name for option in _global_options() if option.name)
