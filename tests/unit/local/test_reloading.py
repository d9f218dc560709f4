import os
import threading
from pathlib import Path

import pytest

from local import reloading


def tree(root: Path) -> Path:
    for folder in ("functions/one", "authorizer", "local", "docs"):
        (root / folder).mkdir(parents=True)
    (root / "template.yaml").write_text("Resources: {}", encoding="utf-8")
    handler = root / "functions/one/handler.py"
    handler.write_text("", encoding="utf-8")
    return handler


def test_code_and_template_are_watched_and_nothing_else(tmp_path: Path) -> None:
    handler = tree(tmp_path)
    before = reloading.snapshot(tmp_path)
    for unwatched in ("docs/new.py", "functions/one/handler.pyc", "local/notes.txt"):
        (tmp_path / unwatched).write_text("", encoding="utf-8")
    assert reloading.snapshot(tmp_path) == before
    os.utime(handler, (1, 1))
    assert reloading.snapshot(tmp_path) != before


def test_a_new_and_a_lost_file_are_noticed(tmp_path: Path) -> None:
    handler = tree(tmp_path)
    before = reloading.snapshot(tmp_path)
    handler.unlink()
    assert reloading.snapshot(tmp_path) != before
    handler.write_text("", encoding="utf-8")
    (tmp_path / "authorizer/scopes.json").write_text("{}", encoding="utf-8")
    assert len(reloading.snapshot(tmp_path)) == len(before) + 1


def test_a_change_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "_POLL_SECONDS", 0.01)
    handler = tree(tmp_path)
    changed, orphaned = threading.Event(), threading.Event()
    reloading.watch(tmp_path, changed.set, orphaned.set)
    assert not changed.is_set()
    os.utime(handler, (1, 1))
    assert changed.wait(5)
    assert not orphaned.is_set()


def test_the_end_of_the_parent_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "_POLL_SECONDS", 0.01)
    tree(tmp_path)
    changed, orphaned = threading.Event(), threading.Event()
    parents = iter([7, 7, 1])
    reloading.watch(tmp_path, changed.set, orphaned.set, lambda: next(parents))
    assert orphaned.wait(5)
    assert not changed.is_set()
