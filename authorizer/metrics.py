"""Metrics in the one line that each request writes: CloudWatch's embedded metric format.

CloudWatch reads them out of the line, so nothing is sent. A metric's dimensions are members of its
line, and only those with values from a fixed list: never anything that a caller can choose.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from authorizer.clock import Clock

NAMESPACE = "Gatehouse"

# What Lambda takes a line for that does not say its level.
INFO = "INFO"
WARN = "WARN"
ERROR = "ERROR"

_STACK = "stack"
_MOST_VALUES = 100  # the format's limit for one metric in one line
_to_json = json.JSONEncoder(separators=(",", ":")).encode


class Metric(NamedTuple):
    """A metric, and the sets of members that its values are told apart by, beside the stack.

    One is counted, unless `is_measure`. `is_trouble` is what went wrong though the answer was
    right: its line is a warning.
    """

    name: str
    dimensions: tuple[tuple[str, ...], ...] = ((),)
    unit: str | None = None
    is_measure: bool = False
    is_trouble: bool = False


DECISIONS = Metric("Decisions", (("decision",),))
"""One for each decision, of which API Gateway's cache makes fewer than there are requests."""

REFUSALS = Metric("Decisions", (("decision",), ("reason",)))
"""The same, for those that have a reason."""

KEY_SET_FETCHES = Metric("KeySetFetches")
"""One for each attempt to fetch a key set."""

KEY_SET_FETCH_FAILURES = Metric("KeySetFetchFailures", is_trouble=True)
"""One for each such attempt that failed."""

STALE_KEY_SET_USES = Metric("StaleKeySetUses", is_trouble=True)
"""One for each decision by a key set that was due for renewal and could not be renewed."""

METRICS = (
    DECISIONS,
    REFUSALS,
    KEY_SET_FETCHES,
    KEY_SET_FETCH_FAILURES,
    STALE_KEY_SET_USES,
)
"""All that an authorizer can emit."""

Record = Callable[[Metric], None]
"""Counts one of a metric, for the next line."""


class Meter:
    """Counts and measures until the next line, and writes that line's metrics.

    `stack` tells stacks in one account apart; without it lines have no metrics. Threads may share a
    meter: a value is in one line, whoever's that is. `timer` is for who measures.
    """

    def __init__(
        self,
        stack: str | None = None,
        clock: Clock = time.time,
        timer: Clock = time.perf_counter,
    ) -> None:
        self._stack = stack
        self._clock = clock
        self.timer = timer
        self._noted: list[tuple[Metric, float]] = []
        self._writers: dict[tuple[str, tuple[Metric, ...]], Callable[[], str]] = {}

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Meter":
        """Return a meter for the stack that the environment names."""
        return cls(environ.get("STACK_NAME") or None)

    def record(self, metric: Metric, value: float = 1) -> None:
        """Keep a value for the next line."""
        self._noted.append((metric, value))

    def writer(self, *metrics: Metric, level: str = INFO) -> Callable[[], str]:
        """Return what writes the end of a line: members with a comma before each, or nothing.

        They count one of each of `metrics`, and hold what was noted since the last line. `level` is
        in the line only where it is not INFO, or trouble was noted. Lambda believes a level only
        beside a timestamp.
        https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
        """
        writer = self._writers.get((level, metrics))
        if writer is None:
            writer = self._writers[level, metrics] = self._make_writer(metrics, level)
        return writer

    def _make_writer(self, metrics: tuple[Metric, ...], level: str) -> Callable[[], str]:
        values: dict[Metric, list[float]] = {metric: [1] for metric in metrics}
        # Made once: most lines differ in nothing but the time.
        usual = self._directives(values)
        clock = self._clock

        def write() -> str:
            if self._noted or level != INFO:
                return self._write(values, level)
            return f"{usual}{int(clock() * 1000)}}}" if usual else ""

        return write

    def _write(self, counted: dict[Metric, list[float]], level: str) -> str:
        noted, self._noted = self._noted, []
        values = {metric: list(ones) for metric, ones in counted.items()}
        for metric, value in noted:
            values.setdefault(metric, []).append(value)
        if level == INFO and any(metric.is_trouble for metric in values):
            level = WARN
        now = self._clock()
        said = "" if level == INFO else f',"level":"{level}","timestamp":"{_rfc3339(now)}"'
        directives = self._directives(values)
        return f"{said}{directives}{int(now * 1000)}}}" if directives else said

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
