"""The wheel, built from the files of the repository, and what its users do with it."""

import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

ROOT = Path(__file__).resolve().parents[2]


@cache
def wheel() -> Path:
    """Build the wheel from a source distribution, once per process."""
    directory = Path(mkdtemp(prefix="gatehouse-wheel-"))
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
    return file


@cache
def unpacked_wheel() -> Path:
    """Return a folder with the wheel's files, for PYTHONPATH: the wheel has no compiled parts."""
    folder = wheel().parent / "unpacked"
    with zipfile.ZipFile(wheel()) as archive:
        archive.extractall(folder)
    return folder


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
