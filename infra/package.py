"""Zip built artifacts as SAM uploads them, and print the size, budget and digest of each.

python -m infra.package .aws-sam/build                    prints a table; fails over budget.
python -m infra.package .aws-sam/build --against OTHER    also compares the bytes of another build.
python -m infra.package .aws-sam/build --into DIST        also writes the zip files, with SHA256SUMS.
"""

import argparse
import io
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from .build import ARCHITECTURE, ARTIFACTS, ROOT, RUNTIME, Target

MEGABYTE = 1_000_000
_FILE_MODE = 0o100644
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Zipped:
    """An artifact's size in bytes, and its zip file."""

    name: str
    unpacked: int
    content: bytes = field(repr=False)

    @property
    def is_over_budget(self) -> bool:
        """True if the zip file is larger than the artifact's budget."""
        return len(self.content) > ARTIFACTS[self.name].budget * MEGABYTE


def zip_bytes(directory: Path) -> bytes:
    """Return a directory as a zip file: the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(directory).as_posix(), _TIME)
                entry.external_attr = _FILE_MODE << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes(), compresslevel=6)
    return buffer.getvalue()


def measure(build: Path) -> Iterator[Zipped]:
    """Zip every artifact that was built."""
    for name in ARTIFACTS:
        directory = build / name
        if directory.is_dir():
            unpacked = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
            yield Zipped(name, unpacked, zip_bytes(directory))


def table(artifacts: Sequence[Zipped]) -> str:
    """Return a table for a terminal, sizes in megabytes."""
    lines = [f"{'artifact':<26}{'unpacked':>10}{'zipped':>10}{'budget':>10}  SHA-256 of the zip file"]
    lines += [
        f"{each.name:<26}{each.unpacked / MEGABYTE:>7.2f} MB{len(each.content) / MEGABYTE:>7.2f} MB"
        f"{ARTIFACTS[each.name].budget:>7.2f} MB  {sha256(each.content).hexdigest()[:16]}"
        for each in artifacts
    ]
    return "\n".join(lines)


def file_name(handler: str, target: Target) -> str:
    """Return the name of the zip file for a handler, with the project's version and the target."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    name = handler.removeprefix("functions.").removesuffix(".handler").replace("_", "-")
    return f"gatehouse-{name}-{version}-{target.runtime}-{target.architecture}.zip"


def write_zips(artifacts: Sequence[Zipped], target: Target, directory: Path) -> None:
    """Write a zip file for each handler, and the digests of every zip file of the directory.

    `sha256sum --check SHA256SUMS` verifies them. Builds for several targets share a directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for each in artifacts:
        (directory / file_name(ARTIFACTS[each.name].handler, target)).write_bytes(each.content)
    digests = {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(directory.glob("*.zip"))}
    (directory / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))


def main(arguments: Sequence[str]) -> int:
    """Print the table; exit 1 if nothing was built, an artifact is over its budget, or another build differs."""
    parser = argparse.ArgumentParser(prog="infra.package")
    parser.add_argument("build", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--runtime", default=RUNTIME)
    parser.add_argument("--architecture", default=ARCHITECTURE)
    given = parser.parse_args(arguments)
    artifacts = list(measure(given.build))
    sys.stdout.write(f"{table(artifacts)}\n")
    if given.into:
        write_zips(artifacts, Target(given.runtime, given.architecture), given.into)
        sys.stdout.write(f"Wrote the zip files and SHA256SUMS to {given.into}.\n")
    too_large = [each.name for each in artifacts if each.is_over_budget]
    if too_large:
        sys.stdout.write(f"Over budget: {', '.join(too_large)}. The budgets are in infra/build.py.\n")
    if given.against is None:
        return bool(too_large) or not artifacts
    differing = {each.name for each in set(artifacts) ^ set(measure(given.against))}
    verdict = f"differ: {', '.join(sorted(differing))}" if differing else "have the same bytes"
    sys.stdout.write(f"Both builds {verdict}.\n")
    return bool(differing or too_large) or not artifacts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
