"""Run cfn-lint and checkov on the templates after SAM's transform.

A finding has to be fixed or explained in lint_baseline.yaml. An explanation without a finding is an
error too. SAM's virtual environment runs this module, and checkov has its own environment:

    .venv-sam/bin/python -m infra.template_checks

The tools read template.yaml with its defaults and with production's values, the nested stacks, and
the examples of the guide. They use no network.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from .build import ROOT
from .cloudformation import load, parse
from .deploy import stage_parameters

TEMPLATE = ROOT / "template.yaml"
DOMAINS = ROOT / "infra" / "domains.yaml"
OPERATIONS = ROOT / "infra" / "operations.yaml"
EXAMPLES = ROOT / "docs" / "examples"
EXPLANATIONS = Path(__file__).with_name("lint_baseline.yaml")
TRANSFORMED = ROOT / ".gatehouse" / "transformed"
CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"

_PACKAGED = {
    "AWS::Serverless::Function": ("CodeUri", "s3://bucket/key"),
    "AWS::CloudFormation::Stack": ("TemplateURL", "https://bucket.s3.amazonaws.com/operations"),
}
"""Properties with local paths, and the values that `sam package` puts there, by type."""


@dataclass(frozen=True, order=True)
class Finding:
    """A tool's finding. `resource` is a logical id, `template` the stem of a file name."""

    check: str
    resource: str
    template: str
    message: str

    def __str__(self) -> str:
        return f"{self.check} {self.template}: {self.resource}: {self.message}"


@dataclass(frozen=True)
class Explanation:
    """The reason why findings of one check are accepted at resources with such a name."""

    check: str
    resource: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Return whether this explains the finding."""
        return finding.check == self.check and fnmatchcase(finding.resource, self.resource)


def read_explanations(path: Path = EXPLANATIONS) -> list[Explanation]:
    """Read the accepted findings; raises ValueError."""
    entries = yaml.safe_load(path.read_text())
    for entry in entries:
        if len((entry.get("reason") or "").split()) < 5:
            raise ValueError(f"{path.name}: {entry['check']} has no reason")
    return [Explanation(each["check"], name, each["reason"]) for each in entries for name in each["resources"]]


def complaints(findings: Iterable[Finding], explanations: Sequence[Explanation]) -> list[str]:
    """Return a line for each finding without an explanation, and for each unused explanation."""
    found = sorted(set(findings))
    return [
        *(str(finding) for finding in found if not any(each.covers(finding) for each in explanations)),
        *(
            f"{each.check}: nothing is found at {each.resource} any more; take it out of {EXPLANATIONS.name}"
            for each in explanations
            if not any(map(each.covers, found))
        ),
    ]


def with_values(document: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """Return the template with other defaults for its parameters."""
    declared = document["Parameters"]
    changed = {
        name: {**declared[name], "Default": int(value) if declared[name]["Type"] == "Number" else value}
        for name, value in values.items()
    }
    return {**document, "Parameters": declared | changed}


def transform(document: dict[str, Any]) -> dict[str, Any]:
    """Return a template after SAM's transform.

    cfn-lint's exceptions in the metadata are left out. The list of explanations has them too.
    """
    # Only SAM's virtual environment has it.
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")  # the translator asks for one
    logging.getLogger("samtranslator").setLevel(logging.ERROR)  # it misses its own usage reports
    copy = json.loads(json.dumps(document, default=str))
    for resource in copy["Resources"].values():
        name, uploaded = _PACKAGED.get(resource["Type"], ("", ""))
        if name in resource.get("Properties", {}):
            resource["Properties"][name] = uploaded
    no_managed_policies: dict[str, str] = {}  # the template uses none
    transformed: dict[str, Any] = Translator(no_managed_policies, Parser()).translate(copy, {})
    transformed.get("Metadata", {}).pop("cfn-lint", None)
    return transformed


def transformed(path: Path) -> dict[str, Any]:
    """Return the template at a path after SAM's transform."""
    return transform(load(path))


def write_transformed(folder: Path) -> list[Path]:
    """Write every template into a folder, transformed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    source = load(TEMPLATE)
    documents = {"defaults": source, "production": with_values(source, stage_parameters("prod"))}
    for path in [DOMAINS, OPERATIONS, *sorted(EXAMPLES.glob("**/*.yaml"))]:
        document = parse(path.read_text(encoding="utf-8"))
        if "Resources" in document:
            documents[path.parent.name if path.stem == "template" else path.stem] = document
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(transform(document), indent=1))
    return [folder / f"{name}.json" for name in documents]


def cfn_lint(paths: Sequence[Path]) -> list[Finding]:
    """Return what cfn-lint finds."""
    tool = Path(sys.executable).with_name("cfn-lint")
    report = _report([tool, "--format", "json", "--", *paths])
    return [
        Finding(
            match["Rule"]["Id"],
            next(iter((match["Location"]["Path"] or [])[1:]), "the template"),
            Path(match["Filename"]).stem,
            match["Message"],
        )
        for match in report
    ]


def checkov(paths: Sequence[Path]) -> list[Finding]:
    """Return what checkov finds."""
    options = ["--skip-download", "--framework", "cloudformation", "--output", "json"]
    report = _report([CHECKOV, *options, "--quiet", "--compact", "--file", *paths])
    if report["summary"]["parsing_errors"] or not report["summary"]["passed"]:
        raise RuntimeError(f"checkov could not read the templates: {report['summary']}")
    return [
        Finding(
            failed["check_id"],
            failed["resource"].rpartition(".")[2],
            Path(failed["file_path"]).stem,
            failed["check_name"],
        )
        for failed in report["results"]["failed_checks"]
    ]


def _report(command: Sequence[str | Path]) -> Any:
    """Run a tool and return its JSON output. Exit codes for findings are not errors."""
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(run.stdout or "[]" if run.returncode == 0 else run.stdout)
    except ValueError as error:
        raise RuntimeError(f"{command[0]}:\n{run.stdout}{run.stderr}") from error


def main() -> int:
    """Print findings that have to be fixed or explained. Return 1 if there are any."""
    paths = write_transformed(TRANSFORMED)
    findings = [*cfn_lint(paths), *checkov(paths)]
    names = ", ".join(path.stem for path in paths)
    lines = complaints(findings, read_explanations())
    print("\n".join(lines or [f"{names}: {len(findings)} findings, each explained."]))
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
