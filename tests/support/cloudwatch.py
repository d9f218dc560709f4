"""CloudWatch as far as our metrics and alarms need it: lines in, values and alarms out.

Lines are read by the rules of the embedded metric format, and what breaks one of them raises.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from infra.cloudformation import Resolver, load

_UNITS = frozenset(("Seconds", "Microseconds", "Milliseconds", "Bytes", "Percent", "Count", "Count/Second", "None"))
_NAME = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")
_NAMESPACE = re.compile(r"[0-9A-Za-z.\-_/#:]{1,256}")
_MOST_DIMENSIONS = 30
_MOST_METRICS = 100
_MOST_VALUES = 100
_MOST_BYTES = 262_144


class Series(NamedTuple):
    """One metric with one set of dimensions."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


class Value(NamedTuple):
    """One value of a series, at a time in seconds."""

    series: Series
    value: float
    time: float


class MalformedMetricsError(ValueError):
    """Raised where CloudWatch would drop a line's metrics without a word."""


def extract(line: str) -> Iterator[Value]:
    """Yield what CloudWatch takes out of a line of a log: nothing where it has no metrics."""
    members = json.loads(line)
    if "_aws" not in members:
        return
    _require(len(line.encode()) <= _MOST_BYTES, "the line is too long")
    about = members["_aws"]
    stamp = about["Timestamp"]
    _require(type(stamp) is int and 10**12 <= stamp < 10**13, "Timestamp is no milliseconds")
    _require(set(about) == {"Timestamp", "CloudWatchMetrics"}, "members of _aws")
    for directive in about["CloudWatchMetrics"]:
        yield from _values(members, directive, stamp / 1000)


def _values(members: Mapping[str, Any], directive: Mapping[str, Any], time: float) -> Iterator[Value]:
    _require(set(directive) == {"Namespace", "Dimensions", "Metrics"}, "members of a directive")
    _require(bool(_NAMESPACE.fullmatch(directive["Namespace"])), "Namespace")
    _require(0 < len(directive["Metrics"]) <= _MOST_METRICS, "number of metrics")
    _require(len(directive["Dimensions"]) > 0, "no set of dimensions")
    for metric in directive["Metrics"]:
        _require({"Name"} <= set(metric) <= {"Name", "Unit", "StorageResolution"}, "a metric")
        _require(bool(_NAME.fullmatch(metric["Name"])), "a metric's name")
        _require(metric.get("Unit", "None") in _UNITS, "a metric's unit")
        for names in directive["Dimensions"]:
            _require(len(names) == len(set(names)) <= _MOST_DIMENSIONS, "number of dimensions")
            dimensions = frozenset((name, _dimension(members, name)) for name in names)
            series = Series(directive["Namespace"], metric["Name"], dimensions)
            for number in _numbers(members, metric["Name"]):
                yield Value(series, number, time)


def _dimension(members: Mapping[str, Any], name: str) -> str:
    _require(bool(_NAME.fullmatch(name)) and not name.startswith(":"), "a dimension's name")
    value = members.get(name)
    if not isinstance(value, str):
        raise MalformedMetricsError(f"the dimension {name} is no text")
    _require(0 < len(value.strip()) <= len(value) <= 1024 and value.isascii(), name)
    return value


def _numbers(members: Mapping[str, Any], name: str) -> list[float]:
    said = members.get(name)
    numbers: list[Any] = said if isinstance(said, list) else [said]
    _require(0 < len(numbers) <= _MOST_VALUES, f"values of {name}")
    for number in numbers:
        _require(type(number) in (int, float) and math.isfinite(number), f"a value of {name}")
    return numbers


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise MalformedMetricsError(what)


@dataclass
class Metrics:
    """Values by series and by second."""

    values: dict[Series, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def read(self, lines: Iterable[str]) -> None:
        """Take the metrics out of lines."""
        for line in lines:
            for series, value, time in extract(line):
                self.values[series].append((time, value))

    def put(self, series: Series, value: float, time: float) -> None:
        """Take a value that AWS itself counts."""
        self.values[series].append((time, value))

    def statistic(self, series: Series, stat: str, start: float, period: int) -> float | None:
        """Return a statistic of the values from `start`, None where there are none."""
        found = [v for at, v in self.values.get(series, ()) if start <= at < start + period]
        if not found:
            return None
        if stat == "Sum":
            return sum(found)
        if stat == "Maximum":
            return max(found)
        rank = math.ceil(float(stat.removeprefix("p")) / 100 * len(found))
        return sorted(found)[rank - 1]


@dataclass(frozen=True)
class Alarm:
    """An alarm as a template declares it."""

    name: str
    properties: Mapping[str, Any]

    def series(self) -> list[tuple[Series, str, int]]:
        """Return what it watches: each series with its statistic and period."""
        own = self.properties
        if "MetricName" in own:
            stat = own.get("Statistic") or own["ExtendedStatistic"]
            return [(_series(own), stat, int(own["Period"]))]
        stats = [metric["MetricStat"] for metric in own["Metrics"] if "MetricStat" in metric]
        return [(_series(stat["Metric"]), stat["Stat"], int(stat["Period"])) for stat in stats]

    def is_on(self, metrics: Metrics, now: float) -> bool:
        """Return True if the alarm changed to a notifying state when the period of `now` began.

        The states are ALARM, and INSUFFICIENT_DATA if it has actions. A new alarm begins in
        INSUFFICIENT_DATA, without a notification.
        """
        period = self.series()[0][2]
        end = now // period * period
        starts = [end - period * back for back in range(1, self.properties["EvaluationPeriods"] + 1)]
        if self.properties["TreatMissingData"] == "missing":
            known = [at for each in self.series() for at, _ in metrics.values.get(each[0], ())]
            if not any(starts[-1] <= at < end for at in known):
                return any(at < starts[-1] for at in known)
        breaches = sum(self._breaches(metrics, start) for start in starts)
        return breaches >= int(self.properties["DatapointsToAlarm"])

    def _breaches(self, metrics: Metrics, start: float) -> bool:
        found = [metrics.statistic(*each[:2], start, each[2]) for each in self.series()]
        known = [value for value in found if value is not None]
        if not known:
            return bool(self.properties["TreatMissingData"] == "breaching")
        threshold = float(self.properties["Threshold"])
        value = self._combine(known)
        return {
            "GreaterThanOrEqualToThreshold": value >= threshold,
            "GreaterThanThreshold": value > threshold,
            "LessThanThreshold": value < threshold,
        }[self.properties["ComparisonOperator"]]

    def _combine(self, values: list[float]) -> float:
        if "Metrics" not in self.properties:
            return values[0]
        (expression,) = (m["Expression"] for m in self.properties["Metrics"] if "Expression" in m)
        assert expression in ("SUM(METRICS())", "MAX(METRICS())")
        return sum(values) if expression.startswith("SUM") else max(values)


def _series(declared: Mapping[str, Any]) -> Series:
    dimensions = frozenset((each["Name"], each["Value"]) for each in declared["Dimensions"])
    return Series(declared["Namespace"], declared["MetricName"], dimensions)


@dataclass(frozen=True)
class Operations:
    """The alarms and the dashboard of a template, its parameters filled in."""

    alarms: Mapping[str, Alarm]
    dashboard: Mapping[str, Any]

    @classmethod
    def of(cls, template: Path, parameters: Mapping[str, Any]) -> Self:
        """Read the template."""
        document = load(template)
        resources = document["Resources"]
        arns = {f"{name}.Arn": f"arn:{name}" for name in resources}
        regional = {"AWS::Region": "eu-west-1"}
        conditions = document["Conditions"]
        resolver = Resolver({**parameters, **arns, **regional}, conditions, {})
        resolved = {
            name: resolver.resolve(resource["Properties"], name)
            for name, resource in resources.items()
            if "Condition" not in resource or resolver.condition(resource["Condition"], name)
        }
        alarms = {
            name: Alarm(name, properties)
            for name, properties in resolved.items()
            if resources[name]["Type"] == "AWS::CloudWatch::Alarm"
        }
        return cls(alarms, json.loads(resolved["Dashboard"]["DashboardBody"]))

    def on(self, metrics: Metrics, now: float) -> set[str]:
        """Return the names of the alarms that are in ALARM."""
        return {name for name, alarm in self.alarms.items() if alarm.is_on(metrics, now)}

    def shown(self) -> Iterator[tuple[str, str, frozenset[str]]]:
        """Yield namespace, name and dimensions' names of what the dashboard shows."""
        for widget in self.dashboard["widgets"]:
            for metric in widget["properties"].get("metrics", ()):
                yield _shown(metric)


def _shown(metric: list[Any]) -> tuple[str, str, frozenset[str]]:
    if isinstance(metric[0], dict):
        search = metric[0]["expression"]
        schema = re.search(r"\{([^}]*)\} MetricName=\"(\w+)\"", search)
        assert schema is not None, search
        namespace, *dimensions = schema[1].split(",")
        return namespace, schema[2], frozenset(dimensions)
    texts = [part for part in metric if isinstance(part, str)]
    return texts[0], texts[1], frozenset(texts[2::2])
