import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

import infra.build as recipe
from infra.build import ARTIFACTS, Target
from local.emulated_aws import TEMPLATE, names, provision
from local.gateway.template import Template
from tests.support.artifacts import host
from tests.support.aws import CREDENTIALS
from tests.support.lambda_runtime import REGION, LambdaProcess, make_runtime, started


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all artifacts, built for this machine. The packages of a lock file are installed once."""

    @cache
    def installed(lock: Path, target: Target) -> Path:
        folder = tmp_path_factory.mktemp(lock.stem)
        install(lock, target, folder)
        return folder

    def copy(lock: Path, target: Target, folder: Path) -> None:
        shutil.copytree(installed(lock, target), folder, dirs_exist_ok=True)

    install = recipe._install
    directory = tmp_path_factory.mktemp("build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "_install", copy)
        for name, artifact in ARTIFACTS.items():
            recipe.build(artifact, host(), directory / name)
    return directory


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the packages of a Lambda runtime."""
    return make_runtime(tmp_path_factory.mktemp("runtime") / "packages")


@dataclass
class Stack:
    """The template's stack: moto as the AWS, and functions that start from their artifacts."""

    build: Path
    runtime: Path
    template: Template
    aws_url: str

    @contextmanager
    def start(self, function: str, auth_server: str = "http://localhost:1", **changes: str) -> Iterator[LambdaProcess]:
        """Start a function with the template's handler and environment, in Lambda's limits."""
        declared = self.template.function(function, names(), {"AuthServerApi": auth_server})
        environ = {**declared.environment, "AWS_ENDPOINT_URL": self.aws_url, **changes}
        task_root = self.build / function
        before = _times(task_root)
        with started(task_root, declared.handler, self.runtime, environ) as process:
            assert process.init_seconds < 10
            yield process
        assert _times(task_root) == before, "Lambda's task root is read-only"


def _times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@contextmanager
def running_stack(build: Path, runtime: Path) -> Iterator[Stack]:
    """Start moto with the template's tables, secrets and keys."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host_name, port = server.get_host_and_port()
    url = f"http://{host_name}:{port}"
    template = Template.read(TEMPLATE)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": url}.items():
            patch.setenv(name, value)
        provision(template)
    try:
        yield Stack(build, runtime, template, url)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def stack(build: Path, runtime: Path) -> Iterator[Stack]:
    with running_stack(build, runtime) as running:
        yield running
