"""Lambda artifacts, built here as `sam build` builds them."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from infra.build import Target

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"


def host() -> Target:
    """The Lambda that this machine is; what is built for it runs here."""
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        pytest.skip(f"Lambda is no {sys.platform} on {platform.machine()}")
    return Target(RUNTIME, ARCHITECTURES[platform.machine()])


def make(function: str, directory: Path, target: Target) -> None:
    """Build one artifact with the recipe that `sam build` runs."""
    subprocess.run(
        ["make", "--no-print-directory", "-f", "infra/Makefile", f"build-{function}",
         f"BUILDER={sys.executable}", f"ARTIFACTS_DIR={directory}",
         f"RUNTIME={target.runtime}", f"ARCHITECTURE={target.architecture}"],
        cwd=ROOT,
        check=True,
    )  # fmt: skip
