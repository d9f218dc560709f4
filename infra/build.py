"""Build one Lambda artifact: `python -m infra.build IssueToken .aws-sam/build/IssueToken`.

`sam build` runs it through infra/Makefile. It imports the standard library only, so any Python with
pip can run it. Builds are reproducible: files are copied in order, times are SOURCE_DATE_EPOCH, and
the files that pip writes about an installation are deleted.
"""

import argparse
import ast
import compileall
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

SCOPES = "authorizer/scopes.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A handler module, the largest size of its zip file in MB, a lock file, and data files.

    A larger zip file fails the build, because a cold start downloads it. Lock files are in requirements/artifacts.
    """

    handler: str
    budget: float
    lock: str | None = None
    data: tuple[str, ...] = ()


AUTHORIZER = Artifact("authorizer.handler", 5.5, "cryptography", (SCOPES,))

ARTIFACTS: Mapping[str, Artifact] = {
    "Authorizer": AUTHORIZER,
    "SharedAuthorizer": AUTHORIZER,
    "IssueToken": Artifact("functions.issue_token.handler", 5.7, "cryptography"),
    "IntrospectToken": Artifact("functions.introspect_token.handler", 5.7, "cryptography"),
    "RevokeToken": Artifact("functions.revoke_token.handler", 5.7, "cryptography"),
    "RotateKeys": Artifact("functions.rotate_keys.handler", 5.7, "cryptography"),
    "PublishJwks": Artifact("functions.publish_jwks.handler", 0.2),
    "PublishMetadata": Artifact("functions.publish_metadata.handler", 0.2),
    "PublishResourceMetadata": Artifact("functions.publish_resource_metadata.handler", 0.2, data=(SCOPES,)),
    "LookUpCountry": Artifact("functions.look_up_country.handler", 0.2, "countries"),
}
"""By the function's logical id in template.yaml."""

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements" / "artifacts"
RUNTIME = "python3.13"
ARCHITECTURE = "arm64"
TASK_ROOT = "/var/task"
"""The folder into which Lambda unpacks an artifact."""

EARLIEST = 315_532_800
"""1980 in seconds since the epoch. Zip files have no earlier times."""

_MACHINES: Mapping[str, str] = {"arm64": "aarch64", "x86_64": "x86_64"}

# Lambda's Python 3.11 runs on Amazon Linux 2 (glibc 2.26), the later ones on Amazon Linux 2023
# (glibc 2.34). pip compares platforms literally, so every platform that works is listed.
_AMAZON_LINUX_2 = ("manylinux_2_26", "manylinux_2_17", "manylinux2014")
_AMAZON_LINUX_2023 = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
_GLIBC: Mapping[str, tuple[str, ...]] = {
    "python3.11": _AMAZON_LINUX_2,
    **dict.fromkeys(("python3.12", "python3.13", "python3.14"), _AMAZON_LINUX_2023),
}

# Files of packages that no function reads. cryptography loads only the compiled backend of cffi.
# look_up_country reads one of pycountry's databases. Metadata and licences stay for scanners.
_UNUSED_FILES = (
    *("**/__pycache__", "**/*.pyi", "**/*.pyx", "**/py.typed", "**/tests"),
    *("*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED", "*.dist-info/WHEEL"),
    *("*.dist-info/direct_url.json", "*.dist-info/top_level.txt", "*.dist-info/entry_points.txt"),
    *("bin", "cffi", "pycparser", "pycparser-*.dist-info", "pycountry/locales"),
    *("pycountry/databases/iso3166-[23].json", "pycountry/databases/iso[!3]*.json"),
)


class BuildError(Exception):
    """Raised when an artifact cannot be built. The message is one sentence."""


@dataclass(frozen=True, slots=True)
class Target:
    """Runtime and architecture of the function."""

    runtime: str = RUNTIME
    architecture: str = ARCHITECTURE

    def __post_init__(self) -> None:
        for what, value, known in (("RUNTIME", self.runtime, _GLIBC), ("ARCHITECTURE", self.architecture, _MACHINES)):
            if value not in known:
                raise BuildError(f"{what} is one of {', '.join(known)}, not {value!r}.")

    def platforms(self) -> tuple[str, ...]:
        """Return the compatible wheel platforms, the best first."""
        return tuple(f"{glibc}_{_MACHINES[self.architecture]}" for glibc in _GLIBC[self.runtime])


def build(artifact: Artifact, target: Target, directory: Path) -> str | None:
    """Fill a directory. Return the Python that compiled it, None without one of that version.

    Raises:
        BuildError: a module is missing or pip failed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if artifact.lock:
        _install(LOCKS / f"{artifact.lock}.txt", target, directory)
    _delete_unused_files(directory)
    _copy(artifact, directory)
    compiler = _compiler(target)
    if compiler:
        _compile(compiler, directory)
    _normalize(directory)
    return compiler


def _install(lock: Path, target: Target, directory: Path) -> None:
    platforms = [f"--platform={platform}" for platform in target.platforms()]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-input", "--no-compile", "--no-deps", "--require-hashes", "--only-binary=:all:"),
        *("--implementation=cp", f"--python-version={target.runtime.removeprefix('python')}"),
        *(*platforms, f"--target={directory}", "-r", str(lock)),
    ]
    if subprocess.run(command, check=False).returncode:
        raise BuildError(f"pip could not install {lock.name} for {target}.")


def _copy(artifact: Artifact, directory: Path) -> None:
    """Copy the data files and the modules that the handler imports, lazily or not."""
    sources = closure(ROOT, artifact.handler).modules.values()
    for source in (*sources, *(ROOT / name for name in artifact.data)):
        destination = directory / source.relative_to(ROOT)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)


def _delete_unused_files(directory: Path) -> None:
    for pattern in _UNUSED_FILES:
        for path in list(directory.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _compiler(target: Target) -> str | None:
    """Return a Python of the target's version. No other version can compile for it."""
    version = target.runtime.removeprefix("python")
    test = f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for candidate in filter(None, (sys.executable, shutil.which(target.runtime))):
        if not subprocess.run([candidate, "-c", test], check=False, capture_output=True).returncode:
            return candidate
    return None


def _compile(python: str, directory: Path) -> None:
    """Compile to bytecode, because a function cannot write it to its read-only folder.

    Python uses it without a comparison with the source (PEP 552).
    """
    command = [
        *(python, "-S", "-m", compileall.__name__, "-q", "-j", "1"),
        *("--invalidation-mode", "unchecked-hash"),
        *("-s", str(directory), "-p", TASK_ROOT, str(directory)),
    ]
    # A fixed hash seed makes the order of sets in bytecode the same in every build. Modules that `site` would import
    # share strings with the compiler, which changes bytecode, too.
    if subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, check=False).returncode:
        raise BuildError(f"{python} could not compile {directory}.")


def _normalize(directory: Path) -> None:
    """Set fixed times and modes, independent of the builder's umask."""
    moment = max(int(os.environ.get("SOURCE_DATE_EPOCH") or EARLIEST), EARLIEST)
    for path in (*directory.rglob("*"), directory):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (moment, moment))


def main(arguments: Sequence[str]) -> int:
    """Build the artifact of one function of the template."""
    parser = argparse.ArgumentParser(prog="infra.build", description=__doc__.splitlines()[0])
    parser.add_argument("function", choices=ARTIFACTS, metavar="FUNCTION")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--runtime", default=RUNTIME)
    parser.add_argument("--architecture", default=ARCHITECTURE)
    given = parser.parse_args(arguments)
    try:
        target = Target(given.runtime, given.architecture)
        compiler = build(ARTIFACTS[given.function], target, given.directory.resolve())
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    bytecode = "with bytecode" if compiler else f"without bytecode: no {target.runtime} found"
    sys.stdout.write(f"{given.function}: {target.runtime}, {target.architecture}, {bytecode}\n")
    return 0


FIRST_PARTY = frozenset({"authorizer", "functions", "infra", "local", "tests"})
_NEVER_TRUE = frozenset({"TYPE_CHECKING", "typing.TYPE_CHECKING"})


@dataclass(frozen=True, slots=True)
class Closure:
    """The files of Gatehouse's modules by name, and the names of third-party packages."""

    modules: Mapping[str, Path]
    packages: frozenset[str]


def closure(root: Path, module: str) -> Closure:
    """Return the imports of `module`, itself and its parent packages included.

    Raises:
        BuildError: a module is not below `root`.
    """
    modules: dict[str, Path] = {}
    packages: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in modules:
            continue
        path = _file(root, name)
        if path is None:
            raise BuildError(f"There is no module {name} in {root}.")
        modules[name] = path
        parent = name.rpartition(".")[0]
        if parent:
            waiting.append(parent)
        try:
            found = list(imports(ast.parse(path.read_bytes()), name if path.name == "__init__.py" else parent))
        except ImportError as error:
            raise BuildError(f"{name}: {error}.") from error
        for imported, attributes in found:
            package = imported.partition(".")[0]
            if package in FIRST_PARTY:
                candidates = [f"{imported}.{attribute}" for attribute in attributes]
                waiting += [imported, *(each for each in candidates if _file(root, each))]
            elif package not in sys.stdlib_module_names:
                packages.add(package)
    return Closure(modules, frozenset(packages))


def _file(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def imports(node: ast.AST, package: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each module that a module of `package` imports, with the imported names."""
    match node:
        case ast.Import():
            yield from ((alias.name, ()) for alias in node.names)
        case ast.ImportFrom():
            name = "." * node.level + (node.module or "")
            yield resolve_name(name, package), tuple(alias.name for alias in node.names)
        case ast.If() if ast.unparse(node.test) in _NEVER_TRUE:
            for statement in node.orelse:
                yield from imports(statement, package)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from imports(child, package)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
