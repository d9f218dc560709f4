"""docs/reference: errors, metrics with their alarms, and the command line."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from authorizer import errors
from authorizer import metrics as authorizer_metrics
from authorizer.errors import Reason
from authorizer.metrics import NAMESPACE, Metric
from functions.rotate_keys import custom_resource
from functions.shared.web import metrics as endpoint_metrics
from functions.shared.web.oauth_errors import OAuthError
from infra.cli.app import app
from infra.cli.client_documents import clients_file
from infra.cli.errors import EXIT_CODES
from infra.cli.options import global_option_names
from infra.cloudformation import load
from infra.explain import reason_text

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
OPERATIONS = ROOT / "infra" / "operations.yaml"


def parse(module: ModuleType) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))


def docstrings(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield each name that is assigned or annotated and has a docstring below it, with that."""
    for statement, below in pairwise(body):
        if isinstance(statement, ast.AnnAssign):
            target: ast.expr = statement.target
        elif isinstance(statement, ast.Assign):
            target = statement.targets[0]
        else:
            continue
        if (
            isinstance(target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            yield target.id, " ".join(cleandoc(below.value.value).split())


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


REMEDIES: Mapping[str, str] = {
    "InvalidRequestError": "Fix the request. The description names the part.",
    "MethodNotAllowedError": "Use a method of `Allow`.",
    "InvalidClientError": "Compare client_id, credentials and `authentication_methods`; the log of "
    "the endpoint has the reason.",
    "UnauthorizedClientError": "Add the grant to the client's `grant_types`.",
    "UnsupportedGrantTypeError": "Ask with client_credentials or token exchange.",
    "InvalidScopeError": "Ask for fewer scopes, or add them to the client's `scopes`.",
    "InvalidTargetError": "Ask for another `resource`, or add it to the client's "
    "`allowed_resources`.",
    "InvalidDpopProofError": "Make a new proof for each request; the log has the reason.",
    "UseDpopNonceError": "Make a proof with the nonce of the answer's `DPoP-Nonce`, and ask again.",
    "TooManyFailuresError": "Wait for `Retry-After` seconds. "
    "[Lockouts](../operate.md#a-client-is-locked-out).",
    "ServerError": "The operator's: [incidents](../operate.md#incidents).",
    "TemporarilyUnavailableError": "Retry after `Retry-After` seconds. If it persists: "
    "[incidents](../operate.md#incidents).",
}
"""The remedy for each error, by its class."""

_SECTION = re.compile(r"^    # (?P<title>.+)$|^    (?P<member>[A-Z0-9_]+) = ", re.MULTILINE)
_STATUSES = {"Internal failures": "500", "Valid tokens without the required scope": "403"}

_ERRORS = """# Errors

Written from the code by `make reference`.
"""
_OAUTH = """## The authorization server
The body is JSON with `error` and `error_description`. The description of a failed authentication
has no reason; the endpoint's [log line](../operate.md#logs) has the `reason`.
[openapi.yaml](../openapi.yaml) lists the responses of each endpoint.
"""
_GATEWAY = """
## The guarded API
The responses of API Gateway for the authorizer (`GatewayResponses` of the template).
"""
_REASONS = """
## The authorizer's reasons
`reason` in the authorizer's log line and in the output of `gatehouse token inspect`. The status is
the caller's. If the authorizer cannot decide, it is 500, which API Gateway does not cache.
"""


def errors_page() -> str:
    """Return the page."""
    return "\n".join(
        [
            _ERRORS,
            _OAUTH,
            table(("error", "status", "headers", "when", "remedy"), list(_oauth_errors())),
            _GATEWAY,
            table(("response", "status", "body"), list(_gateway_responses())),
            _REASONS,
            *_reasons(),
        ]
    )


def oauth_errors(kind: type[OAuthError] = OAuthError) -> Iterator[type[OAuthError]]:
    """Yield every error that an endpoint answers with."""
    for each in kind.__subclasses__():
        if each.__module__ == OAuthError.__module__:
            yield each
            yield from oauth_errors(each)


def _oauth_errors() -> Iterator[tuple[str, ...]]:
    for kind in oauth_errors():
        when = " ".join(cleandoc(str(kind.__doc__)).split()).removeprefix("Raised when ")
        yield (
            f"`{kind.code}`",
            str(kind.status),
            ", ".join(f"`{name}`" for name in _headers(kind)),
            f"{when[0].upper()}{when[1:]}",
            REMEDIES[kind.__name__],
        )


def _headers(kind: type[OAuthError]) -> Iterator[str]:
    yield from kind.headers
    # These are known when the error is raised.
    yield from {"MethodNotAllowedError": ["Allow"], "TooManyFailuresError": ["Retry-After"]}.get(
        kind.__name__, ()
    )


def _gateway_responses() -> Iterator[tuple[str, str, str]]:
    api = load(TEMPLATE)["Resources"]["GuardedApi"]["Properties"]
    for name, said in api["GatewayResponses"].items():
        body = next(iter(said["ResponseTemplates"].values()))
        yield f"`{name}`", str(said.get("StatusCode", "its own")), f"`{body}`"


def sections() -> dict[str, list[Reason]]:
    """Return the authorizer's reasons by the comments above them."""
    found: dict[str, list[Reason]] = {}
    text = Path(errors.__file__).read_text(encoding="utf-8")
    for match in _SECTION.finditer(text):
        if match["title"]:
            current = found.setdefault(match["title"], [])
        else:
            current.append(Reason[match["member"]])
    return found


def _reasons() -> Iterator[str]:
    for title, members in sections().items():
        status = _STATUSES.get(title, "401")
        rows = [(f"`{reason}`", status, reason_text(reason)) for reason in members]
        yield f"### {title}"
        yield table(("reason", "status", "meaning"), rows) + "\n"


EMITTERS = {
    "the authorizer": authorizer_metrics,
    "the endpoints": endpoint_metrics,
    "rotate_keys": custom_resource,
}

_SIGNS = {
    "GreaterThanOrEqualToThreshold": "≥",
    "GreaterThanThreshold": ">",
    "LessThanThreshold": "<",
}

_METRICS = f"""# Metrics and alarms

Written from the code by `make reference`. [operate.md](../operate.md) describes how to react to an
alarm.

The namespace is `{NAMESPACE}`. Every metric has the dimension `stack` and those of the table. Each
set of dimensions is a separate metric in CloudWatch. "Warning" means that a line with this metric
has `"level":"WARN"`, although the response was correct.
"""


def metrics_page() -> str:
    """Return the page."""
    watch = alarms()
    rows = [row for emitter in EMITTERS for row in _metrics(emitter, watch)]
    return "\n".join(
        [
            _METRICS,
            "## Metrics",
            table(("metric", "emitted by", "dimensions", "unit", "description", "alarms"), rows),
            "\n## Alarms",
            table(("alarm", "metrics", "when", "description"), list(_rows(watch))),
            "",
        ]
    )


def _rows(watch: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, alarm in watch.items():
        names = ", ".join(f"`{each}`" for each in _metric_names(alarm))
        yield f"`{name}`", names, _condition(alarm), alarm["AlarmDescription"]


def _metrics(emitter: str, watch: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    module = EMITTERS[emitter]
    for name, meaning in docstrings(parse(module).body):
        metric = getattr(module, name)
        if not isinstance(metric, Metric):
            continue
        watchers = [alarm for alarm, said in watch.items() if metric.name in _metric_names(said)]
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
    resources = load(OPERATIONS)["Resources"]
    return {
        name: resource["Properties"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def _metric_names(alarm: Mapping[str, Any]) -> list[str]:
    """Return the metrics that an alarm is about, by name."""
    if "MetricName" in alarm:
        return [alarm["MetricName"]]
    return sorted({series["Metric"]["MetricName"] for series in _series(alarm)})


def _series(alarm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the metrics that an alarm adds up, those with a condition included."""
    queries = [query["Fn::If"][1] if "Fn::If" in query else query for query in alarm["Metrics"]]
    return [query["MetricStat"] for query in queries if "MetricStat" in query]


def _condition(alarm: Mapping[str, Any]) -> str:
    limit = alarm["Threshold"]
    if isinstance(limit, dict):
        limit = f"`{limit['Ref']}`"
    period = alarm["Period"] if "Period" in alarm else _series(alarm)[0]["Period"]
    spans = f"{alarm['DatapointsToAlarm']} of {alarm['EvaluationPeriods']}"
    silence = ", or nothing," if "InsufficientDataActions" in alarm else ""
    sign = _SIGNS[alarm["ComparisonOperator"]]
    return f"{sign} {limit}{silence} in {spans} spans of {period} s"


_COMMANDS = (
    "# gatehouse\n\nWritten from the code by `make reference`. [cli.md](../cli.md) has examples."
)


def clients_schema() -> str:
    """Return the JSON schema of a clients file."""
    return json.dumps(clients_file(), indent=2) + "\n"


def cli_page() -> str:
    """Return the reference of every command, option and exit code."""
    root = click.Context(app, info_name="gatehouse")
    parts = [_COMMANDS, "## For every command", _options(root, wanted_global=True)]
    parts += [_described(context) for context in _commands(root)]
    codes = "\n".join(f"| {code.value} | {meaning} |" for code, meaning in EXIT_CODES.items())
    parts.append(f"## Exit codes\n| code | meaning |\n|---|---|\n{codes}")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _commands(context: click.Context) -> Iterator[click.Context]:
    group = context.command
    if not isinstance(group, click.Group):
        yield context
        return
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield from _commands(click.Context(command, info_name=name, parent=context))


def _described(context: click.Context) -> str:
    usage = " ".join(context.command.collect_usage_pieces(context))
    text = cleandoc(context.command.help or "")
    return (
        f"## {context.command_path}\n```\n{context.command_path} {usage}\n```\n"
        f"{text}\n\n{_options(context, wanted_global=False)}"
    )


def _options(context: click.Context, *, wanted_global: bool) -> str:
    shared = global_option_names()
    records = (
        parameter.get_help_record(context)
        for parameter in context.command.params
        if (parameter.name in shared) is wanted_global
    )
    rows = [
        f"| `{_cell(names)}` | {_cell(text)} |" for names, text in filter(None, records) if text
    ]
    return "\n".join(["| option | |", "|---|---|", *rows]) if rows else ""
