from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from infra.build import ARTIFACTS
from local.emulated_aws import TEMPLATE, names, provision
from local.gateway.template import Template
from tests.support.artifacts import host, make
from tests.support.lambda_runtime import REGION, LambdaProcess, make_runtime, started


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all artifacts, built for this machine."""
    directory = tmp_path_factory.mktemp("build")
    for function in ARTIFACTS:
        make(function, directory / function, host())
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

    def start(
        self, function: str, auth_server: str = "http://localhost:1", **changes: str
    ) -> AbstractContextManager[LambdaProcess]:
        """Start a function with the template's handler and environment."""
        declared = self.template.function(function, names(self.template), {"AuthServerApi": auth_server})
        environ = {**declared.environment, "AWS_ENDPOINT_URL": self.aws_url, **changes}
        return started(self.build / function, declared.handler, self.runtime, environ)


@pytest.fixture(scope="session")
def stack(build: Path, runtime: Path) -> Iterator[Stack]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host_name, port = server.get_host_and_port()
    url = f"http://{host_name}:{port}"
    environ: Mapping[str, str] = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
    }
    template = Template.read(TEMPLATE)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        provision(template)
    try:
        yield Stack(build, runtime, template, url)
    finally:
        server.stop()
