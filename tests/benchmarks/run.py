"""`make bench`: compare Gatehouse with others, and write docs/benchmarks.{json,md,svg}.

python -m tests.benchmarks.run [--full] [--to DIRECTORY] [NAME …]    names of measurements, default: all
"""

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.benchmarks.attacks import attacks
from tests.benchmarks.cold_start import cold_start
from tests.benchmarks.decisions import decisions, sizes
from tests.benchmarks.http_rate import http_rate
from tests.benchmarks.instructions import instructions
from tests.benchmarks.issuing import issuing
from tests.benchmarks.library import library
from tests.benchmarks.memory import memory
from tests.benchmarks.page import write_page
from tests.benchmarks.plot import write_plot
from tests.benchmarks.results import Section
from tests.benchmarks.steps import steps
from tests.benchmarks.turns import NODE, ROOT, has_node

SOME_TOKENS, ALL_TOKENS = 100_000, 1_000_000
_PACKAGES = ("cryptography", "pyjwt", "joserfc", "aws-lambda-powertools", "fastapi", "chalice", "moto")


def machine() -> dict[str, str]:
    """Describe what the figures were taken on."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **dict(_package_versions()),
        **_node_versions(),
    }


def _package_versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield name, version(name)


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


def _measurements(*, full: bool) -> dict[str, Callable[[], Iterable[Section]]]:
    return {
        "decisions": decisions,
        "library": library,
        "steps": steps,
        "sizes": lambda: [sizes()],
        "attacks": lambda: [attacks()],
        "cold_start": lambda: [cold_start()],
        "memory": lambda: [memory(ALL_TOKENS if full else SOME_TOKENS)],
        "issuing": lambda: [issuing()],
        "http_rate": lambda: [http_rate()],
        "instructions": lambda: [instructions()],
    }


def measure(names: Collection[str], *, full: bool) -> Iterator[Section]:
    """Take measurements, one after the other. If one fails, the page states it, and the others continue."""
    for name, take in _measurements(full=full).items():
        if names and name not in names:
            continue
        try:
            yield from take()
        except Exception as error:
            traceback.print_exc()
            yield Section(f"Not measured: {name}", f"The measurement failed with {type(error).__name__}.", [], [])


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
                "goals": [each.to_json() for each in section.goals],
            }
            for section in sections
        ],
    }


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="memory over a million tokens")
    parser.add_argument("--to", type=Path, default=ROOT / "docs", help="where to write")
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *_measurements(full=False)])
    arguments = parser.parse_args()
    started, busy = time.monotonic(), [round(os.getloadavg()[0], 1)]
    if not has_node():
        print("Without Node's rivals: Node or tests/benchmarks/node/node_modules is not here.")
    sections = []
    for section in measure(arguments.names, full=arguments.full):
        sections.append(section)
        _print(section)
    busy.append(round(os.getloadavg()[0], 1))
    found = _as_json(sections, machine(), busy)
    arguments.to.mkdir(exist_ok=True)
    (arguments.to / "benchmarks.json").write_text(json.dumps(found, indent=1) + "\n")
    (arguments.to / "benchmarks.md").write_text(write_page(found))
    (arguments.to / "benchmarks.svg").write_text(write_plot(found))
    print(f"\nWrote {arguments.to}/benchmarks.{{json,md,svg}} in "
          f"{time.monotonic() - started:.0f} s.")  # fmt: skip


def _print(section: Section) -> None:
    print(f"\n{section.title}" if section.measurements else f"\n{section.title}: {section.how}")
    for each in section.measurements:
        print(f"  {each.name:<58} {each.value:>10.4g} {each.unit}")
    for goal in section.goals:
        word = "       " if goal.limit is None else "met    " if goal.is_met else "MISSED "
        rounds = ", ".join(f"{each:.3g}" for each in goal.rounds)
        print(f"  {word}{goal.name}: {goal.found:.3g} {goal.bound} [{rounds}]")


if __name__ == "__main__":
    main()
