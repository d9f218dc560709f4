"""The import closure has every import that may run."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.build import BuildError, closure

HANDLER = "functions.slice.handler"


def _reached(root: Path, sources: Mapping[str, str]) -> set[str]:
    for name, source in sources.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    for folder in {path.parent for path in root.rglob("*.py")} | {root / "functions"}:
        (folder / "__init__.py").touch()
    return set(closure(root, HANDLER).modules)


@pytest.mark.parametrize(
    "source",
    [
        "import functions.shared.thing",
        "import functions.shared.thing as other",
        "from functions.shared.thing import name",
        "from functions.shared import thing",
        "from ..shared import thing",
        "from ..shared.thing import name",
        "def handle():\n    from functions.shared.thing import name",
        "class A:\n    def b(self):\n        import functions.shared.thing",
        "try:\n    import json\nexcept ImportError:\n    import functions.shared.thing",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import functions.shared.thing",
        "if not TYPE_CHECKING:\n    import functions.shared.thing",
        "match kind:\n    case 1:\n        import functions.shared.thing",
        "handle = lambda: None\nwith open('x') as file:\n    import functions.shared.thing",
    ],
)
def test_imports_in_functions_are_included(tmp_path: Path, source: str) -> None:
    sources = {"functions/slice/handler.py": source, "functions/shared/thing.py": "name = 1"}
    assert _reached(tmp_path, sources) == {
        *("functions", "functions.slice", HANDLER),
        *("functions.shared", "functions.shared.thing"),
    }


@pytest.mark.parametrize(
    "source",
    [
        "if TYPE_CHECKING:\n    from functions.shared.thing import name",
        "if typing.TYPE_CHECKING:\n    from functions.shared.thing import name",
        "text = 'import functions.shared.thing'  # import functions.shared.thing",
    ],
)
def test_type_checking_imports_are_ignored(tmp_path: Path, source: str) -> None:
    sources = {"functions/slice/handler.py": source, "functions/shared/thing.py": "name = 1"}
    assert _reached(tmp_path, sources) == {"functions", "functions.slice", HANDLER}


def test_import_cycles_end(tmp_path: Path) -> None:
    sources = {
        "functions/slice/handler.py": "from authorizer import first",
        "authorizer/first.py": "def f():\n    import authorizer.second, boto3",
        "authorizer/second.py": "import os, cryptography.x509\nfrom authorizer import first",
        "authorizer/third.py": "import authorizer.second",
    }
    reached = _reached(tmp_path, sources)
    assert {"authorizer", "authorizer.first", "authorizer.second"} <= reached
    assert "authorizer.third" not in reached
    assert closure(tmp_path, HANDLER).packages == {"boto3", "cryptography"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import functions.nothing", r"no module functions\.nothing"),
        ("from functions.nothing import name", r"no module functions\.nothing"),
        ("from .nothing import name", r"no module functions\.slice\.nothing"),
        ("from .... import name", r"functions\.slice\.handler"),
    ],
)
def test_unresolvable_import_is_an_error(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        _reached(tmp_path, {"functions/slice/handler.py": source})
