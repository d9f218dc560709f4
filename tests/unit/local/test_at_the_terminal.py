from __future__ import annotations

import signal
from errno import EBADF, ENOSPC, EROFS
from typing import TYPE_CHECKING

import pytest

from local.at_the_terminal import ENDING, at_the_terminal
from local.errors import LaptopError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """Give this process its handlers back."""
    before = {signum: signal.getsignal(signum) for signum in ENDING}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        (LaptopError("Do this."), "Do this.\n"),
        (OSError(ENOSPC, "No space left"), "Cannot use the disk: No space left.\n"),
        (OSError(EROFS, "Read-only", "/a/b"), "Cannot use /a/b: Read-only.\n"),
    ],
)
def test_a_known_trouble_is_one_sentence(
    trouble: Exception, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> int:
        raise trouble

    assert at_the_terminal(run) == 1
    assert capsys.readouterr().err == sentence


def test_a_trouble_of_our_own_keeps_its_traceback() -> None:
    def run() -> int:
        raise OSError(EBADF, "Bad file descriptor")

    with pytest.raises(OSError, match="Bad file descriptor"):
        at_the_terminal(run)


@pytest.mark.parametrize("signum", ENDING)
def test_a_signal_says_stopped(signum: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        signal.raise_signal(signum)
        return 2

    assert at_the_terminal(run) == 0
    assert capsys.readouterr().out == "\nStopped.\n"
