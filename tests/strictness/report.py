"""`make strictness`: show every case to every verifier, and write docs/strictness.md.

python -m tests.strictness.report [FILE]
"""

import json
import platform
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from authorizer.clock import Deadline
from authorizer.errors import InvalidTokenError
from tests.strictness.behaviours import BEHAVIOURS
from tests.strictness.cases import CASES, CONTROLS, ISSUER, World, verifier
from tests.strictness.titles import SECTIONS, TITLES
from tests.support.tokens import NOW

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "strictness.md"
NODE = ROOT / "tests" / "benchmarks" / "node"
OURS = "Gatehouse"
ACCEPTED, REFUSED, NO_OPTION = "accepted", "refused", "n/a"


class Row(NamedTuple):
    """One variant of a case: what each verifier made of it, by the verifier's name."""

    number: int
    name: str
    verdicts: Mapping[str, str]


class Rivals(NamedTuple):
    """The verdicts of the other verifiers on all tokens, in order, and their versions."""

    versions: dict[str, str]
    verdicts: dict[str, list[str]]
    missing: list[str]


def our_verdicts() -> list[tuple[int, str, str]]:
    """Return number, name and our outcome for every case and behaviour."""
    found = case_verdicts()
    found += [(each.number, each.name, each.observe()) for each in BEHAVIOURS]
    return sorted(found, key=lambda row: row[0])


def case_verdicts() -> list[tuple[int, str, str]]:
    """Return number, name and our outcome for every case."""
    return [(case.number, case.name, _ours(case.world, case.make)) for case in CASES]


def _ours(world: World, make: Callable[[], str]) -> str:
    try:
        verifier(world).verify(make(), NOW, Deadline(1))
    except InvalidTokenError as refused:
        return str(refused.reason)
    return ACCEPTED


def ask_rivals() -> Rivals:
    """Show cases and controls to the verifiers that are installed here."""
    from tests.benchmarks import rivals

    tokens = [case.make() for case in CASES] + [control.make() for control in CONTROLS]
    worlds = [_world(world) for world in _worlds()]
    verdicts = {
        name: [_verdict(make, *each) for each in zip(worlds, tokens, strict=True)]
        for name, make in rivals.VERIFIERS.items()
    }
    versions = {
        "Python": platform.python_version(),
        "cryptography": version("cryptography"),
        "PyJWT": version("pyjwt"),
        "joserfc": version("joserfc"),
        "Powertools": version("aws-lambda-powertools"),
    }
    answer = _ask_node([world.write() for world in worlds], tokens)
    if isinstance(answer, str):
        return Rivals(versions, verdicts, [answer])
    for name, given in answer["verdicts"].items():
        verdicts[name] = [verdict or NO_OPTION for verdict in given]
    node_versions = {name: answer["versions"][name] for name in ("node", *answer["verdicts"])}
    return Rivals(versions | node_versions, verdicts, [])


def _worlds() -> list[World]:
    return [case.world for case in CASES] + [control.world for control in CONTROLS]


def _verdict(make: Callable[[Any], Callable[[str], object] | None], world: object, token: str) -> str:
    import time_machine

    with time_machine.travel(NOW, tick=False):
        try:
            verify = make(world)
            if verify is None:
                return NO_OPTION
            verify(token)
        except Exception:
            return REFUSED
        return ACCEPTED


def _world(world: World) -> Any:
    from tests.benchmarks.rivals import RivalWorld

    return RivalWorld(
        ISSUER,
        world.audience,
        sorted(world.algorithms),
        json.loads(world.key_set()),
        sorted(world.client_ids),
        world.require_at_jwt,
    )


def _ask_node(worlds: list[Any], tokens: list[str]) -> dict[str, Any] | str:
    """Return what Node's verifiers say, or why they cannot be asked."""
    node = shutil.which("node")
    if node is None:
        return "Node is not installed here"
    if not (NODE / "node_modules").is_dir():
        return "the Node libraries are not installed here"
    question = {"now": NOW, "worlds": worlds, "tokens": [[at, token] for at, token in enumerate(tokens)]}
    answer = subprocess.run(
        [node, NODE / "strictness.mjs"], input=json.dumps(question), capture_output=True, text=True, check=True
    )
    verdicts: dict[str, Any] = json.loads(answer.stdout)
    return verdicts


def rows(rivals: Rivals) -> list[Row]:
    """Join our verdicts with the rivals' ones, by number."""
    of_rivals = {
        (case.number, case.name): {name: given[at] for name, given in rivals.verdicts.items()}
        for at, case in enumerate(CASES)
    }
    return [
        Row(number, name, {OURS: ours} | of_rivals.get((number, name), {})) for number, name, ours in our_verdicts()
    ]


def write(found: Sequence[Row], rivals: Rivals) -> str:
    """Write the document."""
    names = [OURS, *rivals.verdicts]
    return "\n".join(
        [*_introduction(rivals), *_totals(found, names), *_cases(found, names),
         *_controls(rivals), *_variants(found, names)]
    ) + "\n"  # fmt: skip


def _introduction(rivals: Rivals) -> Iterator[str]:
    versions = ", ".join(f"{name} {number}" for name, number in rivals.versions.items())
    yield f"""# How strict each verifier is

Written by `make strictness`. A test compares Gatehouse's column with the code.
Versions: {versions}.
"""
    for reason in rivals.missing:
        yield f"Not measured: aws-jwt-verify, jose and fast-jwt, because {reason}.\n"
    yield """\
A correct verifier rejects every token on this page. Each one is signed by its issuer's published
key, unless the signature or the key is the fault. The fault is thus the only reason to reject it.
All verifiers get the same tokens and key sets, with clocks at the time of issue. The cases from 77
on need more than one token; Gatehouse's column has the observation.

Each verifier has the strictest documented options: RS256 alone, the key by key id, fixed issuer
and audience. `exp`, `iss`, `aud` and `sub` are required, without tolerance for clocks. RFC 9068's
type and claims are required in its cases. aws-jwt-verify has no option for algorithms, types or
required claims; PyJWT and joserfc have none for types. Custom checks are not used. Not every
acceptance is a vulnerability: some libraries are for any kind of JWT and leave decisions to their
caller.

A name in Gatehouse's column is the reason in the authorizer's log. A fraction is the share of
accepted variants. `n/a` means that a verifier does not support the case.
"""


def _totals(found: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    yield "## Accepted in total\n"
    yield _line(["", *names])
    yield _line(["---"] + ["---:"] * len(names))
    asked = {name: [row for row in found if row.verdicts.get(name, NO_OPTION) != NO_OPTION]
             for name in names}  # fmt: skip
    cases, variants = [], []
    for name in names:
        wrong = [row for row in asked[name] if _is_accepted(row, name)]
        variants.append(f"{len(wrong)} of {len(asked[name])}")
        numbers = {row.number for row in asked[name]}
        cases.append(f"{len({row.number for row in wrong})} of {len(numbers)}")
    yield _line(["cases", *cases])
    yield _line(["variants", *variants])
    yield ""


def _cases(found: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    by_number: dict[int, list[Row]] = defaultdict(list)
    for row in found:
        by_number[row.number].append(row)
    for first, section in SECTIONS.items():
        last = min((start for start in SECTIONS if start > first), default=max(TITLES) + 1)
        yield f"## {section}\n"
        yield _line(["", "case", *names])
        yield _line(["---:", "---"] + ["---"] * len(names))
        for number in range(first, last):
            group = by_number[number]
            cells = [_cell(group, name) for name in names]
            yield _line([str(number), TITLES[number], *cells])
        yield ""


def _cell(group: Sequence[Row], name: str) -> str:
    asked = [row for row in group if row.verdicts.get(name, NO_OPTION) != NO_OPTION]
    if not asked:
        return NO_OPTION
    accepted = sum(_is_accepted(row, name) for row in asked)
    if name == OURS and not accepted:
        return "<br>".join(dict.fromkeys(row.verdicts[name] for row in asked))
    if not accepted:
        return REFUSED
    return f"**accepted** {accepted}/{len(asked)}" if len(asked) > 1 else "**accepted**"


def _is_accepted(row: Row, name: str) -> bool:
    if name != OURS:
        return row.verdicts[name] == ACCEPTED
    return row.verdicts[name] == ACCEPTED and row.number <= max(case.number for case in CASES)


def _controls(rivals: Rivals) -> Iterator[str]:
    yield "## Valid tokens, as a control\n"
    names = [OURS, *rivals.verdicts]
    yield _line(["token", *names])
    yield _line(["---"] * (len(names) + 1))
    for at, control in enumerate(CONTROLS):
        given = [verdicts[len(CASES) + at] for verdicts in rivals.verdicts.values()]
        yield _line([control.name, _ours(control.world, control.make), *given])
    yield ""


def _variants(found: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    yield "## Every variant\n"
    yield _line(["", "variant", *names])
    yield _line(["---:", "---"] + ["---"] * len(names))
    for row in found:
        verdicts = [row.verdicts.get(name, NO_OPTION) for name in names]
        cells = [f"**{verdict}**" if verdict == ACCEPTED and name != OURS else verdict
                 for name, verdict in zip(names, verdicts, strict=True)]  # fmt: skip
        yield _line([str(row.number), _printable(row.name), *cells])


def _printable(name: str) -> str:
    text = name.encode("ascii", "backslashreplace").decode()
    return text.replace("|", "\\|").replace("*", "\\*")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def read_ours(document: str) -> list[tuple[int, str, str]]:
    """Read number, name and our outcome of every variant back from the document."""
    found = []
    _, _, table = document.partition("## Every variant\n")
    for line in table.splitlines():
        cells = line.replace("\\|", "\0").split(" | ")
        number = cells[0].removeprefix("| ")
        if number.isdigit():
            name = cells[1].replace("\0", "|").replace("\\*", "*").encode().decode("unicode_escape")
            found.append((int(number), name, cells[2].removesuffix(" |")))
    return found


def main() -> None:
    """Write the document."""
    rivals = ask_rivals()
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENT
    target.parent.mkdir(exist_ok=True)
    target.write_text(write(rows(rivals), rivals))
    for reason in rivals.missing:
        print(f"Without aws-jwt-verify, jose and fast-jwt: {reason}.")
    print(f"Wrote {target}.")


if __name__ == "__main__":
    main()
