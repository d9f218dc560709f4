"""Create a virtual environment and install a lock file into it, with one line of progress.

Runs before anything is installed, so it imports the standard library only:

    python3 local/bootstrap.py .venv requirements/laptop.txt
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class SetupError(Exception):
    """What the person at the terminal has to mend; its text is one sentence."""


def create_environment(directory: Path) -> Path:
    """Return the environment's interpreter, creating the environment when it is missing.

    One without pip was interrupted while it was made, and is made anew.
    """
    python = directory / "bin" / "python"
    if not (directory / "bin" / "pip").exists():
        print(f"Creating the virtual environment {directory} …", flush=True)
        try:
            venv.create(directory, with_pip=True, clear=True)
        except OSError as error:
            raise SetupError(f"Python could not create {directory}: {error.strerror}.") from error
        except subprocess.CalledProcessError as error:
            raise SetupError(
                f"Python could not create {directory}: its venv and ensurepip modules are needed "
                "(on Debian and Ubuntu: the package python3-venv)."
            ) from error
    return python


def install(python: Path, lock: Path) -> None:
    """Install exactly what `lock` names, every file checked against its hash."""
    total = sum("==" in line for line in lock.read_text().splitlines())
    # The lock is complete, so there is nothing to resolve: --no-deps makes pip take it literally.
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--require-hashes",
        "-r",
        str(lock),
    ]
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    pip = subprocess.Popen(
        [*command, *quiet], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert pip.stdout is not None  # noqa: S101  what PIPE promises
    lines = []
    seen = 0
    for line in pip.stdout:
        lines.append(line)
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            seen += 1
            name = line.removeprefix("Requirement already satisfied:").split("==")[0].split()[-1]
            show_progress(
                f"Installing {lock.name}: {seen} of {total} ({name})", milestone=seen % 20 == 0
            )
        elif line.startswith("Installing collected packages"):
            show_progress(f"Installing {lock.name}: unpacking …")
    if pip.wait() != 0:
        print(*lines[-20:], sep="", file=sys.stderr)
        raise SetupError(f"pip could not install {lock}; its last lines are above.")
    show_progress(f"Installed {lock.name}: {total} packages.")
    if sys.stdout.isatty():
        print()


def show_progress(text: str, *, milestone: bool = True) -> None:
    """Rewrite the terminal's current line; elsewhere (a CI log) print the milestones only."""
    if sys.stdout.isatty():
        print(f"\r\033[K{text}", end="", flush=True)
    elif milestone:
        print(text, flush=True)


def add_repository(python: Path) -> None:
    """Let the environment import the repository's packages, and run `gatehouse`, in place."""
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    (Path(packages.stdout.strip()) / "gatehouse.pth").write_text(f"{ROOT}\n")
    command = python.parent / "gatehouse"
    # Without -P an `infra` package in the folder where it is called would be taken for ours.
    command.write_text(f'#!/bin/sh\nexec "{python.absolute()}" -P -m infra.cli "$@"\n')
    command.chmod(0o755)


def main(arguments: list[str]) -> int:
    """Set up the environment named first with the lock files named after it."""
    directory, *locks = map(Path, arguments)
    try:
        python = create_environment(directory)
        for lock in locks:
            install(python, lock)
        add_repository(python)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped before everything was installed; the next make goes on.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
