"""Optional services and the folder of control sockets of `make run`."""

import socket
import tempfile
from pathlib import Path

import pytest

from local.addresses import Addresses, with_free_ports
from local.console.control_socket import socket_of
from local.run import next_steps, socket_folder
from tests.support.laptop import free_environment


def test_taken_port_disables_an_optional_service() -> None:
    free = {name: int(port) for name, port in free_environment().items() if name.endswith("_PORT")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        addresses = Addresses(
            aws_port=free["GATEHOUSE_AWS_PORT"],
            auth_port=free["GATEHOUSE_AUTH_PORT"],
            api_port=free["GATEHOUSE_API_PORT"],
            console_port=port,
            bound_api_port=port,
            mtls_api_port=port,
        )
        addresses = with_free_ports(addresses)
    assert not any((addresses.console, addresses.bound_api, addresses.mutual_tls))
    shown = next_steps(addresses).replace(")", "")
    for variable in ("CONSOLE_PORT", "BOUND_API_PORT", "MTLS_PORT"):
        assert f"is taken: see GATEHOUSE_{variable}" in shown


def test_make_run_prints_how_to_stop_and_how_to_save_clients() -> None:
    shown = next_steps(Addresses())
    assert "Press Ctrl-C to stop it" in shown
    assert "All data is in memory and lost at the end" in shown
    assert "gatehouse --local backup FILE" in shown


def test_set_console_port_is_required() -> None:
    environ = {"GATEHOUSE_CONSOLE_PORT": "9099", "GATEHOUSE_HOST": "0.0.0.0"}
    addresses = Addresses.from_env(environ)
    assert addresses.ports()["GATEHOUSE_CONSOLE_PORT"] == 9099
    assert "GATEHOUSE_CONSOLE_PORT" not in Addresses.from_env({}).ports()
    assert addresses.console_url == "http://localhost:9099"


def test_socket_paths_are_short_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = tmp_path / ("x" * 100)
    far.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    with socket_folder() as folder:
        assert len(socket_of(folder, "guarded_api", 63)) <= 104
        assert Path(folder).stat().st_mode & 0o777 == 0o700
