"""Metrics at the end of a line, in the embedded metric format."""

import json
from typing import Any

import pytest

from authorizer.metrics import DECISIONS, ERROR, KEY_SET_FETCHES, REFUSALS, STALE_KEY_SET_USES, Meter, Metric
from tests.support.cloudwatch import MalformedMetricsError, Series, Value, extract

NOW = 1_700_000_000.125
LATENCY = Metric("Latency", unit="Milliseconds", is_measure=True)


def _meter(stack: str | None = "ours") -> Meter:
    return Meter(stack, lambda: NOW)


def _line(end: str, **members: object) -> str:
    return f"{json.dumps(members)[:-1]}{end}}}"


def _series(name: str, **dimensions: str) -> Series:
    return Series("Gatehouse", name, frozenset({"stack": "ours", **dimensions}.items()))


def test_line_has_its_metrics() -> None:
    line = _line(_meter().writer(DECISIONS)(), decision="allow")
    assert json.loads(line) == {
        "decision": "allow",
        "stack": "ours",
        "Decisions": 1,
        "_aws": {
            "CloudWatchMetrics": [
                {"Namespace": "Gatehouse", "Dimensions": [["stack", "decision"]], "Metrics": [{"Name": "Decisions"}]}
            ],
            "Timestamp": 1_700_000_000_125,
        },
    }
    assert list(extract(line)) == [Value(_series("Decisions", decision="allow"), 1, NOW)]


def test_recorded_values_are_in_one_line() -> None:
    meter = _meter()
    write = meter.writer(DECISIONS)
    meter.record(KEY_SET_FETCHES)
    meter.record(KEY_SET_FETCHES)
    meter.record(LATENCY, 12.5)
    meter.record(LATENCY, 7)
    values = list(extract(_line(write(), decision="allow")))
    assert values == [
        Value(_series("Decisions", decision="allow"), 1, NOW),
        Value(_series("KeySetFetches"), 2, NOW),
        Value(_series("Latency"), 12.5, NOW),
        Value(_series("Latency"), 7, NOW),
    ]
    assert len(list(extract(_line(write(), decision="allow")))) == 1


def test_line_has_at_most_100_values_per_metric() -> None:
    meter = _meter()
    for number in range(150):
        meter.record(LATENCY, number)
    values = [v.value for v in extract(_line(meter.writer()(), a=1))]
    assert values == list(range(50, 150))


@pytest.mark.parametrize("stack", [None, "ours"])
def test_only_problem_lines_have_level_and_time(stack: str | None) -> None:
    meter = _meter(stack)
    assert "level" not in meter.writer(DECISIONS)()
    meter.record(KEY_SET_FETCHES)
    assert "level" not in _line(meter.writer(DECISIONS)(), decision="allow")
    meter.record(STALE_KEY_SET_USES)
    assert _level(meter.writer(DECISIONS)()) == ("WARN", "2023-11-14T22:13:20.125Z")
    end = meter.writer(REFUSALS, level=ERROR)()
    assert _level(end) == ("ERROR", "2023-11-14T22:13:20.125Z")


def _level(end: str) -> tuple[str, str]:
    line: dict[str, Any] = json.loads(_line(end, decision="error", reason="unexpected"))
    return line["level"], line["timestamp"]


def test_no_stack_means_no_metrics() -> None:
    for meter in (Meter(), Meter.from_env({}), Meter.from_env({"STACK_NAME": ""})):
        meter.record(KEY_SET_FETCHES)
        assert meter.writer(DECISIONS)() == ""
    assert '"stack":"ours"' in Meter.from_env({"STACK_NAME": "ours"}).writer(DECISIONS)()


DIRECTIVE = {"Namespace": "G", "Dimensions": [["stack"]], "Metrics": [{"Name": "N"}]}
GOOD: dict[str, Any] = {
    "_aws": {"Timestamp": 1_700_000_000_000, "CloudWatchMetrics": [DIRECTIVE]},
    "stack": "s",
    "N": 1,
}


@pytest.mark.parametrize(
    "changes",
    [
        *({"N": value} for value in ("1", True, [], [1] * 101)),
        *({"stack": value} for value in ("", 1, None)),
        {"_aws": {**GOOD["_aws"], "Timestamp": 1_700_000_000}},
        *(
            {"_aws": {**GOOD["_aws"], "CloudWatchMetrics": [{**DIRECTIVE, name: value}]}}
            for name, value in (
                *(("Dimensions", list[str]()), ("Namespace", "a b"), ("Metrics", list[str]())),
                ("Metrics", [{"Name": "N", "Unit": "Pounds"}]),
            )
        ),
    ],
)
def test_invalid_metric_line_is_detected(changes: dict[str, Any]) -> None:
    assert list(extract(json.dumps(GOOD)))
    with pytest.raises(MalformedMetricsError):
        list(extract(json.dumps(GOOD | changes)))
