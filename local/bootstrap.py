"""Create a virtual environment and install a lock file into it, with one line of progress.

Runs before anything is installed, so it imports the standard library only:

    python3 local/bootstrap.py .venv requirements/laptop.txt
"""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class SetupError(Exception):
    """The environment cannot be created. The message names the cause and a fix."""


def create_environment(directory: Path) -> Path:
    """Return the environment's interpreter, and create a missing environment.

    An environment without pip was interrupted during its creation, and is created again.
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
    """Install the packages of a lock file, checked against its hashes."""
    total = sum("==" in line for line in lock.read_text().splitlines())
    # --no-deps, because the lock file is complete.
    options = "--no-deps --require-hashes --disable-pip-version-check --no-input --progress-bar off"
    command = [str(python), "-m", "pip", "install", *options.split(), "-r", str(lock)]
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert pip.stdout is not None
    lines = []
    seen = 0
    for line in pip.stdout:
        lines.append(line)
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            seen += 1
            name = line.removeprefix("Requirement already satisfied:").split("==")[0].split()[-1]
            show_progress(f"Installing {lock.name}: {seen} of {total} ({name})", milestone=seen % 20 == 0)
        elif line.startswith("Installing collected packages"):
            show_progress(f"Installing {lock.name}: unpacking …")
    if pip.wait() != 0:
        print(*lines[-20:], sep="", file=sys.stderr)
        raise SetupError(f"pip could not install {lock}; its last lines are above.")
    show_progress(f"Installed {lock.name}: {total} packages.")
    if sys.stdout.isatty():
        print()


def show_progress(text: str, *, milestone: bool = True) -> None:
    """Rewrite the terminal's current line. In other output (a CI log) print only milestones."""
    if sys.stdout.isatty():
        print(f"\r\033[K{text}", end="", flush=True)
    elif milestone:
        print(text, flush=True)


def add_repository(python: Path) -> None:
    """Make the repository's packages importable, and create the `gatehouse` command."""
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    (Path(packages.stdout.strip()) / "gatehouse.pth").write_text(f"{ROOT}\n")
    command = python.parent / "gatehouse"
    # -P, because the current folder may contain another package named `infra`.
    command.write_text(f'#!/bin/sh\nexec "{python.absolute()}" -P -m infra.cli "$@"\n')
    command.chmod(0o755)


def main(arguments: list[str]) -> int:
    """Create the environment of the first argument with the lock files of the others."""
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
        print("\nStopped during the installation; the next make continues it.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
