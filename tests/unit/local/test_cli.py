import signal
from collections.abc import Iterator
from errno import EBADF, ENOSPC, EROFS

import pytest

from local.cli import STOP_SIGNALS, LaptopError, run_command


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """Restore this process's signal handlers."""
    before = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (LaptopError("Do this."), "Do this.\n"),
        (OSError(ENOSPC, "No space left"), "Cannot use the disk: No space left.\n"),
        (OSError(EROFS, "Read-only", "/a/b"), "Cannot use /a/b: Read-only.\n"),
    ],
)
def test_expected_error_is_one_sentence(error: Exception, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        raise error

    assert run_command(run) == 1
    assert capsys.readouterr().err == sentence


def test_unexpected_error_has_a_traceback() -> None:
    def run() -> int:
        raise OSError(EBADF, "Bad file descriptor")

    with pytest.raises(OSError, match="Bad file descriptor"):
        run_command(run)


@pytest.mark.parametrize("signum", STOP_SIGNALS)
def test_signal_ends_a_command(signum: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        signal.raise_signal(signum)
        return 2

    assert run_command(run) == 0
    assert capsys.readouterr().out == "\nStopped.\n"
