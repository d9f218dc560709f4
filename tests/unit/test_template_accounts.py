"""template.yaml in accounts that restrict roles, keys and log groups."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from infra.build import Target
from infra.cloudformation import load
from local.emulated_aws import TEMPLATE
from tests.support.deployed_template import Deployment, refusals

OLDEST_RUNTIME = (3, 11)
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
DATA_KEY = "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d-0000-4000-8000-000000000000"


def _access_logs() -> dict[str, tuple[str, Any]]:
    """Return each stage's access log by API: the log group's logical id and the format."""
    made = Deployment.of()
    (http,) = made.properties("AWS::ApiGatewayV2::Stage").values()
    (rest,) = made.properties("AWS::ApiGateway::Stage").values()
    settings = {"http": http["AccessLogSettings"], "rest": rest["AccessLogSetting"]}
    return {
        kind: (each["DestinationArn"]["Fn::GetAtt"][0], json.loads(each["Format"])) for kind, each in settings.items()
    }


@pytest.mark.parametrize("kind", ["http", "rest"])
def test_access_log_groups_are_vended(kind: str) -> None:
    """Every other name uses up the region's resource policy for CloudWatch Logs.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging.html
    """
    group, _ = _access_logs()[kind]
    name = Deployment.of().resources[group]["Properties"]["LogGroupName"]["Fn::Sub"]
    assert name.startswith("/aws/vendedlogs/apigateway/${AWS::StackName}")


def test_access_log_of_the_rest_api_names_caller_and_error() -> None:
    _, members = _access_logs()["rest"]
    assert set(members.values()) >= {
        "$context.requestTime",
        "$context.identity.sourceIp",
        "$context.httpMethod",
        "$context.error.responseType",
        "$context.error.message",
        "$context.authorizer.error",
        "$context.authorizer.principalId",
        "$context.authorizer.iss",
    }


def test_http_access_log_has_integration_errors() -> None:
    _, members = _access_logs()["http"]
    assert set(members.values()) >= {
        "$context.requestTime",
        "$context.identity.sourceIp",
        "$context.httpMethod",
        "$context.integrationErrorMessage",
    }


@pytest.mark.parametrize("kind", ["http", "rest"])
def test_access_logs_hold_no_headers_and_no_query(kind: str) -> None:
    _, members = _access_logs()[kind]
    for variable in members.values():
        assert re.fullmatch(r"\$context\.[A-Za-z_.]+", variable)
        assert not re.search(r"(?i)header|query|\.path$|claims", variable)


def test_every_role_takes_the_permissions_boundary() -> None:
    roles = Deployment.of(PermissionsBoundaryArn=BOUNDARY).properties("AWS::IAM::Role")
    assert len(roles) == 10
    for properties in roles.values():
        assert properties["PermissionsBoundary"] == {"Ref": "PermissionsBoundaryArn"}
    for properties in Deployment.of().properties("AWS::IAM::Role").values():
        assert "PermissionsBoundary" not in properties


def test_deploy_page_names_every_action_of_the_roles() -> None:
    page = (TEMPLATE.parent / "docs" / "deploy.md").read_text()
    table = page.partition("| the functions use | actions |")[2].partition("\n\n")[0]
    named: set[str] = set()
    prefix = ""
    for words in re.findall(r"`([^`]+)`", table):
        service, _, action = words.rpartition(":")
        prefix = service or prefix
        named.add(f"{prefix}:{action}")
    roles = Deployment.of(KeyEdition="kms").properties("AWS::IAM::Role")
    policies = json.dumps([properties["Policies"] for properties in roles.values()])
    services = "dynamodb|kms|logs|secretsmanager|ssm|xray"
    used = set(re.findall(rf'"((?:{services}):[A-Z][A-Za-z]*\*?)"', policies))
    not_listed = {"kms:GenerateDataKey", "kms:KeyUsage", "kms:ViaService"}  # a wildcard, conditions
    assert used - not_listed == named - not_listed


def test_every_current_python_runtime_is_offered() -> None:
    lifecycle = json.loads(files("cfnlint.data.AdditionalSpecs").joinpath("LmbdRuntimeLifecycle.json").read_text())
    known = {name for name in lifecycle if name.startswith("python3.") and (3, int(name[8:])) >= OLDEST_RUNTIME}
    offered = load(TEMPLATE)["Parameters"]["Runtime"]["AllowedValues"]
    assert set(offered) == known
    for runtime in offered:
        assert Target(runtime).platforms()


def _data_key_uses(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, list):
        for each in node:
            yield from _data_key_uses(each, name)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("KMSMasterKeyId", "KmsKeyId"):
                yield name, value
            elif key == "Action" and "kms:Decrypt" in value:
                yield name, node["Resource"]
            else:
                yield from _data_key_uses(value, name)


def test_tables_secrets_and_roles_use_an_existing_key() -> None:
    made = Deployment.of(DataKeyArn=DATA_KEY)
    assert "DataKey" not in made.resources
    made.order()
    uses = [use for name, each in made.resources.items() for use in _data_key_uses(each, name)]
    assert {name for name, _ in uses} >= {
        *("ClientsTable", "TrustTable", "TokensTable", "StateTable"),
        *("KeyRingSecret", "SigningKeysSecret", "DpopNonceSecret", "IntrospectionCredentials"),
        *("IssueTokenRole", "RotateKeysRole", "SharedAuthorizerRole"),
    }
    assert all(value == {"Ref": "DataKeyArn"} for _, value in uses)


@pytest.mark.parametrize(
    "parameters",
    [
        {"DataKeyArn": "alias/ours"},
        {"DataKeyArn": DATA_KEY.replace("key/", "alias/")},
        {"PermissionsBoundaryArn": "boundary"},
        {"PermissionsBoundaryArn": BOUNDARY.replace("policy", "role")},
    ],
    ids=str,
)
def test_malformed_arns_are_rejected(parameters: dict[str, str]) -> None:
    (refusal,) = refusals(parameters)
    assert refusal.startswith(f"{next(iter(parameters))} does not match")


@pytest.mark.parametrize(
    "parameters",
    [
        {"DataKeyArn": DATA_KEY.replace("0a1b2c3d", "mrk-0a1b2c3d")},
        {"PermissionsBoundaryArn": "arn:aws:iam::aws:policy/PowerUserAccess"},
        {"PermissionsBoundaryArn": "arn:aws-us-gov:iam::123456789012:policy/team/boundary"},
    ],
    ids=str,
)
def test_arns_of_every_kind_are_accepted(parameters: dict[str, str]) -> None:
    assert refusals(parameters) == []
