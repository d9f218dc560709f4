import socket

import pytest

from local.cli import LaptopError
from local.guest import listening, main


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--port", "65536", "'65536' is not a port number"),
        ("--parameter", "Stage", "'Stage' is not NAME=VALUE"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_with_its_name(
    option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["template.yaml", option, value])
    assert f"argument {option}: {said}" in capsys.readouterr().err


def test_a_taken_port_is_a_sentence_that_names_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaptopError, match=f"127.0.0.1:{port} .* another port with --port"):
            listening("127.0.0.1", port)
