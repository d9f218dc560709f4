"""Call Lambda handlers in this process, as the Lambda service would call them."""

import importlib
import json
import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from local.cli import LaptopError
from local.gateway.model import Function

_log = logging.getLogger(__name__)


class FunctionError(Exception):
    """A function failed. `kind` and `message` are those that Lambda reports.

    Three modules answer it: `core` for an integration, `authorization` for an authorizer, `load_balancer` for a target.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


Invoke = Callable[[str, object], object]
"""Calls a function by its logical id, with an event. Returns the result, or raises FunctionError. JSON copies both."""


@dataclass
class LambdaContext:
    """The second argument of a handler, as the Python runtime of AWS Lambda gives it.

    Source: AWS Lambda Developer Guide, "Using the Lambda context object to retrieve Python function information".
    """

    function_name: str
    invoked_function_arn: str
    memory_limit_in_mb: str
    deadline: float
    clock: Callable[[], float] = time.time
    function_version: str = "$LATEST"
    log_stream_name: str = "local"
    identity: None = None
    client_context: None = None
    tenant_id: None = None

    @cached_property
    def aws_request_id(self) -> str:
        """Id of the invocation."""
        return str(uuid.uuid4())

    @property
    def log_group_name(self) -> str:
        """Name of the log group that Lambda makes by default."""
        return f"/aws/lambda/{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function's timeout; never negative."""
        return max(0, int((self.deadline - self.clock()) * 1000))


class InProcessLambda:
    """The functions of one process. Unlike Lambda it lets invocations of one function overlap."""

    def __init__(self, functions: Iterable[Function], clock: Callable[[], float] = time.time) -> None:
        self._functions = {function.logical_id: function for function in functions}
        self._handlers: dict[str, Callable[[object, LambdaContext], object]] = {}
        self._clock = clock

    def warm_up(self) -> None:
        """Import every handler; what cannot be imported is logged and fails when it is called."""
        for logical_id in self._functions:
            try:
                self.handler(logical_id)
            except FunctionError:
                _log.exception("%s cannot be imported", logical_id)

    def restart(self, function: str) -> None:
        """Import a handler again at its next call, as a new execution environment does."""
        self._handlers.pop(function, None)
        sys.modules.pop(self._functions[function].handler.rpartition(".")[0], None)

    def __call__(self, function: str, event: object) -> object:
        """Call the handler with a copy of `event` that went through JSON, and so its result."""
        handler = self.handler(function)
        described = self._functions[function]
        context = LambdaContext(
            function_name=described.name,
            invoked_function_arn=described.arn,
            memory_limit_in_mb=str(described.memory),
            deadline=self._clock() + described.timeout,
            clock=self._clock,
        )
        payload = json.loads(_write_event(event))
        try:
            result = handler(payload, context)
        except Exception as error:
            if str(error) != "Unauthorized":
                _log.exception("%s failed", function)
            raise FunctionError(type(error).__name__, str(error)) from error
        if self._clock() > context.deadline:
            raise FunctionError("Sandbox.Timedout", f"Task timed out after {described.timeout:.2f} seconds")
        try:
            text = _write_result(result)
        except (TypeError, ValueError) as error:
            _log.exception("%s returned a value that is not JSON", function)
            raise FunctionError("Runtime.MarshalError", str(error)) from error
        return json.loads(text)

    def handler(self, function: str) -> Callable[[object, LambdaContext], object]:
        """The function's handler, imported at the first call.

        Raises:
            FunctionError: it cannot be imported.
        """
        handler = self._handlers.get(function)
        if handler is None:
            path = self._functions[function].handler
            module, _, name = path.rpartition(".")
            try:
                handler = getattr(importlib.import_module(module), name)
            except Exception as error:
                raise FunctionError("Runtime.ImportModuleError", f"{path} cannot be imported: {error}") from error
            if not callable(handler):
                raise FunctionError("Runtime.HandlerNotFound", f"{path} is not a function")
            self._handlers[function] = handler
        return handler


def _written(value: object) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


# Made once: `json.dumps` with options makes one for every call.
_write_event = json.JSONEncoder(ensure_ascii=False).encode
_write_result = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_written).encode


def shared_environment(functions: Iterable[Function]) -> dict[str, str]:
    """Return the environment of a process in which all `functions` run.

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
