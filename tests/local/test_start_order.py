"""No port of the laptop edition answers anything but 503 before everything is provisioned, nor after its end."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping

import pytest
import requests

from infra.local_stack import PORTS, read_access_key
from local.certificates import LaptopCertificates
from local.prefork import WORKERS
from tests.support.chalice import chalice_local
from tests.support.laptop import ROOT, free_environment, is_listening, running, wait_until, wait_until_free

EVERY_SECONDS = 0.02
TOKEN = "/ms-auth-server/oauth2/token"
FORM = {
    "grant_type": "client_credentials",
    "client_id": "service-client-jwt",
    "client_secret": "service-client-jwt-secret",
}
RIGHT: Mapping[str, tuple[str, str, int]] = {
    "GATEHOUSE_AUTH_PORT": ("POST", TOKEN, 200),
    "GATEHOUSE_API_PORT": ("GET", "/ms-system/country", 401),
    "GATEHOUSE_BOUND_API_PORT": ("GET", "/ms-system/country", 401),
    "GATEHOUSE_AWS_PORT": ("GET", "/", 403),
    "GATEHOUSE_MTLS_PORT": ("GET", "/ms-auth-server/oauth2/jwks", 200),
    "GATEHOUSE_MTLS_API_PORT": ("GET", "/ms-system/country", 401),
    "GATEHOUSE_MTLS_BOUND_API_PORT": ("GET", "/ms-system/country", 401),
    "GATEHOUSE_CONSOLE_PORT": ("GET", "/", 200),
}
"""A request to each port, and the status of the finished laptop edition."""


class Watch:
    """Sends each port a request every 20 ms, and notes the statuses of its answers."""

    def __init__(self, environ: Mapping[str, str], names: tuple[str, ...]) -> None:
        self._environ = environ
        self.statuses: dict[str, list[int]] = defaultdict(list)
        self.early: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(name,)) for name in names]

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """Ask no more: when the laptop edition ends, its processes end in any order."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, name: str) -> None:
        while not self._over.wait(EVERY_SECONDS):
            with contextlib.suppress(requests.RequestException):
                status = self._status(name)
                self.statuses[name].append(status)
                # moto writes its access key when it is provisioned.
                if status != 503 and not self._is_provisioned():
                    self.early.append(f"{name}: {status}")

    def _is_provisioned(self) -> bool:
        return read_access_key(int(self._environ["GATEHOUSE_AWS_PORT"])) is not None

    def _status(self, name: str) -> int:
        method, path, _ = RIGHT[name]
        certificates, is_secure = LaptopCertificates.ensure(), "MTLS" in name
        url = f"{'https' if is_secure else 'http'}://localhost:{self._environ[name]}{path}"
        cert, trust = str(certificates.client) if is_secure else None, str(certificates.authority)
        form = FORM if method == "POST" else None
        return requests.request(method, url, data=form, cert=cert, verify=trust, timeout=9).status_code

    def wait_until_right(self, *names: str) -> None:
        wait_until(lambda: all(self.statuses[name][-1:] == [RIGHT[name][2]] for name in names), 60)

    def check(self) -> None:
        """Fail for an answer other than 503 and, once everything works, the right one."""
        assert self.early == []
        for name, statuses in self.statuses.items():
            assert set(statuses) <= {503, RIGHT[name][2]}, (name, statuses)


@pytest.mark.parametrize(("workers", "signum"), [("1", signal.SIGINT), ("3", signal.SIGKILL)])
def test_make_run_answers_503_until_provisioned_and_ends(workers: str, signum: signal.Signals) -> None:
    environ = free_environment() | {WORKERS: workers}
    watch = Watch(environ, tuple(PORTS))
    with watch.on(), running(environ) as laptop:
        laptop.wait_for_line("Everything is up")
        watch.wait_until_right(*PORTS)
        watch.end()
        laptop.process.send_signal(signum)
        code = laptop.process.wait(timeout=15)
    watch.check()
    assert code == (-signal.SIGKILL if signum is signal.SIGKILL else 0)
    wait_until_free(environ)


def test_separate_apis_wait_for_moto() -> None:
    environ = free_environment() | {WORKERS: "2"}
    names = ("GATEHOUSE_AUTH_PORT", "GATEHOUSE_API_PORT", "GATEHOUSE_AWS_PORT")
    auth, api, _ = (int(environ[name]) for name in names)
    watch = Watch(environ, names)
    with (
        watch.on(),
        chalice_local("auth_server", auth, environ, "--no-autoreload"),
        chalice_local("guarded_api", api, environ),
    ):
        watch.wait_until_right(*names)
        watch.end()
    watch.check()


def test_restarted_api_waits_for_provisioning() -> None:
    environ = free_environment()
    names = ("GATEHOUSE_AUTH_PORT", "GATEHOUSE_AWS_PORT")
    port = int(environ["GATEHOUSE_AUTH_PORT"])
    watch = Watch(environ, names)
    with watch.on():
        for _ in range(2):
            moto = subprocess.Popen([sys.executable, "-m", "local.emulated_aws"], cwd=ROOT, env=environ)
            wait_until(lambda: is_listening(int(environ["GATEHOUSE_AWS_PORT"])), 30)
            with chalice_local("auth_server", port, environ, "--no-autoreload") as process:
                watch.wait_until_right(*names)
                moto.kill()  # its access key stays behind
                moto.wait()
                assert process.wait(timeout=10) == 1
    assert set(watch.statuses["GATEHOUSE_AUTH_PORT"]) == {200}
    assert set(watch.statuses["GATEHOUSE_AWS_PORT"]) <= {403, 503}
