"""The wheel, built from the files of the repository, and what its users do with it."""

import fcntl
import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from tempfile import gettempdir, mkdtemp

ROOT = Path(__file__).resolve().parents[2]


@cache
def wheel() -> Path:
    """Build the wheel from a source distribution, once for all workers of a run."""
    prefix = "gatehouse-wheel-"
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    directory = Path(gettempdir()) / f"{prefix}{run}" if run else Path(mkdtemp(prefix=prefix))
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        return next(directory.glob("gatehouse-*.whl"), None) or _build(directory)


def unpacked_wheel() -> Path:
    """Return a folder with the wheel's files, for PYTHONPATH: the wheel has no compiled parts."""
    return wheel().parent / "unpacked"


def _build(directory: Path) -> Path:
    source = directory / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("functions", "authorizer", "infra", "local"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".chalice"))
    # -P: this environment's path to the repository must not provide the build step.
    code = "import os, sys; from setuptools.build_meta import build_sdist; print(build_sdist(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-P", "-c", code, directory], cwd=source, capture_output=True, check=True, text=True
    )
    archive = directory / built.stdout.splitlines()[-1]
    command = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet")
    subprocess.run([*command, "--disable-pip-version-check", "--wheel-dir", directory, archive], check=True)
    (file,) = directory.glob("gatehouse-*.whl")
    with zipfile.ZipFile(file) as built_wheel:
        built_wheel.extractall(directory / "unpacked")
    return file


def python_with_wheel(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run this environment's Python with the wheel, and without the repository."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=cwd,
        env={**settings, "PYTHONPATH": str(unpacked_wheel()), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
