"""`make bench`: compare Gatehouse with others, and write docs/benchmarks.{json,md,svg}.

python -m tests.benchmarks.run [--full] [--to DIRECTORY]    --full: memory over a million tokens
"""

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.attacks import attacks
from tests.benchmarks.cold_start import cold_start
from tests.benchmarks.decisions import NODE, ROOT, decisions, has_node, scope_maps
from tests.benchmarks.http_rate import http_rate
from tests.benchmarks.issuing import issuing
from tests.benchmarks.memory import memory
from tests.benchmarks.page import write_page
from tests.benchmarks.plot import write_plot
from tests.benchmarks.results import Section
from tests.benchmarks.steps import steps

SOME_TOKENS, ALL_TOKENS = 100_000, 1_000_000
_PACKAGES = ("cryptography", "pyjwt", "joserfc", "aws-lambda-powertools", "chalice", "moto")


def machine() -> dict[str, str]:
    """Describe what the figures were taken on."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        **_node_versions(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _node_versions() -> dict[str, str]:
    if not has_node():
        return {}
    script = "import('./verifiers.mjs').then((m) => console.log(JSON.stringify(m.versions())))"
    output = subprocess.run(["node", "--eval", script], cwd=NODE, capture_output=True, check=True, text=True).stdout
    versions: dict[str, str] = json.loads(output)
    return versions


def measure(*, full: bool) -> Iterator[Section]:
    """Take all measurements, one after the other."""
    yield from decisions()
    yield from steps()
    yield scope_maps()
    yield attacks()
    yield cold_start()
    yield memory(ALL_TOKENS if full else SOME_TOKENS)
    yield issuing()
    yield http_rate()


def _as_json(sections: list[Section], where: dict[str, str], busy: list[float]) -> dict[str, Any]:
    return {
        "taken": dt.datetime.now(dt.UTC).isoformat(timespec="minutes"),
        "machine": where,
        "load": busy,
        "without_node": not has_node(),
        "sections": [
            {
                "title": section.title,
                "how": section.how,
                "measurements": [each._asdict() for each in section.measurements],
                "goals": [{**each._asdict(), "met": each.is_met} for each in section.goals],
            }
            for section in sections
        ],
    }


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="memory over a million tokens")
    parser.add_argument("--to", type=Path, default=ROOT / "docs", help="where to write")
    arguments = parser.parse_args()
    started, busy = time.monotonic(), [round(os.getloadavg()[0], 1)]
    if not has_node():
        print("Without Node's rivals: Node or tests/benchmarks/node/node_modules is not here.")
    sections = []
    for section in measure(full=arguments.full):
        sections.append(section)
        _tell(section)
    busy.append(round(os.getloadavg()[0], 1))
    found = _as_json(sections, machine(), busy)
    arguments.to.mkdir(exist_ok=True)
    (arguments.to / "benchmarks.json").write_text(json.dumps(found, indent=1) + "\n")
    (arguments.to / "benchmarks.md").write_text(write_page(found))
    (arguments.to / "benchmarks.svg").write_text(write_plot(found))
    print(f"\nWrote {arguments.to}/benchmarks.{{json,md,svg}} in "
          f"{time.monotonic() - started:.0f} s.")  # fmt: skip


def _tell(section: Section) -> None:
    print(f"\n{section.title}")
    for each in section.measurements:
        print(f"  {each.name:<58} {each.value:>10.4g} {each.unit}")
    for goal in section.goals:
        word = "met   " if goal.is_met else "MISSED"
        bound = "at least" if goal.at_least else "at most"
        print(f"  {word} {goal.name}: {goal.found:.3g} ({bound} {goal.limit:g} {goal.unit})")


if __name__ == "__main__":
    main()
