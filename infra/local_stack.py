"""Ports and resource names of the local stack, for `local/` and the command line."""

import ipaddress
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

STACK_NAME = "gatehouse"
REGION = "us-east-1"
AUTH_STAGE = "ms-auth-server"
API_STAGE = "ms-system"

PORTS: Mapping[str, int] = {
    "GATEHOUSE_AUTH_PORT": 8085,
    "GATEHOUSE_API_PORT": 8091,
    "GATEHOUSE_BOUND_API_PORT": 8092,
    "GATEHOUSE_AWS_PORT": 8095,
    "GATEHOUSE_MTLS_PORT": 8443,
    "GATEHOUSE_MTLS_API_PORT": 8444,
    "GATEHOUSE_MTLS_BOUND_API_PORT": 8445,
    "GATEHOUSE_CONSOLE_PORT": 8099,
}
"""Each port's variable and its default."""

SIGNING_ALGORITHMS = "GATEHOUSE_SIGNING_ALGORITHMS"
"""The variable with the parameter SigningAlgorithms of the laptop edition."""

PORT_BASE = "GATEHOUSE_PORT_BASE"
"""The first of eight consecutive ports, in the order of PORTS. A port's own variable has precedence."""

TABLES = ("ClientsTable", "TrustTable", "TokensTable", "StateTable")
SECRETS = ("KeyRingSecret", "SigningKeysSecret", "DpopNonceSecret", "IntrospectionCredentials")
KEYS = ("DataKey",)
"""Logical ids in template.yaml. A test compares them."""

_LAST_PORT = 65_535
_RUNTIME_FOLDERS = Path("/run/user")  # one for each user: pam_systemd(8)

# The address of localhost on every system. Other loopback addresses are used as they are.
_LOCALHOST = "127.0.0.1"


def parse_port(text: str, least: int = 1) -> int:
    """Parse a port number; raises ValueError."""
    if text.isascii() and text.isdigit() and least <= int(text[:6]) <= _LAST_PORT:
        return int(text)
    raise ValueError(f"{text!r} is not a port number")


def read_port(environ: Mapping[str, str], name: str) -> int:
    """Return a port of the laptop edition.

    Raises:
        ValueError: the variable of the port, or of the first port, is not valid.
    """
    variable, last, offset = name, _LAST_PORT, 0
    if not environ.get(name):
        if not environ.get(PORT_BASE):
            return PORTS[name]
        variable, last, offset = PORT_BASE, _LAST_PORT + 1 - len(PORTS), list(PORTS).index(name)
    with suppress(ValueError):
        if (port := parse_port(environ[variable])) <= last:
            return port + offset
    raise ValueError(f"{variable} must be a port number from 1 to {last}, not {environ[variable]!r}")


def secret_name(logical_id: str) -> str:
    """Return the name of a secret of the template. Services accept it in place of its ARN."""
    return f"{STACK_NAME}/{logical_id}"


def physical_names() -> dict[str, str]:
    """Return the names of tables, secrets and keys by logical id, as CloudFormation would."""
    return {
        **{logical_id: f"{STACK_NAME}-{logical_id}" for logical_id in TABLES},
        **{logical_id: secret_name(logical_id) for logical_id in SECRETS},
        **{logical_id: f"alias/{STACK_NAME}-{logical_id}" for logical_id in KEYS},
    }


def access_key_file(aws_port: int) -> Path:
    """Return the file with the access key of the moto on this port, for its user only.

    The key is random for each run. The file is outside the checkout, because an installed
    `gatehouse` has no checkout. It is in systemd's folder for the user, which other users cannot
    create. Without systemd it is in the temporary directory.
    """
    runtime = _RUNTIME_FOLDERS / str(os.getuid())
    folder = runtime if runtime.is_dir() else Path(tempfile.gettempdir())
    return folder / f"gatehouse-{os.getuid()}" / f"aws-{aws_port}.key"


def read_access_key(aws_port: int) -> str | None:
    """Return the access key of the moto on this port, None if this user has not started one."""
    file = access_key_file(aws_port)
    if not is_private_folder(file.parent):
        return None
    try:
        return file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def is_private_folder(folder: Path) -> bool:
    """Return whether a folder belongs to this user, with mode 0700. A link does not."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return (found.st_mode, found.st_uid) == (stat.S_IFDIR | 0o700, os.getuid())


def url_host(host: str) -> str:
    """Return the host of URLs for a bind address: localhost if possible, IPv6 in brackets."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified or str(address) == _LOCALHOST:
        return "localhost"
    return f"[{address}]" if address.version == 6 else str(address)
