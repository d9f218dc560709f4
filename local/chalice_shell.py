"""Put the gateway core behind `chalice local`.

`chalice local` loads an app, asks `chalice.local` for a server, and serves. The app here is a
`Chalice` that knows the template's routes (so that chalice's own tools see them) and answers
through the gateway core. The server is ours, too: `local/chalice_server.py`.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlencode

import chalice.local
from chalice.app import Chalice

from functions.shared.authentication.ssrf_guard import ON_LOOPBACK
from infra.cloudformation import TemplateError
from local.addresses import MUTUAL_TLS, Addresses, Service
from local.aws_account import use_local_aws
from local.chalice_server import GatewayServer, end_process
from local.cli import LaptopError
from local.console.backstage import BACKSTAGE, Backstage, socket_of
from local.gateway.core import Gateway
from local.gateway.lambda_runtime import InProcessLambda
from local.gateway.messages import Request, Response
from local.gateway.model import AnyMethod
from local.gateway.template import Template
from local.supervisor import SUPERVISED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableMapping

    from local.gateway.lambda_runtime import Invoke
    from local.gateway.model import Api, Function
    from local.http_server.server import Application

    Provision = Callable[[Addresses, Template], Mapping[str, str]]

__all__ = ["GatewayApp", "host_documents", "shared_environment"]

RATE_LIMITS = "GATEHOUSE_RATE_LIMITS"
ROOT = Path(__file__).resolve().parent.parent
_EVERY_METHOD = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_APIS: Mapping[Service, str] = {
    "auth_server": "AuthServerApi",
    "guarded_api": "GuardedApi",
    "bound_api": "GuardedApi",
}


class GatewayApp(Chalice):
    """One of the template's APIs, as a chalice app.

    `provision` starts the laptop's AWS if nothing plays it yet, makes in it what the template
    declares, and returns the values that the template's resources have there. `give_up` ends the
    process with a sentence.
    """

    def __init__(
        self,
        service: Service,
        *,
        template: Path = ROOT / "template.yaml",
        environ: MutableMapping[str, str] = os.environ,
        provision: Provision | None = None,
        give_up: Callable[[str], NoReturn] | None = None,
    ) -> None:
        super().__init__(f"gatehouse-{service.replace('_', '-')}", configure_logs=False)
        self.service: Service = service
        self.environ = environ
        self.give_up = give_up or end_process
        self._provision = provision
        self._gateway: Application | None = None
        self._backstage: Backstage | None = None
        self._opening = threading.Lock()
        try:
            self._template = Template.read(template, _parameters(service, environ))
            self._description = self._template.api(_APIS[service])
        except TemplateError as error:
            self.give_up(f"{template.name}: {error}.")
        except LaptopError as error:
            self.give_up(str(error))
        self._register_routes()
        chalice.local.LocalDevServer = GatewayServer  # type: ignore[misc, assignment]

    def _register_routes(self) -> None:
        """Tell chalice of the template's routes, under the stage that API Gateway would add."""
        prefix = "" if self._description.stage == "$default" else f"/{self._description.stage}"
        for number, route in enumerate(self._description.routes):
            path = (prefix + route.path).rstrip("/") or "/"
            methods = _EVERY_METHOD if route.method == AnyMethod else (route.method,)
            decorate = self.route(path, methods=list(methods), name=f"{route.function}{number}")
            decorate(_answered_by_the_gateway)

    def open(self, addresses: Addresses) -> Application:
        """Compose the gateway for these addresses, once.

        Raises:
            LaptopError: two functions of this process need different values of one variable.
        """
        with self._opening:
            if self._gateway is None:
                self._gateway = self._compose(addresses)
            return self._gateway

    def _compose(self, addresses: Addresses) -> Application:
        for library in ("boto3", "botocore", "werkzeug"):  # chalice shows everyone's chatter
            logging.getLogger(library).setLevel(logging.WARNING)
        provision = self._provision or _provision
        values = provision(addresses, self._template)
        use_local_aws(self.environ, addresses)
        origins = {
            _APIS["auth_server"]: addresses.auth_origin,
            _APIS["guarded_api"]: (
                addresses.bound_api_origin if self.service == "bound_api" else addresses.api_origin
            ),
        }
        functions = [
            self._template.function(logical_id, values, origins)
            for logical_id in sorted(self._description.functions())
        ]
        self.environ.update(shared_environment(functions))
        # On a laptop, what publishes keys of clients and issuers is on the laptop.
        self.environ.setdefault("REMOTE_KEYS", ON_LOOPBACK)
        if self.environ.get(MUTUAL_TLS):
            self.environ["MTLS_BASE_URL"] = addresses.mtls_auth_server
        sandboxes = InProcessLambda(functions)
        sandboxes.warm_up()
        if not self.environ.get(BACKSTAGE):
            return self._gateway_of(sandboxes)
        self._backstage = Backstage.build(sandboxes, self.environ, self._gateway_of)
        return self._backstage.watched

    def follow_aws(self, addresses: Addresses) -> None:
        """End this process when the AWS that it has found or started by itself has ended.

        Under `make run` the supervisor ends both.

        There is a thread more afterwards.
        """
        is_supervised = SUPERVISED in self.environ
        if self._provision is None and addresses.aws_endpoint is None and not is_supervised:
            from local import aws

            sentence = "AWS (moto) has ended, and all that was in it is gone: start this again."
            aws.watch(addresses, lambda: self.give_up(sentence))

    def let_console_in(self, worker: int) -> None:
        """Let the console look into this process, which is one of those that serve this API.

        Nothing happens where there is no console. Otherwise there is a thread more afterwards.
        """
        if self._backstage is not None:
            self._backstage.open(socket_of(self.environ[BACKSTAGE], self.service, worker))

    def _gateway_of(self, invoke: Invoke) -> Gateway:
        return Gateway(
            self._description,
            invoke,
            at_root=host_documents(self._description),
            throttle=self.environ.get(RATE_LIMITS) != "off",
        )

    def handle(self, request: Request) -> Response:
        """Answer a request through the gateway core."""
        return self._opened().handle(request)

    def too_large(self, request: Request) -> Response:
        """Answer a request whose body is over the limit."""
        return self._opened().too_large(request)

    def _opened(self) -> Application:
        return self._gateway or self.open(Addresses.from_env(self.environ))

    def __call__(self, event: Mapping[str, Any], context: object) -> dict[str, Any]:
        """Answer an event of chalice's own making (its test client's) through the gateway core."""
        response = self.handle(_request(event))
        headers: dict[str, list[str]] = {}
        for name, value in response.headers:
            headers.setdefault(name, []).append(value)
        return {
            "statusCode": response.status,
            "headers": {},
            "multiValueHeaders": headers,
            "body": response.body.decode("utf-8", "replace"),
        }


def host_documents(api: Api) -> frozenset[str]:
    """Paths of documents that RFC 8615 puts at a host's root, about the part of it that `api` is.

    Such a path begins with /.well-known/ and ends with the stage, as RFC 8414, 3.1, has it.
    """
    return frozenset(
        route.path
        for route in api.routes
        if route.path.startswith("/.well-known/") and route.path.endswith(f"/{api.stage}")
    )


def shared_environment(functions: Iterable[Function]) -> dict[str, str]:
    """The environment that serves every one of `functions`, for they share this process.

    Raises:
        LaptopError: two of them need different values of one variable.
    """
    merged: dict[str, tuple[str, str]] = {}
    for function in functions:
        for name, value in function.environment.items():
            owner, other = merged.setdefault(name, (function.logical_id, value))
            if other != value:
                raise LaptopError(
                    f"{owner} and {function.logical_id} need different values of {name}, "
                    "but on the laptop the functions of one API share a process."
                )
    return {name: value for name, (_, value) in merged.items()}


def _parameters(service: Service, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the template's parameters that differ from their defaults.

    A proof names the address that the client knows, so the bound API has to know it, too.
    """
    if service != "bound_api":
        return {}
    return {
        "ProofOfPossession": "dpop,mtls",
        "AuthorizerCacheSeconds": "0",
        "ResourceUrl": Addresses.from_env(environ).bound_api_url,
    }


def _provision(addresses: Addresses, template: Template) -> Mapping[str, str]:
    from local import aws

    return aws.ensure(addresses, template)


def _answered_by_the_gateway() -> None:
    """Stand for a route in chalice's eyes; `GatewayApp.__call__` answers before it is reached."""


def _request(event: Mapping[str, Any]) -> Request:
    """The request that chalice's converter made `event` from, as far as it can be told."""
    context = event["requestContext"]
    body = event.get("body") or b""
    query = event.get("multiValueQueryStringParameters") or {}
    return Request(
        method=context["httpMethod"],
        path=quote(context["path"], safe="/%:@!$&'()*+,;=~"),
        query=urlencode(query, doseq=True),
        headers=(("host", "localhost"), *event.get("headers", {}).items()),
        body=body.encode() if isinstance(body, str) else body,
        source_ip=context["identity"]["sourceIp"],
    )
