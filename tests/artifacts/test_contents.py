"""Contents of an artifact: all that its handler imports, and nothing else."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra import package
from infra.build import (
    ARCHITECTURE,
    ARTIFACTS,
    FIRST_PARTY,
    LOCKS,
    ROOT,
    RUNTIME,
    Artifact,
    BuildError,
    Target,
    closure,
)
from infra.build import build as build_artifact
from infra.build import main as build_main
from infra.cloudformation import load
from infra.package import measure, zip_bytes
from local.emulated_aws import TEMPLATE, names
from local.gateway.template import Template
from tests.support.artifacts import host, make

# Modules that import a package only when asked for what these artifacts never ask for.
NEVER_ASKED: Mapping[str, set[str]] = {
    # The client certificate that every request may bring, and that only clients are known by.
    name: {"cryptography"}
    for name in ("PublishJwks", "PublishMetadata", "PublishResourceMetadata", "LookUpCountry")
}


def _handler(function: str) -> str:
    template = Template.read(TEMPLATE)
    return template.function(function, names()).handler.rpartition(".")[0]


def _locked(lock: str | None) -> set[str]:
    lines = (LOCKS / f"{lock}.txt").read_text().splitlines() if lock else []
    return {line.partition("==")[0] for line in lines if "==" in line}


def test_every_function_of_the_template_is_an_artifact() -> None:
    functions = {name for name, _ in Template.read(TEMPLATE).function_properties()}
    assert functions == set(ARTIFACTS)


@pytest.mark.parametrize("function", ARTIFACTS)
def test_an_artifact_has_its_handler_and_packages(function: str) -> None:
    artifact = ARTIFACTS[function]
    assert artifact.handler == _handler(function)
    # Lambda's runtime has boto3. Its import takes most of a cold start, so that only this function may import it.
    runtime_brings = {"boto3", "botocore"} if function == "RotateKeys" else set()
    needed = closure(ROOT, artifact.handler).packages - runtime_brings
    missing = needed - _locked(artifact.lock)
    assert missing == NEVER_ASKED.get(function, set())


@pytest.mark.parametrize("function", ARTIFACTS)
def test_a_built_artifact_holds_only_reachable_modules(build: Path, function: str) -> None:
    directory = build / function
    reached = closure(directory, _handler(function)).modules  # fails where a module is missing
    first_party = {path for folder in FIRST_PARTY for path in (directory / folder).rglob("*") if path.is_file()}
    data = {directory / name for name in ARTIFACTS[function].data}
    assert {path for path in first_party if path.suffix != ".pyc"} == {*reached.values(), *data}
    packages = {name.split(".")[1] for name in reached if name.count(".") > 1}
    assert packages <= {"shared", _handler(function).split(".")[1]}
    assert not list(directory.glob("boto*"))
    found = {path.name for path in directory.rglob("*")}
    assert not found & {"tests", "py.typed", "RECORD", "INSTALLER", "pycparser", "locales", "bin"}
    assert not [name for name in found if name.endswith((".pyi", ".pyx"))]
    # The bytecode of every source, and of nothing else.
    sources = {path.stem for path in directory.rglob("*.py")}
    compiled = {tuple(path.name.split(".")) for path in directory.rglob("*.pyc")}
    assert compiled == {(name, sys.implementation.cache_tag, "pyc") for name in sources}


def test_every_artifact_fits_its_budget(build: Path) -> None:
    artifacts = {each.name: each for each in measure(build)}
    assert artifacts.keys() == ARTIFACTS.keys()
    assert [name for name, each in artifacts.items() if each.is_over_budget] == []
    assert ARTIFACTS["Authorizer"].budget <= 5.5
    assert {ARTIFACTS[name].budget for name in NEVER_ASKED} == {0.2}


def test_a_build_over_its_budget_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, size in (("PublishJwks", 200_001), ("LookUpCountry", 100_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").write_bytes(os.urandom(size))
    assert package.main([str(tmp_path)]) == 1
    assert "Over budget: PublishJwks. The budgets are in infra/build.py.\n" in capsys.readouterr().out


def test_zip_files_have_versions_targets_and_digests(tmp_path: Path) -> None:
    for name in ("Authorizer", "SharedAuthorizer", "PublishJwks"):
        (tmp_path / "build" / name).mkdir(parents=True)
        (tmp_path / "build" / name / "handler.py").write_text(name.removeprefix("Shared"))
    dist = tmp_path / "dist"
    command = [str(tmp_path / "build"), "--into", str(dist)]
    assert package.main([*command, "--architecture", "arm64"]) == 0
    assert package.main([*command, "--architecture", "x86_64", "--runtime", "python3.12"]) == 0
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {path.name for path in dist.glob("*.zip")} == {
        f"gatehouse-{name}-{version}-{target}.zip"
        for name in ("authorizer", "publish-jwks")
        for target in ("python3.13-arm64", "python3.12-x86_64")
    }
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], check=False, cwd=dist, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(": OK\n") == 4
    archive = dist / f"gatehouse-authorizer-{version}-python3.13-arm64.zip"
    assert archive.read_bytes() == zip_bytes(tmp_path / "build" / "Authorizer")


@pytest.mark.parametrize("function", ["IssueToken", "LookUpCountry"])
def test_two_builds_have_the_same_bytes(build: Path, tmp_path: Path, function: str) -> None:
    # As the first build was made while other artifacts were, and under another path.
    make(function, tmp_path / "a" / "longer" / "path", host())
    again = tmp_path / "a" / "longer" / "path"
    assert zip_bytes(again) == zip_bytes(build / function)
    assert {path.stat().st_mtime for path in again.rglob("*")} == {315_532_800}


@pytest.mark.parametrize("lock", sorted(path.stem for path in LOCKS.glob("*.in")))
def test_lock_files_are_complete_and_consistent(lock: str) -> None:
    # No markers: pip evaluates them for the machine that it runs on, not for the one it builds for.
    pins = [
        re.fullmatch(r"([\w.-]+==[\w.]+)( +--hash=sha256:[0-9a-f]{64})+", line)
        for line in (LOCKS / f"{lock}.txt").read_text().replace("\\\n", "").splitlines()
    ]
    assert pins
    laptop = (ROOT / "requirements" / "laptop.txt").read_text()
    for pin in pins:
        assert pin is not None
        assert f"{pin[1]} " in laptop, "artifacts run on what the tests ran on"


def test_the_recipe_builds_for_what_the_template_declares() -> None:
    parameters = load(TEMPLATE)["Parameters"]
    assert parameters["Runtime"]["Default"] == RUNTIME
    assert parameters["Architecture"]["Default"] == ARCHITECTURE
    recipe = (ROOT / "infra" / "Makefile").read_text()
    assert f"RUNTIME ?= {RUNTIME}\n" in recipe
    assert f"ARCHITECTURE ?= {ARCHITECTURE}\n" in recipe
    for runtime in parameters["Runtime"]["AllowedValues"]:
        for architecture in parameters["Architecture"]["AllowedValues"]:
            assert Target(runtime, architecture).platforms()


def test_another_python_version_leaves_no_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "python3.14" if sys.version_info[:2] != (3, 14) else "python3.13"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build_artifact(ARTIFACTS["PublishJwks"], Target(other, "arm64"), tmp_path) is None
    assert list(tmp_path.rglob("*.py"))
    assert not list(tmp_path.rglob("*.pyc"))


def test_the_table_prints_the_size_of_artifacts(
    build: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small = tmp_path / "small"  # zipping all of them takes a while
    small.mkdir()
    for function in ("LookUpCountry", "PublishJwks"):
        (small / function).symlink_to(build / function)
    for arguments, code, printed in (
        ([small], 0, "LookUpCountry "),
        ([small, "--against", small], 0, "Both builds have the same bytes.\n"),
        ([small, "--against", tmp_path], 1, "Both builds differ: LookUpCountry, PublishJwks.\n"),
        ([tmp_path], 1, "artifact "),
    ):
        assert package.main([str(each) for each in arguments]) == code
        assert printed in capsys.readouterr().out


def test_a_build_error_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_main(["PublishJwks", str(tmp_path), "--runtime", "python2.7"]) == 1
    assert capsys.readouterr().err.startswith("RUNTIME is one of python3.11")
    with pytest.raises(BuildError, match="ARCHITECTURE is one of"):
        Target("python3.13", "mips")
    with pytest.raises(BuildError, match=r"no module functions\.nothing"):
        build_artifact(Artifact("functions.nothing", 1), Target(), tmp_path)
