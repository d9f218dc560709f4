"""The context of a command: terminal, deployment, AWS clients and clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

import boto3
import botocore.session
import click
from botocore.config import Config
from botocore.exceptions import ClientError

from authorizer.clock import Deadline
from functions.shared.lambda_function import SYSTEM_CLOCK, Clock
from functions.shared.storage.boto3_client import Boto3Clients, check_responses

from .. import local_stack
from .errors import NotFoundError, UnreachableError, UsageError
from .options import GlobalOptions
from .output import Terminal

_TIMEOUTS = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
# moto is on this machine: it responds at once or not at all, without a proxy.
_LOCAL_TIMEOUTS = Config(connect_timeout=2, read_timeout=20, retries={"total_max_attempts": 1}, proxies={})
# moto never gets the developer's own profiles and credentials.
_WITHOUT_PROFILES = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


def callers_session(profile: str | None, region: str | None) -> boto3.Session:
    """Return the caller's session, as boto3 finds it: environment, profiles, SSO, roles.

    Raises:
        ProfileNotFound: there is no such profile.
    """
    return boto3.Session(profile_name=profile, region_name=region)


@dataclass(frozen=True)
class Aws:
    """The AWS services that commands use, each client made when first asked for."""

    session: boto3.Session
    endpoint: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_laptop(cls, environ: Mapping[str, str]) -> Aws:
        """Return the laptop edition's moto, which `make run` gives an access key for each run.

        Raises:
            UnreachableError: there is no key, so moto is not running.
        """
        endpoint, aws_port = laptop_aws_endpoint(environ), port(environ, "GATEHOUSE_AWS_PORT")
        access_key = local_stack.read_access_key(aws_port)
        if access_key is None:
            raise UnreachableError(endpoint, f"no access key in {local_stack.access_key_file(aws_port)}")
        session = boto3.Session(
            aws_access_key_id=access_key,
            aws_secret_access_key="local",  # noqa: S106 - moto checks the key only
            region_name=local_stack.REGION,
            botocore_session=botocore.session.Session(session_vars=_WITHOUT_PROFILES),
        )
        return cls(session, endpoint)

    def client(self, service: str) -> Any:
        """Return a client of a service, created once."""
        if service not in self._clients:
            config = _LOCAL_TIMEOUTS if self.endpoint else _TIMEOUTS
            made = self.session.client(service, endpoint_url=self.endpoint, config=config)  # type: ignore[call-overload]
            self._clients[service] = check_responses(made)
        return self._clients[service]

    def call(
        self, service: str, operation: str, deadline: Deadline | None = None, **parameters: object
    ) -> dict[str, Any]:
        """Call an operation, for the stores of the functions and of the authorizer."""
        return Boto3Clients(self.client).call(service, operation, deadline, **parameters)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A deployment and the names of its resources.

    `resources` are physical names by logical id. The laptop has no stack and no `parameters`: the
    template's defaults apply. `guarded_api` is empty without sample API (SampleApi=false).
    """

    name: str
    issuer: str
    guarded_api: str
    region: str
    is_local: bool = False
    resources: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The deployment in a prompt: the laptop, or the name of its stack."""
        return "the laptop" if self.is_local else self.name

    def resource(self, logical_id: str) -> str:
        """Return the name of a resource of the template; raises NotFoundError."""
        if logical_id not in self.resources:
            raise NotFoundError(
                f"The stack {self.name} has no {logical_id}.",
                "Name a stack that was deployed from Gatehouse's template with --stack.",
            )
        return self.resources[logical_id]


def find_stack(aws: Aws, name: str) -> Deployment:
    """Look a deployed stack up; raises NotFoundError."""
    cloudformation = aws.client("cloudformation")
    region = str(cloudformation.meta.region_name)
    try:
        (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "ValidationError":
            raise
        raise NotFoundError(
            f"There is no stack {name} in {region}.", "Check --stack, --region and --profile."
        ) from error
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}
    if "Issuer" not in outputs:
        raise NotFoundError(
            f"The stack {name} is not a complete Gatehouse deployment: it has no output Issuer.",
            "Finish its deployment, or name another one with --stack.",
        )
    return Deployment(
        name=name,
        issuer=outputs["Issuer"],
        guarded_api=outputs.get("GuardedApiUrl", ""),
        region=region,
        resources=stack_resources(cloudformation, name),
        parameters={
            each["ParameterKey"]: each.get("ResolvedValue", each["ParameterValue"])
            for each in stack.get("Parameters", ())
        },
    )


def stack_resources(cloudformation: Any, stack: str) -> dict[str, str]:
    """Return the names of a stack's resources by logical id."""
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
    return {
        each["LogicalResourceId"]: each["PhysicalResourceId"]
        for page in pages
        for each in page["StackResourceSummaries"]
        if each.get("PhysicalResourceId")
    }


def laptop(environ: Mapping[str, str]) -> Deployment:
    """Return the laptop edition, where the variables of `make run` say that it is."""
    host = local_stack.url_host(environ.get("GATEHOUSE_HOST") or "127.0.0.1")
    auth_port, api_port = (port(environ, f"GATEHOUSE_{each}_PORT") for each in ("AUTH", "API"))
    return Deployment(
        name=local_stack.STACK_NAME,
        issuer=f"http://{host}:{auth_port}/{local_stack.AUTH_STAGE}",
        guarded_api=f"http://{host}:{api_port}/{local_stack.API_STAGE}",
        region=local_stack.REGION,
        is_local=True,
        resources=local_stack.physical_names(),
        parameters={"SigningAlgorithms": environ[local_stack.SIGNING_ALGORITHMS]}
        if environ.get(local_stack.SIGNING_ALGORITHMS)
        else {},
    )


def laptop_aws_endpoint(environ: Mapping[str, str]) -> str:
    """Return where the laptop edition's moto listens."""
    return f"http://localhost:{port(environ, 'GATEHOUSE_AWS_PORT')}"


def port(environ: Mapping[str, str], name: str) -> int:
    """Return a port of the laptop edition; raises UsageError."""
    try:
        return local_stack.read_port(environ, name)
    except ValueError as error:
        raise UsageError(f"{error}.") from error


P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class CommandContext:
    """The context of one command. Tests pass another one as the `obj` of click."""

    clock: Clock = SYSTEM_CLOCK
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    sessions: Callable[[str | None, str | None], boto3.Session] = callers_session
    options: GlobalOptions = field(default_factory=GlobalOptions)

    @cached_property
    def terminal(self) -> Terminal:
        """The output for results, notes and prompts."""
        return Terminal(as_json=self.options.json, target=self.options.target)

    @cached_property
    def aws(self) -> Aws:
        """AWS with the caller's credentials, or the laptop's; raises UsageError."""
        if self._stack is None:
            return Aws.of_laptop(self.environ)
        return Aws(self.sessions(self.options.profile, self.options.region))

    @cached_property
    def deployment(self) -> Deployment:
        """The deployment that the options name; raises UsageError, NotFoundError."""
        if self._stack is None:
            return laptop(self.environ)
        with self.terminal.progress(f"Looking up the stack {self._stack}"):
            return find_stack(self.aws, self._stack)

    @property
    def _stack(self) -> str | None:
        """The stack that the options name, None for the laptop edition."""
        if self.options.local and self.options.stack:
            raise UsageError("--local and --stack exclude each other.", "Use one of them.")
        if self.options.local:
            return None
        name = self.options.stack or self.environ.get("GATEHOUSE_STACK")
        if not name:
            raise UsageError("No deployment was named.", "Add --stack NAME (or set GATEHOUSE_STACK), or --local.")
        return name

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self.clock()


def pass_context(command: Callable[Concatenate[CommandContext, P], R]) -> Callable[P, R]:
    """Pass the context to a command as its first argument."""

    def with_context(*args: P.args, **kwargs: P.kwargs) -> R:
        current = click.get_current_context()
        given = current.find_object(CommandContext) or CommandContext()
        return command(replace(given, options=GlobalOptions.of(current)), *args, **kwargs)

    return update_wrapper(with_context, command)
