"""Instructions of the handlers, counted by Callgrind: the same on a busy machine."""

import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.decisions import TOKENS, gatehouse_contender, sign_tokens
from tests.benchmarks.issuing import jwt_contender
from tests.benchmarks.results import Measurement, Section
from tests.benchmarks.turns import Contender

RUNS = 100
_OBJECT = re.compile(r"c?ob=\((\d+)\)(?: (.+))?")
_CRYPTOGRAPHY = "_rust"  # contains OpenSSL
_VALGRIND = shutil.which("valgrind")


def instructions() -> Section:
    """Count the instructions of a decision and of a token, and those of their signature."""
    if _VALGRIND is None:
        return Section("Instructions", "Not counted: valgrind is not installed.", [], [])
    tokens = sign_tokens(TOKENS // 2)
    with gatehouse_contender(tokens) as first, gatehouse_contender(tokens[:1]) as again, jwt_contender() as jwt:
        contenders = {"a first decision": first, "a repeated decision": again, "a JWT": jwt}
        with ThreadPoolExecutor(2) as pool:
            counts = dict(zip(contenders, pool.map(_count, contenders.values()), strict=True))
    return Section(
        "Instructions",
        "Thousands of instructions per run of the same handlers in user mode, counted by Callgrind. OpenSSL's are "
        "not included. Compare them with an earlier version's: they do not depend on the load of the machine.",
        [Measurement(name, count / 1000, "thousand", RUNS) for name, count in counts.items()],
        [],
    )


def _count(contender: Contender) -> float:
    assert _VALGRIND
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out"
        with contender.start(
            _VALGRIND, "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"
        ) as process:
            _control(process.pid, "on")
            process.run(RUNS)
            _control(process.pid, "off")
        return _own_instructions(out.read_text()) / RUNS


def _control(pid: int, switch: str) -> None:
    command = ["callgrind_control", "-i", switch, str(pid)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def _own_instructions(profile: str) -> int:
    """Add up the costs of all objects except OpenSSL's.

    https://valgrind.org/docs/manual/cl-format.html
    """
    names: dict[str, str] = {}
    counted, total, is_call = True, 0, False
    for line in profile.splitlines():
        if match := _OBJECT.match(line):
            names.setdefault(match[1], match[2])
            if line.startswith("ob="):
                counted = _CRYPTOGRAPHY not in names[match[1]]
        elif line.startswith("calls="):
            is_call = True  # the next line is the callee's cost
        elif line[:1] in {"+", "-", "*"} or line[:1].isdigit():
            if counted and not is_call:
                total += int(line.split()[1])
            is_call = False
    return total
