"""`gatehouse doctor`: check a deployment and warn of upcoming problems."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
from rich.text import Text

from ..aws_errors import translated_errors
from ..context import CommandContext, pass_context
from ..errors import CommandError, ExitCode
from ..input_files import write_text
from ..options import Command
from ..output import TextTable, counted, safe
from ..times import iso
from . import account, clients, endpoints, guards, keys
from .context import Check, CheckContext, Finding, Level, failure, ok

CHECKS = (*endpoints.CHECKS, *keys.CHECKS, *clients.CHECKS, *account.CHECKS)
_COUNTED = frozenset({Level.WARNING, Level.FAILURE})
_STYLES = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.FAILURE: "bold red",
    Level.NOT_EXAMINED: "yellow",
    Level.NOT_APPLICABLE: "dim",
}
_FOLDED = frozenset({Level.NOT_EXAMINED, Level.NOT_APPLICABLE})
"""Levels whose checks share one row of the table. The report has a row for each."""


@click.command(cls=Command)
@click.option("--all", "everything", is_flag=True, help="Show checks without a finding too.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the results of all checks to a file, as JSON.")
@click.option(
    "--guards",
    "templates",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Template with JWT authorizers, or rules of load balancers that verify JWTs; may be repeated. "
    "Those of an account are found without it.",
)
@pass_context
def doctor(
    command: CommandContext, /, *, everything: bool, strict: bool, report: Path | None, templates: Sequence[Path]
) -> None:
    """Check the deployment and warn of upcoming problems; exit with 1 for failures.

    Shows failures and warnings with the next step, --all every check. Changes nothing. Checks of an
    AWS account do not apply to --local.
    """
    deployment = command.deployment
    context = CheckContext(command, [each for path in templates for each in guards.template_guards(path, deployment)])
    found: list[tuple[Check, Finding]] = []
    for check in (*CHECKS, *(guards.CHECKS if templates or not deployment.is_local else ())):
        with command.terminal.progress(f"{check.area}: {check.name}"):
            findings = examined(context, check)
            found += [(check, replace(each, to_do=command.terminal.hint(each.to_do))) for each in findings]
    counts = Counter(finding.level for _, finding in found)
    document = {
        "deployment": deployment.name,
        "issuer": deployment.issuer,
        "examined_at": iso(command.now()),
        "counts": {level.value: counts[level] for level in Level},
        "findings": [{"area": check.area, "check": check.name, **asdict(each)} for check, each in found],
    }
    if report is not None:
        write_text(report, json.dumps(document, indent=2) + "\n")
    shown = [each for each in found if everything or each[1].level in _COUNTED]
    command.terminal.show(document, *([_findings_table(shown)] if shown else []), _summary(counts))
    if counts[Level.FAILURE] or (strict and counts[Level.WARNING]):
        click.get_current_context().exit(ExitCode.REFUSED)


def examined(context: CheckContext, check: Check) -> Iterator[Finding]:
    """Yield the findings of a check. A check that cannot be made is a failure.

    The cause is reported once: later checks with the same cause are "not examined".
    """
    if check.in_account_only and context.deployment.is_local:
        yield Finding(Level.NOT_APPLICABLE, "applies to accounts only")
        return
    if check.of_sample_api and not context.deployment.guarded_api:
        yield Finding(Level.NOT_APPLICABLE, "the stack has no sample API (SampleApi=false)")
        return
    findings, has_findings = check.look(context), False
    try:
        with translated_errors():
            while True:
                yield next(findings)
                has_findings = True
    except StopIteration as end:
        if end.value and not has_findings:
            yield ok(end.value)
    except CommandError as error:
        if context.is_known(error):
            yield Finding(Level.NOT_EXAMINED, f"see above: {error.problem}")
        else:
            yield failure(f"could not be examined: {error.problem}", error.next_step)


def _findings_table(found: Sequence[tuple[Check, Finding]]) -> TextTable:
    rows: list[tuple[object, ...]] = [
        (_level(finding), check.area, check.name, "\n→ ".join(filter(None, (finding.seen, finding.to_do))))
        for check, finding in found
        if finding.level not in _FOLDED
    ]
    folded: dict[Finding, list[Check]] = {}
    for check, finding in found:
        if finding.level in _FOLDED:
            folded.setdefault(finding, []).append(check)
    for finding, checks in folded.items():
        said = f"{finding.seen}\n{_named(checks)}"
        rows.append((_level(finding), "", counted(len(checks), "check"), said))
    return TextTable(("", "area", "check", "finding"), rows)


def _level(finding: Finding) -> Text:
    return Text(finding.level.value, style=_STYLES[finding.level])


def _named(checks: Sequence[Check]) -> str:
    """Name checks by area: `keys: signing, rotation; clients: secrets`."""
    areas = dict.fromkeys(check.area for check in checks)
    return "; ".join(f"{area}: {', '.join(check.name for check in checks if check.area == area)}" for area in areas)


def _summary(counts: Counter[Level]) -> Text:
    said = ", ".join(
        counted(counts[level], level.value) if level in _COUNTED else f"{counts[level]} {level}"
        for level in Level
        if counts[level]
    )
    return safe(f"{said}.", style="bold")
