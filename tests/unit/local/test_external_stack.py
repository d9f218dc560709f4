import socket

import pytest

from local.cli import LaptopError
from local.external_stack import listening, main


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--port", "65536", "'65536' is not a port number"), ("--parameter", "Stage", "'Stage' is not NAME=VALUE")],
)
def test_invalid_option_is_named(option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["template.yaml", option, value])
    assert f"argument {option}: {message}" in capsys.readouterr().err


def test_port_in_use_names_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaptopError, match=f"127.0.0.1:{port} .* another port with --port"):
            listening("127.0.0.1", port)
