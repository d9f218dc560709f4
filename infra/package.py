"""Zip built artifacts as SAM uploads them, and print the size, budget and digest of each.

python -m infra.package .aws-sam/build                    prints a table; fails over budget
python -m infra.package .aws-sam/build --against OTHER    also compares the bytes of another build
"""

import argparse
import io
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from .build import ARTIFACTS

MEGABYTE = 1_000_000
_FILE_MODE = 0o100644
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Zipped:
    """An artifact's sizes in bytes and its zip file's SHA-256."""

    name: str
    unpacked: int
    zipped: int
    digest: str

    @property
    def is_over_budget(self) -> bool:
        """True if the zip file is larger than the artifact's budget."""
        return self.zipped > ARTIFACTS[self.name].budget * MEGABYTE


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
            content = zip_bytes(directory)
            unpacked = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
            yield Zipped(name, unpacked, len(content), sha256(content).hexdigest())


def table(artifacts: Sequence[Zipped]) -> str:
    """Return a table for a terminal, sizes in megabytes."""
    lines = [f"{'artifact':<26}{'unpacked':>10}{'zipped':>10}{'budget':>10}  SHA-256 of the zip file"]
    lines += [
        f"{each.name:<26}{each.unpacked / MEGABYTE:>7.2f} MB{each.zipped / MEGABYTE:>7.2f} MB"
        f"{ARTIFACTS[each.name].budget:>7.2f} MB  {each.digest[:16]}"
        for each in artifacts
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Print the table; exit 1 if nothing was built, an artifact is over its budget, or another build differs."""
    parser = argparse.ArgumentParser(prog="infra.package")
    parser.add_argument("build", type=Path)
    parser.add_argument("--against", type=Path)
    given = parser.parse_args(arguments)
    artifacts = list(measure(given.build))
    sys.stdout.write(f"{table(artifacts)}\n")
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
