"""One laptop edition for all tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.laptop import free_environment, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.laptop import Laptop


@pytest.fixture(scope="session")
def laptop() -> Iterator[Laptop]:
    """The laptop edition, up and past its walkthrough."""
    with running(free_environment()) as laptop:
        laptop.wait_for_line("Everything is up")
        yield laptop
