"""Write docs/reference from the code: `python -m infra.reference`, which `make reference` runs.

infra/reference.yaml has the pages' fixed texts.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from importlib import import_module
from inspect import cleandoc, getsource
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import yaml

from authorizer import errors as authorizer_errors
from authorizer import metrics as authorizer_metrics
from authorizer import settings as authorizer_settings
from authorizer.errors import Reason
from authorizer.metrics import NAMESPACE, Metric
from functions.rotate_keys import handler as rotate_keys
from functions.shared import metrics as endpoint_metrics
from functions.shared.authorization_server import ServerSettings
from functions.shared.web.oauth_errors import OAuthError

from .build import ARTIFACTS, ROOT
from .cli.app import app
from .cli.documents import CLIENTS, RULES
from .cli.errors import EXIT_CODES
from .cli.options import global_option_names
from .cloudformation import load
from .explain import docstrings, reason_text
from .local_stack import PORTS
from .template_checks import OPERATIONS, TEMPLATE

FOLDER = ROOT / "docs" / "reference"
TEXTS: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
AUTHORIZERS = ("Authorizer", "SharedAuthorizer")
FUNCTIONS: dict[str, type] = {
    name: getattr(import_module(artifact.handler), "Settings", ServerSettings)
    for name, artifact in ARTIFACTS.items()
    if name not in {*AUTHORIZERS, "LookUpCountry"}
}
"""The settings of each function. LookUpCountry has none, the authorizer has its own section."""

DEFAULT_IN_THE_STACK = frozenset(TEXTS["default_in_the_stack"].split())
LAPTOP_ONLY = frozenset(TEXTS["laptop_only"].split())
EMITTERS: Mapping[str, ModuleType] = {
    "the authorizer": authorizer_metrics,
    "the endpoints": endpoint_metrics,
    "rotate_keys": rotate_keys,
}
_SECTION = re.compile(r"^    # (?P<title>.+)$|^    (?P<member>[A-Z0-9_]+) = ", re.MULTILINE)
_SUB_VARIABLE = re.compile(r"\$\{([A-Za-z]+)\}")
_STATUSES = {"Internal failures": "500; 503 in the library", "Valid tokens without the required scope": "403"}
_SIGNS = {"GreaterThanOrEqualToThreshold": "≥", "GreaterThanThreshold": ">", "LessThanThreshold": "<"}


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(values: Iterable[object], separator: str = ", ") -> str:
    return separator.join(f"`{value}`" for value in values)


def _page(name: str, **parts: str) -> str:
    text = str(TEXTS[name])
    for part, content in parts.items():
        text = text.replace(f"{{{part}}}", content)
    return text


def settings_page() -> str:
    """Return the page of the stack's parameters and of all variables."""
    named = ("variable", "default", "set by")
    laptop = {**PORTS, **TEXTS["laptop_defaults"]}
    return _page(
        "settings",
        parameters=table(("parameter", "default", "allowed", "description"), _parameters()),
        authorizer=table((*named, "description"), _authorizer()),
        functions=table((*named, "read by", "description"), _functions()),
        laptop=table(
            ("variable", "default", "description"),
            [(f"`{k}`", str(laptop.get(k, "none")), v) for k, v in TEXTS["laptop"].items()],
        ),
        command_line=table(
            ("variable", "description"), [(f"`{name}`", meaning) for name, meaning in TEXTS["command_line"].items()]
        ),
    )


def _parameters() -> Iterator[tuple[str, ...]]:
    for name, declared in load(TEMPLATE)["Parameters"].items():
        default = f"`{declared['Default']}`" if str(declared["Default"]) else "none"
        yield f"`{name}`", default, _allowed(declared), declared["Description"]


def _allowed(declared: Mapping[str, Any]) -> str:
    match declared:
        case {"AllowedValues": values}:
            return ", ".join(f"`{value}`" if value != "" else "none" for value in values)
        case {"MinValue": least, "MaxValue": most}:
            return f"{least} to {most}"
        case {"MinValue": least}:
            return f"{least} and more"
        case {"AllowedPattern": pattern}:
            return f"`{pattern}`"
    return ""


def _authorizer() -> Iterator[tuple[str, ...]]:
    given = parameters_behind(AUTHORIZERS)
    for name, default, meaning in authorizer_rows():
        is_own = name.strip("`") in DEFAULT_IN_THE_STACK
        set_by = "an authorizer of your own" if is_own else _code(given[name.strip("`")]) or "the template"
        yield name, default, set_by, meaning


def authorizer_rows() -> Iterator[tuple[str, str, str]]:
    """Yield variable, default and meaning of each of the authorizer's settings."""
    (kind,) = ast.parse(getsource(authorizer_settings.Settings)).body
    assert isinstance(kind, ast.ClassDef)
    meanings = dict(docstrings(kind.body))
    # The keywords of `cls(…)` in from_env have each field's variable and default.
    keywords = next(
        node.keywords
        for node in ast.walk(kind)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "cls"
    )
    for keyword in keywords:
        if keyword.arg == "issuer":
            yield "`ISSUER`", "required", meanings["issuer"]
            continue
        call = keyword.value
        assert isinstance(call, ast.Call)
        default = call.args[2] if len(call.args) > 2 else call.keywords[0].value
        name = ast.literal_eval(call.args[0])
        yield f"`{name}`", _default(default), meanings[str(keyword.arg)]


def _default(node: ast.expr) -> str:
    """Return a default as an operator would write it."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "frozenset":
        members = ast.literal_eval(node.args[0]) if node.args else ()
        return _code(members) or "none"
    if isinstance(node, ast.Call):
        return f"from {_code(ast.unparse(each).upper() for each in node.args)}"
    value = ast.literal_eval(node)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, int | float) else "none"


def _functions() -> Iterator[tuple[str, ...]]:
    given = parameters_behind(tuple(FUNCTIONS))
    readers: dict[str, list[str]] = {}
    defaults: dict[str, str] = {}
    for function, kind in FUNCTIONS.items():
        for field in fields(kind):
            readers.setdefault(field.name, []).append(function)
            required = field.default is MISSING
            defaults[field.name] = "required" if required else f"`{field.default}`" if field.default else "none"
    readers["stack_name"] = ["all"]
    for name, functions in readers.items():
        variable = name.upper()
        set_by = "the laptop edition" if variable in LAPTOP_ONLY else _code(given[variable]) or "the template"
        meaning = TEXTS["functions"][name]
        yield f"`{variable}`", defaults[name], set_by, ", ".join(functions), meaning


def parameters_behind(functions: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the stack's parameters that decide about each variable of the functions.

    They are in the template's order. A variable with a fixed value has none.
    """
    document = load(TEMPLATE)
    shared = document["Globals"]["Function"]["Environment"]["Variables"]
    found: dict[str, set[str]] = {}
    for function in functions:
        own = document["Resources"][function]["Properties"]["Environment"]["Variables"]
        for variable, value in {**shared, **own}.items():
            found.setdefault(variable, set()).update(_names(value, document["Conditions"]))
    return {
        variable: tuple(name for name in document["Parameters"] if name in names) for variable, names in found.items()
    }


def _names(node: Any, conditions: Mapping[str, Any]) -> Iterator[str]:
    """Yield the references of a value and of the conditions that it depends on."""
    parts: list[Any] = []
    match node:
        case {"Ref": name}:
            yield name
        case {"Fn::Sub": str(text)}:
            yield from _SUB_VARIABLE.findall(text)
        case {"Fn::Sub": [text, extra]}:
            yield from _SUB_VARIABLE.findall(text)
            parts = [extra]
        case {"Condition": name}:
            parts = [conditions[name]]
        case {"Fn::If": [name, *branches]}:
            parts = [conditions[name], *branches]
        case dict():
            parts = list(node.values())
        case list():
            parts = node
    for part in parts:
        yield from _names(part, conditions)


def errors_page() -> str:
    """Return the page of error responses and reasons."""
    reasons = (
        f"### {title}\n"
        + table(
            ("reason", "status", "meaning"),
            [(f"`{each}`", _STATUSES.get(title, "401"), reason_text(each)) for each in members],
        )
        for title, members in sections().items()
    )
    return _page(
        "errors",
        oauth=table(("error", "status", "headers", "when", "remedy"), _oauth_errors()),
        gateway=table(("response", "status", "body"), _gateway_responses()),
        reasons="\n\n".join(reasons),
    )


def oauth_errors(kind: type[OAuthError] = OAuthError) -> Iterator[type[OAuthError]]:
    """Yield every error that an endpoint answers with."""
    for each in kind.__subclasses__():
        if each.__module__ == OAuthError.__module__:
            yield each
            yield from oauth_errors(each)


def _oauth_errors() -> Iterator[tuple[str, ...]]:
    # These headers are known only when the error is raised.
    late = {"MethodNotAllowedError": ["Allow"], "TooManyFailuresError": ["Retry-After"]}
    for kind in oauth_errors():
        when = " ".join(cleandoc(str(kind.__doc__)).split()).removeprefix("Raised when ")
        headers = [*kind.headers, *late.get(kind.__name__, ())]
        yield (
            f"`{kind.code}`",
            str(kind.status),
            _code(headers),
            f"{when[0].upper()}{when[1:]}",
            TEXTS["remedies"][kind.__name__],
        )


def _gateway_responses() -> Iterator[tuple[str, ...]]:
    api = load(TEMPLATE)["Resources"]["GuardedApi"]["Properties"]
    for name, response in api["GatewayResponses"].items():
        body = next(iter(response["ResponseTemplates"].values()))
        yield f"`{name}`", str(response.get("StatusCode", "its own")), f"`{body}`"


def sections() -> dict[str, list[Reason]]:
    """Return the authorizer's reasons by the comments above them."""
    found: dict[str, list[Reason]] = {}
    for match in _SECTION.finditer(getsource(authorizer_errors)):
        if match["title"]:
            current = found.setdefault(match["title"], [])
        else:
            current.append(Reason[match["member"]])
    return found


def metrics_page() -> str:
    """Return the page of metrics and alarms."""
    watch = alarms()
    columns = ("metric", "emitted by", "dimensions", "unit", "description", "alarms")
    described = [
        (f"`{name}`", _code(_metric_names(alarm)), _condition(alarm), alarm["AlarmDescription"])
        for name, alarm in watch.items()
    ]
    return _page(
        "metrics",
        namespace=NAMESPACE,
        metrics=table(columns, [row for emitter in EMITTERS for row in _metrics(emitter, watch)]),
        alarms=table(("alarm", "metrics", "when", "description"), described),
    )


def _metrics(emitter: str, watch: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    module = EMITTERS[emitter]
    for name, meaning in docstrings(ast.parse(getsource(module)).body):
        metric = getattr(module, name)
        if not isinstance(metric, Metric):
            continue
        watchers = [name for name, alarm in watch.items() if metric.name in _metric_names(alarm)]
        sets = [_code(each, " and ") for each in metric.dimensions]
        yield (
            f"`{metric.name}`",
            emitter,
            "; ".join(each or "none" for each in sets),
            metric.unit or "count",
            meaning + (" Warning." if metric.is_failure else ""),
            _code(watchers) or "none",
        )


def alarms() -> dict[str, Any]:
    """Return the properties of each alarm by its name."""
    return {
        name: resource["Properties"]
        for name, resource in load(OPERATIONS)["Resources"].items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def _metric_names(alarm: Mapping[str, Any]) -> list[str]:
    if "MetricName" in alarm:
        return [alarm["MetricName"]]
    return sorted({series["Metric"]["MetricName"] for series in _series(alarm)})


def _series(alarm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the metrics that an alarm adds up, including those with a condition."""
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


def cli_page() -> str:
    """Return the page of every command, option and exit code."""
    root = click.Context(app, info_name="gatehouse")
    return _page(
        "cli",
        options=_options(root, wanted_global=True),
        commands="\n\n".join(_described(context).strip() for context in _commands(root)),
        codes=table(("code", "meaning"), [(str(int(k)), v) for k, v in EXIT_CODES.items()]),
    )


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
    path, usage = context.command_path, " ".join(context.command.collect_usage_pieces(context))
    text = cleandoc(context.command.help or "")
    options = _options(context, wanted_global=False)
    return f"## {path}\n```\n{path} {usage}\n```\n{text}\n\n{options}"


def _options(context: click.Context, *, wanted_global: bool) -> str:
    shared = global_option_names()
    records = (
        parameter.get_help_record(context)
        for parameter in context.command.params
        if (parameter.name in shared) is wanted_global
    )
    rows = [(f"`{names}`", text) for names, text in filter(None, records) if text]
    return table(("option", ""), rows) if rows else ""


PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "cli.md": cli_page,
    "clients.schema.json": lambda: json.dumps(CLIENTS.schema, indent=2) + "\n",
    "rules.schema.json": lambda: json.dumps(RULES.schema, indent=2) + "\n",
}
"""The function that writes each page."""


def main() -> None:
    """Write the files."""
    for name, write_page in PAGES.items():
        (FOLDER / name).write_text(write_page(), encoding="utf-8")
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
