"""The context of a command: terminal, deployment, AWS clients and clock."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, update_wrapper
from typing import Concatenate, ParamSpec, TypeVar

import boto3
import click

from functions.shared.runtime.clock import SYSTEM_CLOCK, Clock
from infra.cli.errors import UsageError
from infra.cli.options import GlobalOptions
from infra.cli.output import Terminal
from infra.cli.stack import (
    Aws,
    Deployment,
    callers_session,
    find_stack,
    laptop,
    laptop_access_key,
    laptop_aws_endpoint,
)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Outside:
    """Clock, environment and AWS sessions; tests pass their own as click's `obj`."""

    clock: Clock = SYSTEM_CLOCK
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    sessions: Callable[[str | None, str | None], boto3.Session] = callers_session


@dataclass(frozen=True)
class Session:
    """The context of one command."""

    options: GlobalOptions
    outside: Outside

    @cached_property
    def terminal(self) -> Terminal:
        """The output for results, notes and prompts."""
        return Terminal(as_json=self.options.json)

    @cached_property
    def aws(self) -> Aws:
        """AWS with the caller's credentials, or the laptop's.

        Raises:
            UsageError: the options name no deployment, or two: that is asked before any region.
        """
        if self._stack is None:
            environ = self.outside.environ
            return Aws.of_laptop(laptop_aws_endpoint(environ), laptop_access_key(environ))
        return Aws(self.outside.sessions(self.options.profile, self.options.region))

    @cached_property
    def deployment(self) -> Deployment:
        """The deployment that the options name.

        Raises:
            UsageError: they name none, or two.
            NotFoundError: there is no such stack.
        """
        if self._stack is None:
            return laptop(self.outside.environ)
        with self.terminal.progress(f"Looking up the stack {self._stack}"):
            return find_stack(self.aws, self._stack)

    @property
    def _stack(self) -> str | None:
        """The stack that the options name, None for the laptop edition."""
        if self.options.local and self.options.stack:
            raise UsageError("--local and --stack exclude each other.", "Use one of them.")
        if self.options.local:
            return None
        name = self.options.stack or self.outside.environ.get("GATEHOUSE_STACK")
        if not name:
            raise UsageError(
                "No deployment was named.", "Add --stack NAME (or set GATEHOUSE_STACK), or --local."
            )
        return name

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self.outside.clock()


def pass_session(command: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Pass the context to a command as its first argument."""

    def with_session(*args: P.args, **kwargs: P.kwargs) -> R:
        context = click.get_current_context()
        outside = context.find_object(Outside) or Outside()
        session = Session(GlobalOptions.of(context), outside)
        return command(session, *args, **kwargs)

    return update_wrapper(with_session, command)
