import subprocess
import sysconfig
import venv
from pathlib import Path

from local.bootstrap import add_repository


def test_command_runs_from_any_folder(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    add_repository(environment / "bin" / "python")
    # The dependencies are those of this environment; its own .pth files are not followed from here.
    packages = next((environment / "lib").glob("python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    somebody_elses = tmp_path / "infra"
    somebody_elses.mkdir()
    (somebody_elses / "__init__.py").write_text("raise SystemExit('not ours')\n")

    shown = subprocess.run(
        [environment / "bin" / "gatehouse", "--version"], cwd=tmp_path, capture_output=True, check=False, text=True
    )
    assert shown.stderr == ""
    assert shown.stdout.startswith("gatehouse ")
