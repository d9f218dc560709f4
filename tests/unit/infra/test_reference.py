"""docs/reference is complete and equals the code."""

import re
from dataclasses import fields

import pytest

from authorizer.errors import Reason
from authorizer.settings import Settings
from infra import reference
from infra.build import ROOT
from infra.cloudformation import load
from infra.explain import reason_text
from infra.reference import AUTHORIZERS, FOLDER, PAGES, parameters_behind
from infra.template_checks import TEMPLATE
from tests.support.tokens import ISSUER

SETTINGS = {name.strip("`"): default.strip("`") for name, default, _ in reference.authorizer_rows()}
# Between processes of the laptop edition, and click's own.
NOT_FOR_PEOPLE = {"GATEHOUSE_CONTROL_SOCKETS", "GATEHOUSE_BOUND_API", "GATEHOUSE_FIRST_LEASE", "GATEHOUSE_SUPERVISED"}
NOT_OURS = {"GATEHOUSE_COMPLETE"}


class _Environ(dict[str, str]):
    """An environment that records which settings are read."""

    def __init__(self) -> None:
        super().__init__(ISSUER=ISSUER)
        self.read: set[str] = set()

    def get(self, name: str, default: object = None) -> str | None:  # type: ignore[override]
        self.read.add(name)
        return super().get(name)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_in_step_with_the_code(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "make reference"


def test_folder_has_only_generated_pages() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_authorizer_table_has_every_setting_and_default() -> None:
    environ = _Environ()
    settings = Settings.from_env(environ)
    assert set(SETTINGS) == environ.read
    defaults = {k: v for k, v in SETTINGS.items() if v not in {"required", "none", "from `ISSUER"}}
    assert len(defaults) > 12
    for name, default in defaults.items():
        assert Settings.from_env({"ISSUER": ISSUER, name: default}) == settings, name


def test_documented_other_issuer_is_accepted() -> None:
    example = re.search(r"as JSON: `(\{.*?\}\})`", reference.settings_page())
    assert example is not None
    text = example[1].replace("https://…", "https://other.example.com")
    (other,) = Settings.from_env({"ISSUER": ISSUER, "OTHER_ISSUERS": text}).other_issuers
    assert other.issuer == "https://other.example.com"


def test_parameters_behind_variables_are_named() -> None:
    given = parameters_behind(AUTHORIZERS)
    assert given["AUDIENCE"] == ("Audience",)
    assert given["OTHER_ISSUERS"] == ("OtherIssuers",)
    assert given["CONTEXT_CLAIMS"] == ("ContextClaims",)
    assert given["DENY_LIST_TABLE"] == ("CheckRevokedTokens",)
    assert given["ISSUER"] == ("DomainName",)
    assert given["API_RULES"] == ()
    page = reference.settings_page()
    assert "| `SIMPLE_RESPONSE` | `false` | an authorizer of your own |" in page
    assert "| `API_RULES` | none | the template |" in page


def test_stack_sets_all_settings_that_are_not_left_out() -> None:
    assert set(SETTINGS) - parameters_behind(AUTHORIZERS).keys() == reference.DEFAULT_IN_THE_STACK
    known = {name: {field.name for field in fields(kind)} for name, kind in reference.FUNCTIONS.items()}
    read = set().union(*known.values())
    assert read == reference.TEXTS["functions"].keys()
    given = parameters_behind(tuple(reference.FUNCTIONS)).keys()
    assert {name.upper() for name in read} - given == reference.LAPTOP_ONLY
    resources = load(TEMPLATE)["Resources"]
    for function, names in known.items():
        variables = resources[function]["Properties"]["Environment"]["Variables"]
        assert {variable.lower() for variable in variables} <= names, function


def test_page_lists_every_public_variable() -> None:
    sources = [*ROOT.glob("local/**/*.py"), *ROOT.glob("infra/**/*.py")]
    named = {
        name for source in sources for name in re.findall(r"GATEHOUSE_[A-Z][A-Z_]*", source.read_text(encoding="utf-8"))
    }
    page = set(re.findall(r"`(GATEHOUSE_\w+)`", reference.settings_page()))
    assert page == named - NOT_FOR_PEOPLE - NOT_OURS


def test_errors_have_remedies() -> None:
    assert {kind.__name__ for kind in reference.oauth_errors()} == reference.TEXTS["remedies"].keys()


def test_reasons_are_in_one_section() -> None:
    listed = [reason for members in reference.sections().values() for reason in members]
    assert sorted(listed) == sorted(Reason)
    assert len({reason_text(reason) for reason in Reason}) == len(Reason)
    names = [reason for reason in Reason if "_" in reason]
    assert not [reason for reason in names if reason.value in reason_text(reason)]


def test_metrics_are_listed() -> None:
    page = reference.metrics_page()
    for module in reference.EMITTERS.values():
        for metric in module.METRICS:
            assert f"| `{metric.name}` |" in page


def test_incidents_name_existing_alarms() -> None:
    page = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    incidents = page.split("\n## Incidents\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", incidents, re.MULTILINE)
    words = {word for row in rows for cell in row for word in re.findall(r"`(\w+)`", cell)}
    known = {*Reason, *reference.alarms(), *(kind.code for kind in reference.oauth_errors())}
    known |= {name for module in reference.EMITTERS.values() for name, *_ in module.METRICS}
    parameters = {"AuthorizerCacheSeconds", "AuthorizerKeyCacheSeconds", "ThrottlingException"}
    others = {"Init", "cause", "reason", "jwks_uri", "authorizer", "expires_in", "nbf", "iat", "exp"}
    assert words <= known | parameters | others
    assert {"AuthorizerErrors", "key_set_unavailable", "slow_down"} <= words
