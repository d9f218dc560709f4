"""docs/guard-your-api.md matches the code."""

import re
from pathlib import Path

from authorizer.app import read_usage_keys
from authorizer.errors import Reason
from authorizer.scope_map import parse_scope_map
from infra.cloudformation import load

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "docs" / "examples"
GUIDE = (ROOT / "docs" / "guard-your-api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_scope_map_of_the_guide_is_valid() -> None:
    text = next(text for kind, text in BLOCKS if kind == "json")
    assert parse_scope_map(text.encode()).scopes() == {"country.read", "audit", "file.read", "live"}


def test_usage_keys_of_the_guide_are_valid(tmp_path: Path) -> None:
    *_, text = (text for kind, text in BLOCKS if kind == "json")
    file = tmp_path / "keys.json"
    file.write_text(text)
    issuers = ["https://issuer.example", "https://login.example"]
    assert set(read_usage_keys(str(file), issuers)) == {(each, "billing") for each in issuers}


def test_template_excerpts_match_the_examples() -> None:
    examples = [path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*/template.yaml")]
    templates = [_flat(text) for text in examples]
    shown = [text for kind, text in BLOCKS if kind == "yaml"]
    assert len(shown) == 6
    for text in shown:
        assert any(_flat(text) in template for template in templates), text


def _flat(text: str) -> str:
    """Return the text without indentation."""
    return "".join(f"{line.strip()}\n" for line in text.splitlines())


def test_deploy_commands_use_existing_parameters() -> None:
    commands = [text for kind, text in BLOCKS if kind == "console"]
    assert commands
    for text in commands:
        folder = re.search(r"^\$ cd (\S+)$", text, re.MULTILINE)
        declared = load(ROOT / (folder[1] if folder else ".") / "template.yaml")["Parameters"]
        for overrides in re.findall(r"--parameter-overrides ((?:\w+=\S+ ?)+)", text):
            given = dict(each.split("=", 1) for each in overrides.split())
            assert given.keys() <= declared.keys()


def test_exports_match_the_template() -> None:
    (sentence,) = re.findall(r"stack exports (.*?)\. Every API", GUIDE, re.DOTALL)
    outputs = load(ROOT / "template.yaml")["Outputs"]
    exported = {name for name, output in outputs.items() if "Export" in output}
    assert set(re.findall(r"`(\w+)`", sentence)) == exported
    for name in exported:
        assert outputs[name]["Export"]["Name"] == {"Fn::Sub": f"${{AWS::StackName}}-{name}"}


def test_explained_reasons_exist() -> None:
    named = re.findall(r"^\| `(api_rules_\w+)` \|", GUIDE, re.MULTILINE)
    assert set(named) == {reason.value for reason in Reason if reason.startswith("api_rules_")}
