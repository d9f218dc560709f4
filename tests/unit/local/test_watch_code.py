import os
import threading
from pathlib import Path

import pytest

from local import chalice_app


def tree(root: Path) -> Path:
    for folder in ("functions/one", "authorizer", "local", "docs"):
        (root / folder).mkdir(parents=True)
    (root / "template.yaml").write_text("Resources: {}", encoding="utf-8")
    handler = root / "functions/one/handler.py"
    handler.write_text("", encoding="utf-8")
    return handler


def test_only_code_and_template_are_watched(tmp_path: Path) -> None:
    handler = tree(tmp_path)
    before = chalice_app.snapshot(tmp_path)
    for unwatched in ("docs/new.py", "functions/one/handler.pyc", "local/notes.txt"):
        (tmp_path / unwatched).write_text("", encoding="utf-8")
    assert chalice_app.snapshot(tmp_path) == before
    os.utime(handler, (1, 1))
    assert chalice_app.snapshot(tmp_path) != before


def test_new_and_deleted_files_are_detected(tmp_path: Path) -> None:
    handler = tree(tmp_path)
    before = chalice_app.snapshot(tmp_path)
    handler.unlink()
    assert chalice_app.snapshot(tmp_path) != before
    handler.write_text("", encoding="utf-8")
    (tmp_path / "authorizer/scopes.json").write_text("{}", encoding="utf-8")
    assert len(chalice_app.snapshot(tmp_path)) == len(before) + 1


def test_change_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chalice_app, "_POLL_SECONDS", 0.01)
    handler = tree(tmp_path)
    changed, orphaned = threading.Event(), threading.Event()
    chalice_app.watch_code(tmp_path, changed.set, orphaned.set)
    assert not changed.is_set()
    os.utime(handler, (1, 1))
    assert changed.wait(5)
    assert not orphaned.is_set()


def test_end_of_the_parent_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chalice_app, "_POLL_SECONDS", 0.01)
    tree(tmp_path)
    changed, orphaned = threading.Event(), threading.Event()
    parents = iter([7, 7, 1])
    chalice_app.watch_code(tmp_path, changed.set, orphaned.set, lambda: next(parents))
    assert orphaned.wait(5)
    assert not changed.is_set()
