"""Build step of the wheel: publish `authorizer`, `functions` and `infra` as the package `gatehouse`.

The folders import each other by their names in the checkout. Installed under those names, they could
shadow a user's own packages. The wheel therefore contains `authorizer/` as `gatehouse`, the other two
as its subpackages, and their imports are rewritten.
"""

import re
from pathlib import Path
from shutil import rmtree

from setuptools import find_packages
from setuptools.command.build_py import build_py

FOLDERS = {"gatehouse": "authorizer", "gatehouse.functions": "functions", "gatehouse.infra": "infra"}
CHECKOUT_ONLY = frozenset({"package", "reference", "remove", "template_checks", "wheel"})
"""Modules of `infra` that need the files of a checkout."""

_PUBLISHED = {"authorizer": "gatehouse", "functions": "gatehouse.functions", "infra": "gatehouse.infra"}
_IMPORT = re.compile(r"^( *from )(authorizer|functions|infra)(?=[. ])", re.MULTILINE)
_FILES = re.compile(r'\b(files\(")(authorizer|functions|infra)(?="\))')


def published(source: str) -> str:
    """Return a module's source with the imports that are valid in the wheel."""
    for pattern in (_IMPORT, _FILES):
        source = pattern.sub(lambda match: match[1] + _PUBLISHED[match[2]], source)
    return source


class BuildPy(build_py):
    """Builds the packages of the wheel."""

    def finalize_options(self) -> None:
        """Find the packages. The sample API needs a package that no user of the wheel does."""
        self.distribution.package_dir = dict(FOLDERS)
        self.distribution.packages = [
            ".".join(filter(None, (package, found)))
            for package, folder in FOLDERS.items()
            for found in ("", *find_packages(folder, exclude=["look_up_country*"]))
        ]
        super().finalize_options()

    def run(self) -> None:
        """Build into an empty folder: an earlier build may have left modules that no longer exist."""
        if not self.editable_mode:
            rmtree(Path(self.build_lib) / "gatehouse", ignore_errors=True)
        super().run()

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Return the modules of a package, without those for a checkout only."""
        found: list[tuple[str, str, str]] = super().find_package_modules(package, package_dir)
        return [each for each in found if package != "gatehouse.infra" or each[1] not in CHECKOUT_ONLY]

    def get_source_files(self) -> list[str]:
        """Return the files of a source distribution, this module included."""
        return [*super().get_source_files(), "infra/wheel.py"]

    def build_module(self, module: str, module_file: str, package: str) -> tuple[str, bool]:
        """Copy a module and rewrite its imports."""
        built, copied = super().build_module(module, module_file, package)
        path = Path(built)
        path.write_text(published(path.read_text(encoding="utf-8")), encoding="utf-8")
        return built, copied
