"""`make template`: findings, explanations and the templates that it checks."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra import template_checks
from infra.deploy import stage_parameters
from infra.template_checks import Explanation, Finding, complaints, read_explanations

PLAIN = Finding("CKV_AWS_1", "TokensTable", "defaults", "Ensure something")


def _explained(resource: str, check: str = "CKV_AWS_1") -> Explanation:
    return Explanation(check, resource, "It is meant to be so, because.")


def test_explained_findings_pass() -> None:
    twice = Finding("CKV_AWS_1", "TokensTable", "production", "Ensure something")
    assert complaints([PLAIN, twice], [_explained("TokensTable")]) == []
    assert complaints([PLAIN], [_explained("Tokens*")]) == []
    assert complaints([], []) == []


@pytest.mark.parametrize(
    "explanations", [[], [_explained("StateTable")], [_explained("TokensTable", check="CKV_AWS_2")]]
)
def test_unexplained_findings_and_needless_explanations_fail(explanations: list[Explanation]) -> None:
    finding, *needless = complaints([PLAIN], explanations)
    assert finding == "CKV_AWS_1 defaults: TokensTable: Ensure something"
    expected = [f"{each.check}: nothing is found at {each.resource} any more" for each in explanations]
    assert [line.partition(";")[0] for line in needless] == expected


@pytest.mark.parametrize("reason", ["", "reason: ", "reason: later"])
def test_explanation_needs_a_reason(tmp_path: Path, reason: str) -> None:
    path = tmp_path / "findings.yaml"
    path.write_text(f"- check: CKV_AWS_1\n  resources: [a]\n  {reason}\n")
    with pytest.raises(ValueError, match="CKV_AWS_1 has no reason"):
        read_explanations(path)


def test_accepted_findings_name_resources_and_reasons() -> None:
    assert all(each.resource and each.reason for each in read_explanations())


@pytest.fixture(scope="module")
def transformed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("transformed")
    (folder / "old.json").write_text("{}")
    paths = template_checks.write_transformed(folder)
    assert sorted(folder.iterdir()) == sorted(paths)
    return {path.stem: json.loads(path.read_text()) for path in paths}


def test_templates_use_production_values_too(transformed: dict[str, Any]) -> None:
    parameters = {name: document.get("Parameters", {}) for name, document in transformed.items()}
    for name, value in stage_parameters("prod").items():
        assert str(parameters["production"][name]["Default"]) == value
    differing = [
        name for name, declared in parameters["defaults"].items() if declared != parameters["production"][name]
    ]
    assert differing
    assert set(differing) <= set(stage_parameters("prod"))


def test_nested_stacks_and_examples_are_checked(transformed: dict[str, Any]) -> None:
    examples = {path.parent.name for path in template_checks.EXAMPLES.glob("*/template.yaml")}
    assert examples
    assert {"domains", "operations", *examples} <= set(transformed)


def test_transform_removes_sam_and_exceptions(transformed: dict[str, Any]) -> None:
    for document in transformed.values():
        assert not any(resource["Type"].startswith("AWS::Serverless::") for resource in document["Resources"].values())
        assert "cfn-lint" not in document.get("Metadata", {})


def test_functions_have_their_own_roles(transformed: dict[str, Any]) -> None:
    resources = transformed["defaults"]["Resources"]
    functions = {name for name, each in resources.items() if each["Type"] == "AWS::Lambda::Function"}
    for name in functions:
        assert resources[name]["Properties"]["Role"] == {"Fn::GetAtt": [f"{name}Role", "Arn"]}
        properties = resources[f"{name}Role"]["Properties"]
        (trust,) = properties["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "lambda.amazonaws.com"}
        assert "ManagedPolicyArns" not in properties, "which would grant every log of the account"


def test_cfn_lint_findings_name_their_resource(tmp_path: Path) -> None:
    table = {"Type": "AWS::DynamoDB::Table", "Properties": {"KeySchema": "none"}}
    path = tmp_path / "broken.json"
    path.write_text(json.dumps({"Resources": {"Table": table}}))
    findings = template_checks.cfn_lint([path])
    assert findings
    assert {(finding.resource, finding.template) for finding in findings} == {("Table", "broken")}


def test_tool_without_report_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="false"):
        template_checks._report(["false"])
