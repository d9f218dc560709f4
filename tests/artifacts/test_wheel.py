"""The wheel: its names, its dependencies, and an environment with nothing else."""

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from infra.build import imports
from infra.wheel import published
from tests.support.wheel import ROOT, python_with_wheel, unpacked_wheel, wheel

DEPENDENCIES = ("cryptography", "cffi", "pycparser")
PROVIDED_BY = {
    "aws_cdk": "aws-cdk-lib",
    "constructs": "aws-cdk-lib",
    "jwt": "pyjwt",
    "yaml": "pyyaml",
    "botocore": "boto3",
}
"""Distributions whose modules have another name."""

FRAMEWORKS = {"aws_lambda_powertools", "chalice", "fastapi", "mcp", "pytest", "starlette"}
"""Imported by adapters and the pytest plugin: their users install them."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with cryptography and the wheel, installed by pip without a package index."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    packages = next((folder / "lib").glob("python*/site-packages"))
    for name in DEPENDENCIES:
        for file in distribution(name).files or ():
            target = packages / file
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), target)
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-index")
    subprocess.run([*pip, "--quiet", "--disable-pip-version-check", wheel()], check=True)
    return folder


def test_wheel_has_one_top_level_package() -> None:
    with zipfile.ZipFile(wheel()) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gatehouse"}
    data = (
        "py.typed",
        "scopes.json",
        "infra/cli/clients_schema.yaml",
        "infra/cli/rule_tests_schema.yaml",
        "infra/cli/rules_schema.yaml",
        "infra/gateway_responses.json",
    )
    assert {f"gatehouse/{name}" for name in data} <= set(names)


def test_source_distribution_has_the_build_step() -> None:
    (archive,) = wheel().parent.glob("gatehouse-*.tar.gz")
    with tarfile.open(archive) as members:
        names = {name.partition("/")[2] for name in members.getnames()}
    assert {"infra/wheel.py", "pyproject.toml", "authorizer/access_tokens.py", "infra/cli/clients_schema.yaml"} <= names


def test_modules_of_an_earlier_build_are_not_in_the_wheel(tmp_path: Path) -> None:
    (archive,) = wheel().parent.glob("gatehouse-*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    (source / "build/lib/gatehouse").mkdir(parents=True)
    (source / "build/lib/gatehouse/removed.py").touch()
    code = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-P", "-c", code], cwd=source, capture_output=True, check=True)
    (built,) = source.glob("*.whl")
    assert zipfile.ZipFile(built).namelist() == zipfile.ZipFile(wheel()).namelist()


def test_wheel_declares_its_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    library, cli, cdk = (
        {each.split(">")[0] for each in listed}
        for listed in (project["dependencies"], project["dependencies"] + extras["cli"], extras["cdk"])
    )
    imported: dict[str, set[str]] = {}
    for path in unpacked_wheel().rglob("*.py"):
        imported.setdefault(_extra(path), set()).update(_packages(path))
    # pyyaml is imported by modules that the constructs share with the command line.
    imported["cdk"].add("pyyaml")
    assert imported == {"library": library | FRAMEWORKS, "cli": cli, "cdk": cdk}


def _extra(path: Path) -> str:
    """Return the extra that a module of the wheel needs."""
    name = path.relative_to(unpacked_wheel()).as_posix()
    if name == "gatehouse/infra/cdk.py":
        return "cdk"
    return "cli" if name.startswith(("gatehouse/functions", "gatehouse/infra")) else "library"


def _packages(path: Path) -> set[str]:
    """Return the distributions that a module of the wheel imports outside of `if TYPE_CHECKING`."""
    parent = ".".join(path.parent.relative_to(unpacked_wheel()).parts)
    names = {name.partition(".")[0] for name, _ in imports(ast.parse(path.read_bytes()), parent)}
    return {PROVIDED_BY.get(name, name) for name in names - sys.stdlib_module_names - {"gatehouse"}}


def test_every_module_imports_under_its_published_name(tmp_path: Path) -> None:
    code = """
import gatehouse, pkgutil, sys, warnings
warnings.simplefilter("ignore")
for module in pkgutil.walk_packages(gatehouse.__path__, "gatehouse."):
    if not module.name.endswith(("__main__", "infra.cdk")):  # tests/artifacts/test_cdk.py imports it
        __import__(module.name)
print(gatehouse.__file__, *({"authorizer", "functions", "infra"} & set(sys.modules)))
"""
    done = python_with_wheel("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("unpacked/gatehouse/__init__.py")


USE = """
import asyncio, sys
from gatehouse import AccessTokenError, AccessTokens, HttpRequest, VerifiedToken
from gatehouse.testing import MemoryIssuer, ProofKey

issuer, key = MemoryIssuer(), ProofKey()
tokens = AccessTokens(issuer=issuer.url, audience=issuer.audience)
bound = AccessTokens(
    issuer=issuer.url, audience=issuer.audience, proof_of_possession=["dpop"], replays_in_memory=True, resource="https://api.test"
)
with issuer.serving():
    assert isinstance(tokens.verify(issuer.access_token("a"), "a"), VerifiedToken)
    assert asyncio.run(tokens.verify_async(issuer.access_token("a"), "a")).scopes == {"a"}
    headers = key.headers("GET", "https://api.test/orders", issuer.access_token(key=key))
    assert bound.verify(HttpRequest("GET", "/orders", headers.items())).confirmation
    try:
        tokens.verify(issuer.access_token(fault="forged"))
    except AccessTokenError as error:
        print(error.status, error.reason, error.headers["WWW-Authenticate"])
print(*sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names))
"""


def test_library_works_with_cryptography_only(environment: Path, tmp_path: Path) -> None:
    python = str(environment / "bin" / "python")
    done = subprocess.run([python, "-I", "-c", USE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rejection, modules = done.stdout.splitlines()
    assert rejection == '401 signature_invalid Bearer error="invalid_token"'
    assert set(modules.split()) <= {"__main__", "_cffi_backend", "_openssl", "cryptography", "gatehouse"}


def test_command_without_its_extra_names_it(environment: Path) -> None:
    done = subprocess.run([environment / "bin" / "gatehouse"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install '<path of the wheel>[cli]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from authorizer import aws\n", "from gatehouse import aws\n"),
        ("    from authorizer.clock import Deadline\n", "    from gatehouse.clock import Deadline\n"),
        ("from functions.shared.web import (\n", "from gatehouse.functions.shared.web import (\n"),
        ("from infra.cli import app\n", "from gatehouse.infra.cli import app\n"),
        ('files("authorizer")\n', 'files("gatehouse")\n'),
        ("from functions_framework import x\n", "from functions_framework import x\n"),
        ("from .authorizer import Authorizer\n", "from .authorizer import Authorizer\n"),
        ('profiles("authorizer")\n', 'profiles("authorizer")\n'),
    ],
)
def test_imports_are_rewritten(source: str, expected: str) -> None:
    assert published(source) == expected


TYPED = """
from gatehouse import AccessTokens, Nothing
tokens = AccessTokens(issuer="https://issuer.example", audience="a", algorithms=["RS256"])
reveal_type(tokens.verify("token", "scope"))
AccessTokens(issuer="https://issuer.example")
AccessTokens(issuer="https://issuer.example", audience="a", algorithm="RS256")
"""


def test_interface_is_typed(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(TYPED)
    command = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "application.py")
    environ = {**os.environ, "MYPYPATH": str(unpacked_wheel())}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    for text in (
        'Module "gatehouse" has no attribute "Nothing"',
        "fallback=gatehouse.claims.VerifiedToken]",
        'Missing named argument "audience" for "AccessTokens"',
        'Unexpected keyword argument "algorithm" for "AccessTokens"',
        "Found 3 errors in 1 file",
    ):
        assert text in done.stdout
