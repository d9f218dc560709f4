"""Which authorizer is looked at: the stack's own, the shared one for an API, or one of your own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authorizer.routes import parse_route
from authorizer.settings import Settings, SettingsError
from functions.shared.clients.client_record import SIGNING_ALGORITHMS
from functions.shared.web import paths
from infra import local_stack
from infra.cli.terminal.errors import CommandError, UsageError
from infra.cli.terminal.strict_yaml import parse_yaml, read_text
from infra.cli.tokens.api_gateway import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from infra.cli.session import Session

SHARED: Final = "SharedAuthorizer"
_API: Final = re.compile(r"([A-Za-z0-9]+)(?:/([A-Za-z0-9_-]+|\$default))?")


@dataclass(frozen=True, slots=True)
class Guard:
    """An authorizer, and the API that it guards; without any of these the stack's own.

    `api` is an API with the shared authorizer, as its id and, if need be, `/` and its stage.
    `function` is the name or ARN of another authorizer, `settings` a file with the variables of
    one. `scope_map` is a file in place of its scope map, or of the API's rules.
    """

    api: str | None = None
    function: str | None = None
    settings: Path | None = None
    scope_map: Path | None = None
    route: str | None = None

    def __post_init__(self) -> None:
        if [self.api, self.function, self.settings].count(None) < 2:  # noqa: PLR2004 - one at most
            raise UsageError(
                "--api, --function and --settings name an authorizer each.", "Choose one."
            )
        if self.api is not None and not _API.fullmatch(self.api):
            raise UsageError(
                f"{self.api!r} is no API.", "Write its id, or its id and stage: a1b2c3/live."
            )

        if self.route is not None and self.route != DEFAULT and not _is_route(self.route):
            raise UsageError(
                f"{self.route!r} is no route.", "Write it as the API has it: GET /customers/{id}."
            )

    @property
    def is_own(self) -> bool:
        """Whether it is the one in front of the stack's own API."""
        return [self.api, self.function, self.settings] == [None] * 3

    @property
    def place(self) -> tuple[str, str]:
        """The id and the stage of the API, as far as they are known; they decide nothing."""
        found = _API.fullmatch(self.api or "")
        return (found[1], found[2] or "$default") if found else ("api", "$default")

    def environment(self, session: Session) -> dict[str, str]:
        """Return the variables that the authorizer runs with."""
        if self.settings is not None:
            return _of_file(self.settings)
        deployment = session.deployment
        if deployment.is_local:
            if self.function is not None:
                raise UsageError(
                    "On the laptop there are no functions to look up.",
                    "Put the authorizer's variables into a file: --settings FILE.",
                )
            credentials = deployment.resource("IntrospectionCredentials")
            return laptop_environment(deployment.issuer, credentials, shared=self.api is not None)
        if self.is_own and not deployment.guarded_api:
            raise UsageError(
                f"The stack {deployment.name} has no sample API (SampleApi=false).",
                "Name the API of another stack with --api, or an authorizer with --function.",
            )
        name = self.function or deployment.resource(SHARED if self.api else "Authorizer")
        found = session.aws.client("lambda").get_function_configuration(FunctionName=name)
        return dict(found.get("Environment", {}).get("Variables", {}))


def _is_route(text: str) -> bool:
    try:
        parse_route(text.replace("ANY ", "GET ", 1))
    except ValueError:
        return False
    return True


def laptop_environment(issuer: str, credentials: str, *, shared: bool = False) -> dict[str, str]:
    """Return the variables of the laptop's authorizers: template.yaml with its defaults."""
    rules = {"API_RULES": f"/gatehouse/{local_stack.STACK_NAME}/apis"} if shared else {}
    return {
        "ISSUER": issuer,
        "ALGORITHMS": ",".join(SIGNING_ALGORITHMS),
        "JWKS_HARD_AGE": "3600",
        "INTROSPECTION_URI": issuer + paths.INTROSPECTION,
        "INTROSPECTION_SECRET_ARN": credentials,
        **rules,
    }


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings of an authorizer.

    Raises:
        CommandError: it could not start with them either.
    """
    try:
        return Settings.from_env(environ)
    except SettingsError as error:
        raise CommandError(
            f"The authorizer cannot start: {error}.", "Mend its environment, and deploy."
        ) from error


def _of_file(path: Path) -> dict[str, str]:
    document = parse_yaml(read_text(path), str(path))
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise UsageError(
            f"{path} is no list of variables.",
            'Write NAME: value for each, in YAML or JSON; a value is a text: "true", "300".',
        )
    return document
