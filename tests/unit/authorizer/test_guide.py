"""docs/guard-your-api.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from authorizer.scope_map import parse_scope_map
from authorizer.settings import Settings
from tests.support.tokens import ISSUER

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "guard-your-api.md").read_text(encoding="utf-8")
SETTINGS = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$", GUIDE, re.MULTILINE)
DEFAULTS = [
    (name, default[1:-1]) for name, default, _ in SETTINGS if re.fullmatch("`[^`]+`", default)
]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


class _Environ(dict[str, str]):
    """An environment that notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(ISSUER=ISSUER)
        self.asked: set[str] = set()

    def get(self, name: str, default: object = None) -> str | None:  # type: ignore[override]
        self.asked.add(name)
        return super().get(name)


def test_the_table_names_every_setting_once_and_no_other() -> None:
    environ = _Environ()
    Settings.from_env(environ)
    names = [name for name, _, _ in SETTINGS]
    assert len(names) == len(set(names))
    assert set(names) == environ.asked


@pytest.mark.parametrize(("name", "default"), DEFAULTS)
def test_a_default_is_what_the_table_says(name: str, default: str) -> None:
    assert Settings.from_env({"ISSUER": ISSUER, name: default}) == Settings.from_env(
        {"ISSUER": ISSUER}
    )


def test_the_table_has_the_defaults_that_are_values() -> None:
    assert len(DEFAULTS) > 12


def test_its_scope_map_and_its_templates_can_be_read() -> None:
    texts = {kind: [text for found, text in BLOCKS if found == kind] for kind, _ in BLOCKS}
    assert parse_scope_map(texts["json"][0].encode()).scopes() == {
        "country.read",
        "audit",
        "file.read",
        "live",
    }
    for text in texts["yaml"]:
        assert "Type" in next(iter(yaml.safe_load(text.replace("!", "")).values()))


def test_its_example_of_another_issuer_is_accepted() -> None:
    example = re.search(r"as JSON: `(\{.*?\}\})`", GUIDE)
    assert example is not None
    text = example[1].replace("https://…", "https://other.example.com")
    assert json.loads(text)
    (other,) = Settings.from_env({"ISSUER": ISSUER, "OTHER_ISSUERS": text}).other_issuers
    assert other.issuer == "https://other.example.com"
