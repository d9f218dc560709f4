"""docs/benchmarks.md, from what the benchmarks found."""

from collections.abc import Iterator, Mapping
from typing import Any


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

Figures are medians. All contenders take turns, each in its own process, so a slow machine affects
all of them. A ratio is the median of the ratios of neighbouring turns. On a CPU with faster RSA
signatures, the other steps weigh more.
"""
    if found["without_node"]:
        yield "The rivals that need Node were not measured, because Node was not there.\n"
    yield "![Decisions and cold starts compared with others](benchmarks.svg)\n"
    yield from _goals(found["sections"])
    for section in found["sections"]:
        yield f"## {section['title']}\n\n{section['how']}\n"
        yield "| | median | samples |\n| --- | ---: | ---: |"
        for each in section["measurements"]:
            figure = f"{_figure(each['value'])} {each['unit']}"
            yield f"| {each['name']} | {figure} | {each['samples']} |"
        yield ""


def _goals(sections: list[dict[str, Any]]) -> Iterator[str]:
    yield "## Goals\n\n| goal | found | limit | |\n| --- | ---: | ---: | --- |"
    for section in sections:
        for goal in section["goals"]:
            bound = "at least" if goal["at_least"] else "at most"
            limit = f"{bound} {goal['limit']:g} {goal['unit']}"
            outcome = "met" if goal["met"] else "**missed**"
            yield f"| {goal['name']} | {_figure(goal['found'])} | {limit} | {outcome} |"
    yield ""


def _figure(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"
