import re
import sys
from collections.abc import Callable
from decimal import Decimal

import pytest

from local.gateway.lambda_runtime import FunctionError, InProcessLambda, LambdaContext
from local.gateway.model import Function
from tests.unit.local.gateway.apis import Clock

FUNCTION = Function(
    logical_id="Probe",
    name="gatehouse-Probe",
    arn="arn:aws:lambda:us-east-1:123456789012:function:gatehouse-Probe",
    handler="probe_module.handle",
    environment={},
    timeout=10,
    memory=512,
)


class Module:
    """Replaces a function's module."""

    def __init__(self, handle: object) -> None:
        self.handle = handle


@pytest.fixture
def invoke_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], InProcessLambda]:
    def build(handle: object) -> InProcessLambda:
        monkeypatch.setitem(sys.modules, "probe_module", Module(handle))
        return InProcessLambda([FUNCTION], Clock())

    return build


def test_handler_gets_an_event_copy_and_context(invoke_with: Callable[[object], InProcessLambda]) -> None:
    seen: list[LambdaContext] = []

    def handle(event: dict[str, object], context: LambdaContext) -> dict[str, object]:
        seen.append(context)
        event["changed"] = True
        return event

    event = {"a": (1, 2)}
    result = invoke_with(handle)("Probe", event)
    assert result == {"a": [1, 2], "changed": True}
    assert event == {"a": (1, 2)}
    (context,) = seen
    assert context.function_name == "gatehouse-Probe"
    assert context.invoked_function_arn == FUNCTION.arn
    assert context.log_group_name == "/aws/lambda/gatehouse-Probe"
    assert context.memory_limit_in_mb == "512"
    assert context.get_remaining_time_in_millis() == 10_000
    assert re.fullmatch(r"[0-9a-f-]{36}", context.aws_request_id)


def test_remaining_time_ends_at_zero() -> None:
    clock = Clock(100.0)
    context = LambdaContext("f", "arn", "128", deadline=103.0, clock=clock)
    left = []
    for now in (100.0, 101.5, 103.0, 200.0):
        clock.now = now
        left.append(context.get_remaining_time_in_millis())
    assert left == [3000, 1500, 0, 0]


def test_exception_is_logged_unless_it_is_a_rejection(
    invoke_with: Callable[[object], InProcessLambda], caplog: pytest.LogCaptureFixture
) -> None:
    def handle(event: object, context: object) -> object:
        raise KeyError("Authorization") if event == "KeyError" else RuntimeError("Unauthorized")

    with pytest.raises(FunctionError) as failure:
        invoke_with(handle)("Probe", RuntimeError.__name__)
    assert (failure.value.kind, failure.value.message, caplog.text) == ("RuntimeError", "Unauthorized", "")
    with pytest.raises(FunctionError) as failure:
        invoke_with(handle)("Probe", KeyError.__name__)
    assert (failure.value.kind, failure.value.message) == ("KeyError", "'Authorization'")
    assert "Probe failed" in caplog.text


@pytest.mark.parametrize("result", [object(), {"a": {1}}, float("nan"), {"a": b"x"}])
def test_result_that_is_not_json_fails(invoke_with: Callable[[object], InProcessLambda], result: object) -> None:
    with pytest.raises(FunctionError, match=r"Runtime\.MarshalError"):
        invoke_with(lambda _event, _context: result)("Probe", {})


def test_decimal_is_serialized_as_a_number(invoke_with: Callable[[object], InProcessLambda]) -> None:
    assert invoke_with(lambda _event, _context: Decimal("1.5"))("Probe", {}) == 1.5


def test_import_error_is_logged_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    invoke = InProcessLambda([FUNCTION])
    invoke.warm_up()
    assert "Probe cannot be imported" in caplog.text
    with pytest.raises(FunctionError, match=r"Runtime\.ImportModuleError"):
        invoke("Probe", {})


def test_handler_must_be_callable(invoke_with: Callable[[object], InProcessLambda]) -> None:
    with pytest.raises(FunctionError, match=r"Runtime\.HandlerNotFound"):
        invoke_with("text")("Probe", {})


def test_function_that_overruns_its_timeout_fails(invoke_with: Callable[[object], InProcessLambda]) -> None:
    def handle(event: object, context: LambdaContext) -> object:
        assert isinstance(context.clock, Clock)
        context.clock.now += 10.5
        return event

    with pytest.raises(FunctionError, match=r"Task timed out after 10\.00 seconds"):
        invoke_with(handle)("Probe", {})
