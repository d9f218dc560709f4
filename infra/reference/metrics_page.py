"""docs/reference/metrics.md: each metric, and the alarms that watch it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authorizer import metrics as authorizer_metrics
from authorizer.metrics import NAMESPACE, Metric
from functions.rotate_keys import run_log
from functions.shared.web import metrics as endpoint_metrics
from infra.reference.sources import ROOT, docstrings, parse, table, template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EMITTERS: Final = {
    "the authorizer": authorizer_metrics,
    "the endpoints": endpoint_metrics,
    "rotate_keys": run_log,
}

_SIGNS: Final = {
    "GreaterThanOrEqualToThreshold": "≥",
    "GreaterThanThreshold": ">",
    "LessThanThreshold": "<",
}

_HEAD: Final = f"""# Metrics and alarms

Written from the code by `make reference`. How they are made, and what to do about an alarm:
[operate.md](../operate.md).

The namespace is `{NAMESPACE}`. Every metric has the dimension `stack`, and those of the table
besides: each set of dimensions is a metric of its own in CloudWatch. "Warning" says that a line
with this metric has `"level":"WARN"`, although the answer was right.
"""


def write_page() -> str:
    """Return the page."""
    watch = alarms()
    rows = [row for emitter in EMITTERS for row in _metrics(emitter, watch)]
    return "\n".join(
        [
            _HEAD,
            "## Metrics",
            table(("metric", "of", "dimensions", "unit", "what it counts", "watched by"), rows),
            "\n## Alarms",
            table(("alarm", "metrics", "when", "what it says"), list(_rows(watch))),
            "",
        ]
    )


def _rows(watch: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, alarm in watch.items():
        names = ", ".join(f"`{each}`" for each in _names(alarm))
        yield f"`{name}`", names, _condition(alarm), alarm["AlarmDescription"]


def _metrics(emitter: str, watch: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    module = EMITTERS[emitter]
    for name, meaning in docstrings(parse(module).body):
        metric = getattr(module, name)
        if not isinstance(metric, Metric):
            continue
        watchers = [alarm for alarm, said in watch.items() if metric.name in _names(said)]
        sets = [" and ".join(f"`{member}`" for member in each) for each in metric.dimensions]
        yield (
            f"`{metric.name}`",
            emitter,
            "; ".join(each or "none" for each in sets),
            metric.unit or "count",
            meaning + (" Warning." if metric.is_trouble else ""),
            ", ".join(f"`{alarm}`" for alarm in watchers) or "none",
        )


def alarms() -> dict[str, Any]:
    """Return the properties of each alarm by its name."""
    resources = template(ROOT / "infra" / "operations.yaml")["Resources"]
    return {
        name: resource["Properties"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def _names(alarm: Mapping[str, Any]) -> list[str]:
    """Return the metrics that an alarm is about, by name."""
    if "MetricName" in alarm:
        return [alarm["MetricName"]]
    return sorted({series["Metric"]["MetricName"] for series in _series(alarm)})


def _series(alarm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the metrics that an alarm adds up, but for the sample API's, which are no others."""
    # Those hang on a condition, of which nothing is read here.
    queries = [query for query in alarm["Metrics"] if query is not None]
    return [query["MetricStat"] for query in queries if "MetricStat" in query]


def _condition(alarm: Mapping[str, Any]) -> str:
    # A limit that is a parameter's is the one of OldSigningKey.
    limit = "`KeySigningDays`" if alarm["Threshold"] is None else alarm["Threshold"]
    period = alarm["Period"] if "Period" in alarm else _series(alarm)[0]["Period"]
    spans = f"{alarm['DatapointsToAlarm']} of {alarm['EvaluationPeriods']}"
    silence = ", or nothing," if "InsufficientDataActions" in alarm else ""
    sign = _SIGNS[alarm["ComparisonOperator"]]
    return f"{sign} {limit}{silence} in {spans} spans of {period} s"
