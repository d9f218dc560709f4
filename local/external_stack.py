"""Serve the API of another stack next to `make run`, guarded by Gatehouse's tokens.

    python -m local.external_stack docs/examples/rest-api/template.yaml --port 8101

It emulates the one API or load balancer of the template and runs its functions, which must be Python. It stores the
template's Systems Manager parameters in the laptop's AWS, and imports what template.yaml exports.
At the start it names the routes that the API's scope map opens or closes by mistake.
"""

import argparse
import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from authorizer.app import read_scope_map
from authorizer.aws import AwsError
from authorizer.scope_map import ScopeMap, ScopeMapError, parse_api_rules
from functions.shared.storage.boto3_client import Boto3
from infra.cloudformation import Resource, TemplateError
from infra.explain import route_faults
from infra.local_stack import parse_port
from local import STATE
from local.addresses import LAPTOP, Addresses, use_local_aws
from local.cli import LaptopError
from local.emulated_aws import TEMPLATE, names
from local.gateway.core import Gateway
from local.gateway.lambda_runtime import FunctionError, InProcessLambda, shared_environment
from local.gateway.load_balancer import LISTENER, LoadBalancer, Rule, read_rules
from local.gateway.model import Api, Authorizer, Function
from local.gateway.template import Template
from local.http_server import Server
from local.log_output import print_line, print_whole_lines
from local.supervisor import end_with_supervisor

EXPORTS = ("Issuer", "JwksUri", "AuthorizerArn", "AuthorizerInvocationUri", "ApiRulesPath")
_AUTHORIZER = "authorizer.handler.handle"
_SHARED = "SharedAuthorizer"
_PARAMETER = "AWS::SSM::Parameter"


class ExternalStack:
    """A stack with one API, or one listener of a load balancer, that imports values of Gatehouse's stack."""

    def __init__(self, path: Path, addresses: Addresses, parameters: Mapping[str, str]) -> None:
        self._path = path
        self._gatehouse = Template.read(TEMPLATE)
        self._names = names()
        self._origins = {"AuthServerApi": addresses.origin("auth_server")}
        self.template = Template.read(
            path,
            parameters,
            replace(LAPTOP, stack_name=path.resolve().parent.name),
            dict(self._gatehouse.export(name, self._names, self._origins) for name in EXPORTS),
        )

    @cached_property
    def listener(self) -> Resource | None:
        """The listener of the stack's load balancer, None if it has an API.

        Raises:
            TemplateError: the stack has several listeners, or a listener and an API.
        """
        listeners = self.template.of_type(LISTENER)
        if len(listeners) > 1 or (listeners and self.template.apis()):
            raise TemplateError("the template needs one listener without an API, or one API without a listener")
        return listeners[0] if listeners else None

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of the stack's listener; none if it has an API."""
        return read_rules(self.template, self.listener) if self.listener else ()

    @cached_property
    def api(self) -> Api:
        """The stack's API.

        Raises:
            TemplateError: the stack has no API or several, or an unsupported one.
        """
        found = self.template.apis()
        if len(found) != 1:
            raise TemplateError(f"the template needs exactly one API and has {len(found)}")
        return self.template.api(found[0])

    def shared_authorizer(self) -> Function:
        """Return the shared authorizer of Gatehouse's stack."""
        return self._gatehouse.function(_SHARED, self._names, self._origins)

    def functions(self, origin: str = "") -> list[Function]:
        """Return the functions that the API or the load balancer calls. The shared authorizer is named by its ARN.

        In the functions' environment, `origin` replaces the address that the API would have on AWS.
        """
        if self.rules:
            names = {rule.target for rule in self.rules if isinstance(rule.target, str)}
            return [self.template.function(name) for name in sorted(names)]
        shared = self.shared_authorizer()
        origins = self._origins_of_api(origin)
        return [
            replace(shared, logical_id=name) if name == shared.arn else self.template.function(name, origins=origins)
            for name in sorted(self.api.functions())
        ]

    def _origins_of_api(self, origin: str) -> dict[str, str]:
        return dict.fromkeys(self.template.apis(), origin) if origin else {}

    def route_findings(self) -> list[str]:
        """Name the guarded routes that the API's scope maps open or close by mistake."""
        if self.listener:
            return []
        findings: list[str] = []
        for function in self.functions():
            name = function.logical_id
            guarded = [
                each.key
                for each in self.api.routes
                if isinstance(each.authorizer, Authorizer) and each.authorizer.function == name
            ]
            if guarded and function.handler == _AUTHORIZER:
                simple = function.environment.get("SIMPLE_RESPONSE") == "true"
                try:
                    scope_map = self._scope_map(function)
                    if scope_map is not None:
                        findings += route_faults(guarded, scope_map, simple_responses=simple)
                except ScopeMapError as error:
                    findings.append(f"the scope map cannot be read: {error}")
        return findings

    def _scope_map(self, authorizer: Function) -> ScopeMap | None:
        """Return the scope map that an authorizer uses for the API, None without one."""
        rules_path = authorizer.environment.get("API_RULES")
        if rules_path is None:
            return read_scope_map(authorizer.environment.get("SCOPE_MAP"))
        for resource in self.template.of_type(_PARAMETER):
            properties = self.template.properties(resource.logical_id, {})
            if properties["Name"] == f"{rules_path.rstrip('/')}/{self.api.api_id}":
                return parse_api_rules(str(properties["Value"]).encode()).scope_map
        return None

    def put_parameters(self, origin: str = "") -> None:
        """Store the stack's parameters in Systems Manager. `origin`: see `functions`."""
        aws = Boto3(timeout=30)  # moto imports the service at its first request
        for resource in self.template.of_type(_PARAMETER):
            properties = self.template.properties(resource.logical_id, {})
            declared = {member: properties[member] for member in ("Name", "Value", "Type")}
            declared["Value"] = self.template.relocated(str(declared["Value"]), self._origins_of_api(origin))
            aws.call("ssm", "PutParameter", Overwrite=True, **declared)

    def code(self) -> list[str]:
        """Return the folders of the functions' code."""
        declared = (str(properties.get("CodeUri", ".")) for _, properties in self.template.function_properties())
        return [str((self._path.parent / folder).resolve()) for folder in declared]


def gateway(stack: ExternalStack, environ: MutableMapping[str, str], origin: str) -> Gateway | LoadBalancer:
    """Return the gateway of the stack's API, or its load balancer. The functions run in this process.

    `origin` is the address that the API has here. Functions may import the library `gatehouse`.

    Raises:
        LaptopError: two of its functions need different values of one variable.
        TemplateError: its template is not supported.
    """
    stack.put_parameters(origin)
    functions = stack.functions(origin)
    environ.update(shared_environment(functions))
    sys.path[:0] = [folder for folder in stack.code() if folder not in sys.path]
    sys.path.append(str(library()))
    sandboxes = InProcessLambda(functions)
    for function in functions:
        try:
            sandboxes.handler(function.logical_id)
        except FunctionError as error:
            raise TemplateError(f"{function.logical_id} cannot run: {error.message}") from error
    timeouts = {each.logical_id: each.timeout for each in functions}
    if stack.rules:
        return LoadBalancer(stack.rules, sandboxes, timeouts)
    return Gateway(stack.api, sandboxes, timeouts=timeouts)


def library() -> Path:
    """Return a folder with the library `gatehouse`, which is the package `authorizer` of this checkout."""
    folder = STATE / "library"
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        (folder / "gatehouse").symlink_to("../../authorizer")
    return folder


def listening(host: str, port: int) -> Server:
    """Return a server with its port bound.

    Raises:
        LaptopError: the port cannot be bound.
    """
    try:
        # A file or a pipe gets the functions' log alone.
        return Server(host, port, log=print_line if sys.stdout.isatty() else None)
    except OSError as error:
        raise LaptopError(
            f"Cannot listen on {host}:{port} ({error.strerror}): end what uses it, or choose another port with --port."
        ) from error


def port_number(text: str) -> int:
    """Parse a port number; 0 is any free port."""
    try:
        return parse_port(text, least=0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def name_and_value(text: str) -> tuple[str, str]:
    """Parse a parameter of the template."""
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def main(arguments: Sequence[str]) -> int:
    """Serve until interrupted; return 1 when that is not possible."""
    parser = argparse.ArgumentParser(prog="local.external_stack", description=__doc__.partition("\n")[0])
    parser.add_argument("template", type=Path)
    parser.add_argument("--port", type=port_number, default=8101)
    parser.add_argument("--parameter", type=name_and_value, action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args(arguments)
    end_with_supervisor(os.environ)
    try:
        addresses = Addresses.from_env(os.environ)
        use_local_aws(os.environ, addresses)
        stack = ExternalStack(given.template, addresses, dict(given.parameter))
        server = listening(addresses.host, given.port)
        server.open(gateway(stack, os.environ, f"http://localhost:{server.port}"))
    except AwsError as error:
        fault = f"{error.message} Is 'make run' up, on the same ports?"
    except LaptopError as error:
        fault = str(error)
    except (TemplateError, OSError) as error:
        fault = f"{given.template} cannot run on the laptop: {error}."
    else:
        _serve(stack, server)
        return 0
    print(fault, file=sys.stderr)
    return 1


def _serve(stack: ExternalStack, server: Server) -> None:
    for finding in stack.route_findings():
        print(f"warning: {finding}", file=sys.stderr)
    print_whole_lines(json_log=STATE / "logs" / str(server.port) / "external_stack.json.log")
    listener = stack.listener
    name, base_path = (listener.logical_id, "") if listener else (stack.api.logical_id, stack.api.base_path)
    print(f"{name} at http://localhost:{server.port}{base_path}")
    with suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
