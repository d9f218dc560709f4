"""`gatehouse` as a real process: on the laptop edition, and from nothing but its wheel."""

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import requests

from tests.support.laptop import Laptop, gatehouse
from tests.support.wheel import wheel


def token_status(laptop: Laptop, client_id: str, secret: str) -> int:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return requests.post(laptop.token_endpoint, form, timeout=10).status_code


def test_created_client_gets_tokens(laptop: Laptop, tmp_path: Path) -> None:
    created = gatehouse(laptop, "clients", "create", "billing", "--scope", "country.read")
    assert created.returncode == 0, created.stderr
    assert token_status(laptop, "billing", created.stdout.strip()) == 200
    assert token_status(laptop, "billing", "another") == 401

    file = tmp_path / "clients.yaml"
    file.write_text(gatehouse(laptop, "clients", "export").stdout)
    assert gatehouse(laptop, "clients", "diff", str(file)).returncode == 0
    file.write_text(file.read_text().replace("- client_id: billing", "- client_id: invoicing"))
    applied = gatehouse(laptop, "clients", "apply", str(file), "--yes", "--json")
    assert {each["client_id"]: each["change"] for each in json.loads(applied.stdout)["changes"]} == {
        "billing": "not in the file",
        "invoicing": "create",
    }
    rotated = gatehouse(laptop, "clients", "rotate-secret", "invoicing")
    assert token_status(laptop, "invoicing", rotated.stdout.strip()) == 200
    assert gatehouse(laptop, "clients", "delete", "invoicing").returncode == 2
    for client_id in ("invoicing", "billing"):
        assert gatehouse(laptop, "clients", "delete", client_id, "--yes").returncode == 0


def test_imported_secret_still_works(laptop: Laptop, tmp_path: Path) -> None:
    export = tmp_path / "hydra.json"
    entry = {
        "client_id": "from-hydra",
        "client_secret": "hydra-secret",
        "grant_types": ["client_credentials"],
        "scope": "country.read",
        "token_endpoint_auth_method": "client_secret_post",
        "access_token_strategy": "opaque",
    }
    export.write_text(json.dumps({"items": [entry]}))
    imported = gatehouse(laptop, "clients", "import", "hydra", str(export), "--yes")
    assert imported.returncode == 0, imported.stderr
    assert token_status(laptop, "from-hydra", "hydra-secret") == 200
    gatehouse(laptop, "clients", "delete", "from-hydra", "--yes")


def test_backup_restores_the_local_stack(laptop: Laptop, tmp_path: Path) -> None:
    file = str(tmp_path / "backup.json")
    secret = gatehouse(laptop, "clients", "create", "kept").stdout.strip()
    assert gatehouse(laptop, "backup", file).returncode == 0
    gatehouse(laptop, "clients", "delete", "kept", "--yes")
    assert gatehouse(laptop, "restore", file, "--yes").returncode == 0
    assert token_status(laptop, "kept", secret) == 200
    gatehouse(laptop, "clients", "delete", "kept", "--yes")


def test_stopped_stack_names_the_start_command(laptop: Laptop) -> None:
    refused = gatehouse(laptop, "clients", "list", GATEHOUSE_AWS_PORT="9")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "make run" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_wheel_runs_without_the_repository(laptop: Laptop, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    install = (str(Path(sys.executable).parent / "uv"), "pip", "install", "--offline", "--no-deps")
    python = environment / "bin" / "python"
    installed = subprocess.run(
        [*install, "--python", str(python), str(wheel())], capture_output=True, text=True, check=False
    )
    assert installed.returncode == 0, installed.stderr
    # Its dependencies are those of this environment; this environment's way to the repository,
    # another .pth file, is not followed from there.
    packages = next((environment / "lib").glob("python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    command = (str(environment / "bin" / "gatehouse"),)
    listed = gatehouse(laptop, "clients", "list", "--json", command=command, cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "service-client-jwt" in {each["client_id"] for each in json.loads(listed.stdout)}
    code = "import gatehouse.infra.cli as package; print(package.__file__)"
    where = subprocess.run([str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert where.stdout.startswith(str(packages))
