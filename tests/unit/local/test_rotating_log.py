from __future__ import annotations

from typing import TYPE_CHECKING

from local.rotating_log import RotatingLog

if TYPE_CHECKING:
    from pathlib import Path


def test_a_full_file_is_replaced_and_one_older_one_is_retained(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "log", most_bytes=4)
    for data in (b"one\n", b"two\n", b"three\n", b"4\n"):
        log.write(data)
    log.close()
    assert (tmp_path / "log").read_bytes() == b"4\n"
    assert (tmp_path / "log.1").read_bytes() == b"three\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_two_writers_of_one_file_replace_it_once(tmp_path: Path) -> None:
    first, second = (RotatingLog(tmp_path / "log", most_bytes=4) for _ in range(2))
    first.write(b"one\n")
    first.write(b"2\n")
    second.write(b"3\n")
    first.close()
    second.close()
    assert (tmp_path / "log").read_bytes() == b"2\n3\n"
    assert (tmp_path / "log.1").read_bytes() == b"one\n"


def test_an_existing_file_is_continued(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"before\n")
    log = RotatingLog(tmp_path / "log")
    log.write(b"after\n")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"before\nafter\n"
