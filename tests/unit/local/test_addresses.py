import os
from dataclasses import replace

import pytest

from local.addresses import AddressError, Addresses, use_local_aws


def test_default_addresses() -> None:
    addresses = Addresses.from_env({})
    assert addresses == Addresses()
    assert addresses.issuer == "http://localhost:8085/ms-auth-server"
    assert addresses.guarded_api == "http://localhost:8091/ms-system"
    assert addresses.aws_url == "http://localhost:8095"
    assert addresses.host == "127.0.0.1"


def test_variables_set_ports_and_host() -> None:
    addresses = Addresses.from_env(
        {
            "GATEHOUSE_AUTH_PORT": "9001",
            "GATEHOUSE_API_PORT": "9002",
            "GATEHOUSE_AWS_PORT": "9003",
            "GATEHOUSE_HOST": "192.0.2.7",
        }
    )
    assert addresses.issuer == "http://192.0.2.7:9001/ms-auth-server"
    assert addresses.guarded_api == "http://192.0.2.7:9002/ms-system"
    assert addresses.aws_port == 9003


@pytest.mark.parametrize(
    ("host", "in_urls"),
    [
        ("127.0.0.1", "localhost"),
        ("0.0.0.0", "localhost"),
        ("::", "localhost"),
        ("::1", "[::1]"),
        ("localhost", "localhost"),
        ("127.0.0.2", "127.0.0.2"),
        ("gatehouse.example", "gatehouse.example"),
        ("2001:db8::7", "[2001:db8::7]"),
    ],
)
def test_urls_have_a_reachable_host(host: str, in_urls: str) -> None:
    assert Addresses(host=host).origin("auth_server") == f"http://{in_urls}:8085"


def test_aws_endpoint_is_used() -> None:
    addresses = Addresses.from_env({"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"})
    assert addresses.aws_url == "http://127.0.0.1:4566"


@pytest.mark.parametrize("text", ["0", "65536", "-1", "80a", "8085 ", "9999999999", "٨٠٨٥"])
def test_invalid_port_is_rejected(text: str) -> None:
    with pytest.raises(AddressError, match=r"^GATEHOUSE_API_PORT must be a port number .*\.$"):
        Addresses.from_env({"GATEHOUSE_API_PORT": text})


def test_one_variable_moves_every_port() -> None:
    environ = {"GATEHOUSE_PORT_BASE": "9240"}
    moved = Addresses.from_env(environ)
    numbers = [
        moved.auth_port,
        moved.api_port,
        moved.bound_api_port,
        moved.aws_port,
        moved.mtls_auth_port,
        moved.mtls_api_port,
        moved.mtls_bound_api_port,
        moved.console_port,
    ]
    assert numbers == list(range(9240, 9248))
    assert Addresses.from_env({**environ, "GATEHOUSE_API_PORT": "9000"}) == replace(
        moved, api_port=9000, pinned=frozenset({"guarded_api"})
    )
    assert Addresses.from_env({**environ, "GATEHOUSE_CONSOLE_PORT": "off"}).console is False


@pytest.mark.parametrize("text", ["0", "65529", "x"])
def test_invalid_first_port_is_rejected(text: str) -> None:
    with pytest.raises(AddressError, match=r"^GATEHOUSE_PORT_BASE must be a port number from 1 to 65528, not"):
        Addresses.from_env({"GATEHOUSE_PORT_BASE": text})


def test_shared_port_is_rejected() -> None:
    with pytest.raises(AddressError, match="a port of its own"):
        Addresses.from_env({"GATEHOUSE_API_PORT": "8085"})


def test_single_api_is_addressed_by_its_port() -> None:
    addresses = Addresses.from_env({})
    auth_server = addresses.serving("auth_server", "127.0.0.1", 9000)
    guarded_api = addresses.serving("guarded_api", "192.0.2.7", 9000)
    assert auth_server.issuer == "http://localhost:9000/ms-auth-server"
    assert guarded_api.origin("guarded_api") == "http://192.0.2.7:9000"
    assert guarded_api.auth_port == 8085


def test_set_address_is_used_in_urls() -> None:
    pinned = Addresses.from_env(
        {"GATEHOUSE_AUTH_PORT": "443", "GATEHOUSE_API_PORT": "8443", "GATEHOUSE_HOST": "gatehouse.example"}
    )
    auth_server = pinned.serving("auth_server", "127.0.0.1", 9000)
    assert auth_server.origin("auth_server") == "http://gatehouse.example:443"
    assert pinned.serving("guarded_api", "127.0.0.1", 9000).api_port == 8443


@pytest.mark.parametrize("host", ["dynamodb.eu-west-1.amazonaws.com", "sts.eu-west-1.api.aws"])
def test_real_aws_endpoint_is_rejected(host: str) -> None:
    with pytest.raises(AddressError, match="a real AWS endpoint"):
        Addresses.from_env({"AWS_ENDPOINT_URL": f"https://{host}"})
    assert Addresses.from_env({"AWS_ENDPOINT_URL": "http://aws:4566"}).aws_url == "http://aws:4566"


def test_developers_aws_settings_are_removed() -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_SESSION_TOKEN": "real",
        "AWS_PROFILE": "production",
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_DYNAMODB": "https://dynamodb.eu-west-1.amazonaws.com",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
        "HOME": "/home/me",
    }
    use_local_aws(environ, Addresses())
    assert "real" not in environ.values()
    assert "AKIAREAL" not in environ.values()
    assert environ["AWS_ENDPOINT_URL"] == "http://localhost:8095"
    assert environ["AWS_REGION"] == environ["AWS_DEFAULT_REGION"] == "us-east-1"
    assert environ["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    removed = {"PROFILE", "SESSION_TOKEN", "ENDPOINT_URL_DYNAMODB", "USE_FIPS_ENDPOINT"}
    assert not {f"AWS_{name}" for name in removed} & set(environ)
    assert environ["HOME"] == "/home/me"
