"""One `chalice local` process, started manually like a user does."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from tests.support import log_record
from tests.support.laptop import ROOT, is_listening


@contextlib.contextmanager
def chalice_local(
    project: str | Path, port: int, environ: Mapping[str, str], *options: str, output: IO[str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run `cd local/<project> && chalice local --port <port>` until the block is left.

    `project` may be a folder elsewhere. `output` takes what the functions print.
    """
    chalice = Path(sys.executable).parent / "chalice"
    kept = log_record.new_file("chalice-local").open("w", encoding="utf-8")
    process = subprocess.Popen(
        [str(chalice), "local", "--port", str(port), *options],
        cwd=ROOT / "local" / project,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=output or kept,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not is_listening(port):
            assert process.poll() is None, "chalice local ended"
            assert time.monotonic() < deadline, "chalice local does not listen"
            time.sleep(0.05)
        yield process
    finally:
        # As Ctrl-C does: chalice's reloader is two processes.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=10)
        kept.close()
        if output is not None:
            log_record.keep("chalice-local", [Path(output.name).read_text(encoding="utf-8")])
