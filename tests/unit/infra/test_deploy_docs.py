"""docs/deploy.md names what there is, and its examples are good ones."""

import re
import tomllib
from pathlib import Path

from authorizer.settings import Settings
from infra.cloudformation import load
from infra.deploy import overrides
from local.emulated_aws import TEMPLATE
from tests.support.deployed_template import Deployment, refusals
from tests.support.tokens import ISSUER

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
PARAMETERS = load(TEMPLATE)["Parameters"]


def test_documented_names_are_those_of_the_parameters() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", DOCUMENT, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named <= PARAMETERS.keys()
    assert not [name for name in PARAMETERS if f"`{name}`" not in DOCUMENT]


def test_documented_quoted_value_is_accepted() -> None:
    (given,) = re.findall(r"`'(OtherIssuers=.*)'`", DOCUMENT)
    parameters = overrides({"parameter_overrides": [given]})
    assert refusals(parameters) == []
    environ = {"ISSUER": ISSUER, "OTHER_ISSUERS": parameters["OtherIssuers"]}
    assert Settings.from_env(environ).other_issuers[0].issuer == "https://idp.example.com"


def test_documented_samconfig_is_accepted() -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    parameters = overrides(tomllib.loads(block))
    assert refusals(parameters) == []
    assert "AuthServerMtlsRecords" in Deployment.domains(**parameters).resources
