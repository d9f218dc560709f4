"""Metrics in the one line that each request writes: CloudWatch's embedded metric format.

CloudWatch reads them out of the line, so nothing is sent. A metric's dimensions are members of its
line, and only those with values from a fixed list: never anything that a caller can choose.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .clock import Clock

NAMESPACE = "Gatehouse"

# Levels of log lines. Lambda takes a line without a level for INFO.
INFO = "INFO"
WARN = "WARN"
ERROR = "ERROR"

_STACK = "stack"
_MOST_VALUES = 100  # the format's limit for one metric in one line
_to_json = json.JSONEncoder(separators=(",", ":")).encode


class Metric(NamedTuple):
    """A metric and its dimensions, in addition to the stack.

    `is_measure` is for measured values; others are counts. `is_failure` makes the line a warning:
    something failed, though the response was right.
    """

    name: str
    dimensions: tuple[tuple[str, ...], ...] = ((),)
    unit: str | None = None
    is_measure: bool = False
    is_failure: bool = False


DECISIONS = Metric("Decisions", (("decision",),))
"""One for each decision, of which API Gateway's cache makes fewer than there are requests."""

REFUSALS = Metric("Decisions", (("decision",), ("reason",)))
"""The same, for those that have a reason."""

KEY_SET_FETCHES = Metric("KeySetFetches")
"""One for each attempt to fetch a key set."""

KEY_SET_FETCH_FAILURES = Metric("KeySetFetchFailures", is_failure=True)
"""One for each such attempt that failed."""

STALE_KEY_SET_USES = Metric("StaleKeySetUses", is_failure=True)
"""One for each decision with a stale key set."""

METRICS = (DECISIONS, REFUSALS, KEY_SET_FETCHES, KEY_SET_FETCH_FAILURES, STALE_KEY_SET_USES)
"""All that an authorizer can emit."""

Record = Callable[[Metric], None]
"""Counts one of a metric, for the next line."""


def record_nothing(metric: Metric) -> None:
    """Count nothing, for callers that write no lines."""


class Meter:
    """Counts and measures until the next line, and writes that line's metrics.

    `stack` distinguishes the stacks of an account; without it lines have no metrics. Thread-safe: each value is written
    exactly once, possibly by another thread's line. `timer` is used to measure durations.
    """

    def __init__(self, stack: str | None = None, clock: Clock = time.time, timer: Clock = time.perf_counter) -> None:
        self._stack = stack
        self._clock = clock
        self.timer = timer
        self._recorded: list[tuple[Metric, float]] = []
        self._writers: dict[tuple[str, tuple[Metric, ...]], Callable[[], str]] = {}

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Meter":
        """Return a meter for the stack that the environment names."""
        return cls(environ.get("STACK_NAME") or None)

    def record(self, metric: Metric, value: float = 1) -> None:
        """Store a value for the next line."""
        self._recorded.append((metric, value))

    def writer(self, *metrics: Metric, level: str = INFO) -> Callable[[], str]:
        """Return a function that writes the end of a line: members after a comma, or nothing.

        They count one of each of `metrics`, and contain the values since the last line. `level` is in the line if it is
        not INFO, or if a failure was recorded. Lambda reads a level only if the line has a timestamp.
        https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
        """
        writer = self._writers.get((level, metrics))
        if writer is None:
            writer = self._writers[level, metrics] = self._make_writer(metrics, level)
        return writer

    def _make_writer(self, metrics: tuple[Metric, ...], level: str) -> Callable[[], str]:
        values: dict[Metric, list[float]] = {metric: [1] for metric in metrics}
        # Built once: most lines differ in the time only.
        usual = self._directives(values)
        clock = self._clock

        def write() -> str:
            if self._recorded or level != INFO:
                return self._write(values, level)
            return f"{usual}{int(clock() * 1000)}}}" if usual else ""

        return write

    def _write(self, counted: dict[Metric, list[float]], level: str) -> str:
        recorded, self._recorded = self._recorded, []
        values = {metric: list(ones) for metric, ones in counted.items()}
        for metric, value in recorded:
            values.setdefault(metric, []).append(value)
        if level == INFO and any(metric.is_failure for metric in values):
            level = WARN
        now = self._clock()
        fields = "" if level == INFO else f',"level":"{level}","timestamp":"{_rfc3339(now)}"'
        directives = self._directives(values)
        return f"{fields}{directives}{int(now * 1000)}}}" if directives else fields

    def _directives(self, values: dict[Metric, list[float]]) -> str:
        """Write everything up to the time, which comes last."""
        if self._stack is None or not values:
            return ""
        members: dict[str, object] = {_STACK: self._stack}
        alike: dict[tuple[tuple[str, ...], ...], list[dict[str, str]]] = {}
        for metric, numbers in values.items():
            members[metric.name] = _value(metric, numbers)
            definition = {"Name": metric.name} | ({"Unit": metric.unit} if metric.unit else {})
            alike.setdefault(metric.dimensions, []).append(definition)
        directives = [
            {
                "Namespace": NAMESPACE,
                "Dimensions": [[_STACK, *members] for members in dimensions],
                "Metrics": definitions,
            }
            for dimensions, definitions in alike.items()
        ]
        text = _to_json({**members, "_aws": {"CloudWatchMetrics": directives, "Timestamp": 0}})
        return f",{text[1:-3]}"


def _value(metric: Metric, numbers: list[float]) -> object:
    if not metric.is_measure:
        return sum(numbers)
    return numbers[0] if len(numbers) == 1 else numbers[-_MOST_VALUES:]


def _rfc3339(now: float) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return f"{seconds}.{int(now * 1000) % 1000:03d}Z"
