"""Deploy what was built: `python -m infra.deploy --stage dev`, with the values of samconfig.toml.

SAM keeps the parameters of a stack that exists unless they are given again, so those that say what
the artifacts were built for are always given.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from infra.build import ARCHITECTURE, ROOT, RUNTIME

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIGURATION = ROOT / "samconfig.toml"


class UnknownStageError(Exception):
    """Raised when samconfig.toml has no such stage."""

    def __init__(self, stage: str, known: Sequence[str]) -> None:
        super().__init__(f"samconfig.toml has no stage {stage!r}, only {', '.join(known)}.")


def command(stage: str, *, architecture: str, runtime: str, guided: bool) -> list[str]:
    """Return the command that deploys a stage.

    Raises:
        UnknownStageError: samconfig.toml does not have it.
    """
    configured = tomllib.loads(CONFIGURATION.read_text(encoding="utf-8"))
    stages = [
        name for name, part in configured.items() if isinstance(part, dict) and "deploy" in part
    ]
    if stage not in stages:
        raise UnknownStageError(stage, stages)
    overrides = configured[stage]["deploy"]["parameters"].get("parameter_overrides", [])
    return [
        str(Path(sys.executable).parent / "sam"),
        *("deploy", "--config-env", stage),
        *(["--guided"] if guided else ["--no-fail-on-empty-changeset"]),
        *("--parameter-overrides", *overrides),
        *(f"Architecture={architecture}", f"Runtime={runtime}"),
    ]


def main(arguments: Sequence[str]) -> int:
    """Deploy; return SAM's exit code."""
    parser = argparse.ArgumentParser(prog="infra.deploy")
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--architecture", default=ARCHITECTURE)
    parser.add_argument("--runtime", default=RUNTIME)
    parser.add_argument("--no-guide", dest="guided", action="store_false")
    given = parser.parse_args(arguments)
    try:
        deploy = command(
            given.stage,
            architecture=given.architecture,
            runtime=given.runtime,
            guided=given.guided,
        )
    except UnknownStageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return subprocess.run(deploy, cwd=ROOT, check=False).returncode  # noqa: S603 - our own words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
