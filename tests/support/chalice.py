"""One `chalice local` process, started manually like a user does."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from tests.support import log_record
from tests.support.laptop import ROOT, is_listening, wait_until

CHALICE_LOCAL = (str(Path(sys.executable).with_name("chalice")), "local")


def refusal_to_start(project: str, environ: Mapping[str, str]) -> str:
    """Return what `chalice local` prints to stderr if it does not start."""
    ended = subprocess.run(
        [*CHALICE_LOCAL, "--no-autoreload", "--port", environ["GATEHOUSE_AUTH_PORT"]],
        cwd=ROOT / "local" / project,
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    return ended.stderr


@contextlib.contextmanager
def chalice_local(
    project: str | Path, port: int, environ: Mapping[str, str], *options: str, output: IO[str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run `cd local/<project> && chalice local --port <port>` until the block is left.

    `project` may be a folder elsewhere. `output` takes what the functions print.
    """
    kept = log_record.new_file("chalice-local").open("w", encoding="utf-8")
    process = subprocess.Popen(
        [*CHALICE_LOCAL, "--port", str(port), *options],
        cwd=ROOT / "local" / project,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=output or kept,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: is_listening(port) or process.poll() is not None, 30)
        assert process.poll() is None, "chalice local ended"
        yield process
    finally:
        # As Ctrl-C does: chalice's reloader is two processes.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=10)
        kept.close()
        if output is not None:
            log_record.keep("chalice-local", [Path(output.name).read_text(encoding="utf-8")])
