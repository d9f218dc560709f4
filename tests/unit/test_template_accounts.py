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


LOGGED_OF_BOTH = {"$context.requestTime", "$context.identity.sourceIp", "$context.httpMethod"}
LOGGED_OF_REST = {"error.responseType", "error.message", "authorizer.error", "authorizer.principalId", "authorizer.iss"}


@pytest.mark.parametrize(
    ("kind", "setting", "variables"),
    [
        ("AWS::ApiGatewayV2::Stage", "AccessLogSettings", {"integrationErrorMessage"}),
        ("AWS::ApiGateway::Stage", "AccessLogSetting", LOGGED_OF_REST),
    ],
)
def test_access_logs_name_caller_and_error_in_vended_groups(kind: str, setting: str, variables: set[str]) -> None:
    """Groups of every other name use up the region's resource policy for CloudWatch Logs.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging.html
    """
    made = Deployment.of()
    (stage,) = made.properties(kind).values()
    group, _ = stage[setting]["DestinationArn"]["Fn::GetAtt"]
    name = made.resources[group]["Properties"]["LogGroupName"]["Fn::Sub"]
    assert name.startswith("/aws/vendedlogs/apigateway/${AWS::StackName}")
    logged = set(json.loads(stage[setting]["Format"]).values())
    assert logged >= LOGGED_OF_BOTH | {f"$context.{variable}" for variable in variables}
    for variable in logged:
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
    ("name", "value", "is_valid"),
    [
        ("DataKeyArn", "alias/ours", False),
        ("DataKeyArn", DATA_KEY.replace("key/", "alias/"), False),
        ("DataKeyArn", DATA_KEY.replace("0a1b2c3d", "mrk-0a1b2c3d"), True),
        ("PermissionsBoundaryArn", "boundary", False),
        ("PermissionsBoundaryArn", BOUNDARY.replace("policy", "role"), False),
        ("PermissionsBoundaryArn", "arn:aws:iam::aws:policy/PowerUserAccess", True),
        ("PermissionsBoundaryArn", "arn:aws-us-gov:iam::123456789012:policy/team/boundary", True),
    ],
)
def test_malformed_arns_are_rejected(name: str, value: str, *, is_valid: bool) -> None:
    found = refusals({name: value})
    assert len(found) == (not is_valid)
    assert all(text.startswith(f"{name} does not match") for text in found)
