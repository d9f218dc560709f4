"""docs/benchmarks.md, from what the benchmarks found."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.benchmarks.results import ROUNDS

_STEADY = 0.1


def write_page(found: Mapping[str, Any]) -> str:
    """Write the page."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    versions = dict(found["machine"])
    place = f"{versions.pop('processor')}, {versions.pop('cores')} cores, {versions.pop('system')}"
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    yield f"""# How fast it is

Written by `make bench`. Everything here comes from one run, {found["taken"]}, on {place};
load average {found["load"][0]} at its start and {found["load"][-1]} at its end.
Versions: {named}.

Figures are medians of processor time, user and system, if nothing else is stated. All contenders take turns, each in
its own process, so a slow machine affects all of them. A ratio is the median of the ratios of neighbouring turns.
Everything that has a range was measured in {ROUNDS} rounds, each with new processes. On a CPU with faster RSA
signatures, the other steps weigh more.
"""
    if found["without_node"]:
        yield "The rivals that need Node were not measured, because Node was not there.\n"
    yield "![Decisions and cold starts compared with others](benchmarks.svg)\n"
    yield from _goals(found["sections"])
    for section in found["sections"]:
        yield f"## {section['title']}\n\n{section['how']}\n"
        if not section["measurements"]:
            continue
        yield "| | median | samples |\n| --- | ---: | ---: |"
        for each in section["measurements"]:
            figure = f"{_figure(each['value'])} {each['unit']}"
            yield f"| {each['name']} | {figure} | {each['samples']} |"
        yield ""


def _goals(sections: list[dict[str, Any]]) -> Iterator[str]:
    goals = [goal for section in sections for goal in section["goals"]]
    unsteady = any(goal["spread"] > _STEADY for goal in goals)
    yield "## Goals\n\n| goal | found | limit | | rounds |\n| --- | ---: | ---: | --- | ---: |"
    for goal in goals:
        outcome = "" if goal["limit"] is None else "met" if goal["met"] else "**missed**"
        rounds = sorted(goal["rounds"])
        extent = f"{_figure(rounds[0])} to {_figure(rounds[-1])}" if rounds else ""
        mark = " (!)" if goal["spread"] > _STEADY else ""
        yield f"| {goal['name']} | {_figure(goal['found'])} | {goal['bound']} | {outcome} | {extent}{mark} |"
    yield "\n(!): the rounds differ by more than 10 %. Measure again on a quiet machine.\n" if unsteady else ""


def _figure(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"
