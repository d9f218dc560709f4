"""template.yaml under many sets of parameters: what is made, what refuses, what functions get."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from authorizer.jws import ALGORITHMS
from authorizer.scope_map import parse_scope_map
from authorizer.settings import Settings as AuthorizerSettings
from functions.shared.clients.supported import SIGNING_ALGORITHMS
from infra.cloudformation import load
from infra.deploy import stage_parameters
from infra.reference import AUTHORIZERS, FUNCTIONS
from local.emulated_aws import TEMPLATE, names
from local.gateway.template import Template
from tests.support.deployed_template import Deployment, refusals, transformed
from tests.support.template_lint import faults

pytestmark = pytest.mark.slow

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0a"
DOMAIN = {"DomainName": "auth.example.com", "CertificateArn": CERTIFICATE}
MTLS = {
    "MtlsDomainName": "mtls.example.com",
    "MtlsCertificateArn": CERTIFICATE,
    "TruststoreUri": "s3://trust/authorities.pem",
}
API = {"ApiDomainName": "api.example.com", "ApiCertificateArn": CERTIFICATE}
API_MTLS = API | {"ApiTruststoreUri": "s3://trust/authorities.pem", "ApiTruststoreVersion": "3"}
ZONE = {"HostedZoneId": "Z1234567890ABC"}
VERSIONS = {"DeploymentId": "20261124T080000Z"}
WEB_ACL = "arn:aws:wafv2:us-east-1:123456789012:regional/webacl/ours/0a"
OTHER_ISSUERS = '{"https://idp.example.com": {"audience": ["https://customer.example"]}}'
LIMITS = {
    "IssueTokenConcurrency": "100",
    "IntrospectTokenConcurrency": "50",
    "AuthorizerConcurrency": "200",
    "OtherConcurrency": "20",
}


SETS: dict[str, dict[str, str]] = {
    "defaults": {},
    "dev": stage_parameters("dev"),
    "prod": stage_parameters("prod"),
    "domain": DOMAIN,
    "domain in a zone": DOMAIN | ZONE,
    "second domain with mutual TLS": DOMAIN | MTLS | ZONE,
    "mutual TLS beside execute-api": MTLS,
    "truststore version": MTLS | {"TruststoreVersion": "3"},
    "domain of the API": API | ZONE,
    "mutual TLS at the API": API_MTLS | {"ProofOfPossession": "mtls", "AuthorizerCacheSeconds": "0"},
    "every domain, one certificate": DOMAIN | MTLS | API | ZONE | {"MtlsCertificateArn": "", "ApiCertificateArn": ""},
    "provisioned concurrency": VERSIONS | {"ProvisionedConcurrency": "2"},
    "snapshots": VERSIONS | {"SnapStart": "true"},
    "limits": LIMITS,
    "web ACL": {"WebAclArn": WEB_ACL},
    "kms": {"KeyEdition": "kms", "SigningAlgorithms": "ES256"},
    "proofs": {"ProofOfPossession": "dpop,mtls", "AuthorizerCacheSeconds": "0"},
    "DPoP": {"ProofOfPossession": "dpop", "AuthorizerCacheSeconds": "0"},
    "longest cache": {"AuthorizerCacheSeconds": "3600"},
    "no cache": {"AuthorizerCacheSeconds": "0"},
    "addresses in front": {
        "ResourceUrl": "https://www.example.com/api",
        "ResourceMetadataUrl": "https://www.example.com/metadata",
    },
    "no sample API": {"SampleApi": "false"},
    "no authorization endpoint": {"AuthorizationEndpoint": "false"},
    "other issuers": {"OtherIssuers": OTHER_ISSUERS},
    "revoked tokens": {"CheckRevokedTokens": "true", "Audience": "https://api.example.com"},
}
EVERY_SET = pytest.mark.parametrize("parameters", SETS.values(), ids=SETS)


SCOPES = parse_scope_map((TEMPLATE.parent / "authorizer" / "scopes.json").read_bytes())
SETTINGS: Mapping[str, Any] = FUNCTIONS | dict.fromkeys(AUTHORIZERS, AuthorizerSettings)


def _template(parameters: Mapping[str, str]) -> Template:
    return Template.read(TEMPLATE, parameters)


def _environment(function: str, parameters: Mapping[str, str]) -> Mapping[str, str]:
    template = _template(parameters)
    return template.function(function, names()).environment


@EVERY_SET
def test_stack_is_created_and_its_functions_start(parameters: dict[str, str]) -> None:
    assert refusals(parameters) == []
    order = Deployment.of(**parameters).order()
    Deployment.domains(**parameters).order()
    assert order.index("AuthServerApi") < order.index("IssueToken")
    template = _template(parameters)
    assert template.api("AuthServerApi").routes
    if parameters.get("SampleApi") != "false":
        assert order.index("Authorizer") < order.index("GuardedApi")
        assert template.api("GuardedApi").routes
        assert faults(template, "GuardedApi", SCOPES, names()) == []
    for logical_id, _ in template.function_properties():
        if logical_id in SETTINGS:
            assert SETTINGS[logical_id].from_env(template.function(logical_id, names()).environment)


@pytest.mark.parametrize(
    ("parameters", "issuer"),
    [
        ({}, "https://authserverapi.execute-api.us-east-1.amazonaws.com/ms-auth-server"),
        (MTLS, "https://authserverapi.execute-api.us-east-1.amazonaws.com/ms-auth-server"),
        (DOMAIN | MTLS, "https://auth.example.com/ms-auth-server"),
    ],
    ids=["execute-api", "mutual TLS only", "domain"],
)
def test_all_functions_know_one_issuer(parameters: dict[str, str], issuer: str) -> None:
    template = _template(parameters)
    environments = {name: template.function(name, names()).environment for name, _ in template.function_properties()}
    issuers = {name: known["ISSUER"] for name, known in environments.items() if "ISSUER" in known}
    assert set(issuers.values()) == {issuer}
    assert {"IssueToken", "IntrospectToken", "RevokeToken", "PublishMetadata"} <= issuers.keys()
    authorizer = AuthorizerSettings.from_env(environments["Authorizer"])
    assert authorizer.jwks_uri == f"{issuer}/oauth2/jwks"
    assert authorizer.introspection_uri == f"{issuer}/oauth2/introspect"
    outputs = Deployment.of(**parameters).outputs
    resolver = template.resolver()
    assert resolver.text(outputs["Issuer"]["Value"], "Issuer") == issuer
    assert resolver.text(outputs["JwksUri"]["Value"], "JwksUri") == f"{issuer}/oauth2/jwks"


def test_ring_may_have_every_signing_algorithm() -> None:
    pattern = load(TEMPLATE)["Parameters"]["SigningAlgorithms"]["AllowedPattern"]
    for alg in SIGNING_ALGORITHMS:
        assert re.fullmatch(pattern, alg)
        assert re.fullmatch(pattern, f"RS256,{alg}")
    assert not re.fullmatch(pattern, "RS384")


@pytest.mark.parametrize("function", AUTHORIZERS)
def test_authorizers_have_all_algorithms_other_issuers_and_claims(function: str) -> None:
    environ = _environment(function, {})
    assert environ["ALGORITHMS"].split(",") == sorted(ALGORITHMS)
    default = AuthorizerSettings.from_env(environ)
    assert (default.other_issuers, default.context_claims) == ((), frozenset())
    assert default.introspection_secret_arn
    assert default.deny_list_table is None
    assert AuthorizerSettings.from_env(_environment(function, {"CheckRevokedTokens": "true"})).deny_list_table
    environ = _environment(function, {"OtherIssuers": OTHER_ISSUERS, "ContextClaims": "tenant,https://a.example/b"})
    settings = AuthorizerSettings.from_env(environ)
    assert settings.context_claims == {"tenant", "https://a.example/b"}
    (other,) = settings.other_issuers
    assert other.issuer == "https://idp.example.com"
    assert other.audiences == {"https://customer.example"}


def test_no_sample_api_leaves_the_other_functions() -> None:
    whole, made = Deployment.of(), Deployment.of(**stage_parameters("prod"))
    functions = {n for n, each in made.resources.items() if each["Type"] == "AWS::Lambda::Function"}
    assert functions == {
        *("IssueToken", "IntrospectToken", "RevokeToken", "PublishJwks", "PublishMetadata"),
        *("RotateKeys", "SharedAuthorizer"),
    }
    assert not {each["Type"] for each in made.resources.values() if "::ApiGateway::" in each["Type"]}
    gone = {name for name in whole.resources if name not in made.resources}
    sample = ("GuardedApi", "LookUpCountry", "PublishResourceMetadata", "Authorizer")
    assert {name for name in gone if not name.startswith(sample)} == set()
    assert not {name for name in made.resources if name.startswith(sample)}
    assert whole.outputs.keys() - made.outputs.keys() == {"GuardedApiUrl"}
    watched = made.resources["Operations"]["Properties"]["Parameters"]
    assert {name for name, value in watched.items() if value == ""} == set(sample)


@pytest.mark.parametrize(
    ("parameters", "made"),
    [
        ({}, set()),
        (DOMAIN, {"AuthServerDomain", "AuthServerMapping", "AuthServerRootMapping"}),
        (MTLS, {"AuthServerMtlsDomain", "AuthServerMtlsMapping"}),
        (API, {"GuardedApiDomain", "GuardedApiMapping", "GuardedApiRootMapping"}),
        (DOMAIN | ZONE, {"AuthServerDomain", "AuthServerMapping", "AuthServerRootMapping", "AuthServerRecords"}),
    ],
    ids=["none", "auth server", "mutual TLS", "guarded API", "records"],
)
def test_the_nested_stack_has_the_names_that_are_given(parameters: dict[str, str], made: set[str]) -> None:
    nested = Deployment.of(**parameters).properties("AWS::CloudFormation::Stack")
    assert ("Domains" in nested) is bool(made)
    domains = Deployment.domains(**parameters)
    assert set(domains.resources) == made
    targets = {name for name in Deployment.of(**parameters).outputs if name.endswith("Target")}
    assert set(domains.outputs) == targets


def test_domain_paths_equal_execute_api_paths() -> None:
    stage = Deployment.of().resources["AuthServerStage"]["Properties"]["StageName"]
    made = Deployment.domains(**DOMAIN, **MTLS, **API).resources
    for mapping in ("AuthServerMapping", "AuthServerMtlsMapping"):
        assert made[mapping]["Properties"]["ApiMappingKey"] == stage == "ms-auth-server"
    assert "ApiMappingKey" not in made["AuthServerRootMapping"]["Properties"]
    assert made["GuardedApiMapping"]["Properties"]["BasePath"] == "ms-system"
    assert "BasePath" not in made["GuardedApiRootMapping"]["Properties"]


@pytest.mark.parametrize(
    ("parameters", "closed"),
    [({}, {}), (DOMAIN, {"AuthServerApi"}), (MTLS, {}), (API_MTLS, {"GuardedApi"})],
    ids=["no names", "auth server", "mutual TLS only", "guarded API"],
)
def test_an_api_with_a_name_has_no_other_address(parameters: dict[str, str], closed: set[str]) -> None:
    made = Deployment.of(**parameters).resources
    http, rest = made["AuthServerApi"]["Properties"], made["GuardedApi"]["Properties"]
    assert http["DisableExecuteApiEndpoint"] is ("AuthServerApi" in closed)
    endpoint = rest["Body"]["x-amazon-apigateway-endpoint-configuration"]
    assert endpoint["disableExecuteApiEndpoint"] is ("GuardedApi" in closed)


def test_only_the_second_domain_requires_client_certificates() -> None:
    made = Deployment.domains(**DOMAIN, **MTLS, **API).resources
    requiring = {name for name, each in made.items() if "MutualTlsAuthentication" in str(each)}
    assert requiring == {"AuthServerMtlsDomain"}
    trusted = made["AuthServerMtlsDomain"]["Properties"]["MutualTlsAuthentication"]
    assert trusted == {"TruststoreUri": {"Ref": "TruststoreUri"}}
    own = Deployment.domains(**API_MTLS).resources["GuardedApiDomain"]["Properties"]
    assert own["MutualTlsAuthentication"]["TruststoreVersion"] == {"Ref": "ApiTruststoreVersion"}
    for function in ("PublishMetadata", "IssueToken"):
        base = _environment(function, DOMAIN | MTLS)["MTLS_BASE_URL"]
        assert base == "https://mtls.example.com/ms-auth-server"
        assert _environment(function, DOMAIN)["MTLS_BASE_URL"] == ""


def test_authorization_endpoint_has_a_route_by_default() -> None:
    route, address = ("ANY", "/oauth2/authorize"), "AUTHORIZATION_ENDPOINT"
    for parameters, is_declared in ((DOMAIN, True), (DOMAIN | {"AuthorizationEndpoint": "false"}, False)):
        routes = {(each.method, each.path) for each in _template(parameters).api("AuthServerApi").routes}
        assert (route in routes) is is_declared
        made = Deployment.of(**parameters).resources
        assert ("AuthorizationPermission" in made) is is_declared
        listed = _environment("PublishMetadata", parameters)[address]
        assert listed == ("https://auth.example.com/ms-auth-server/oauth2/authorize" if is_declared else "")


def test_every_name_is_served_with_tls_1_2_or_better() -> None:
    made = Deployment.domains(**DOMAIN, **MTLS, **API).resources
    for name in ("AuthServerDomain", "AuthServerMtlsDomain"):
        (configuration,) = made[name]["Properties"]["DomainNameConfigurations"]
        assert configuration["SecurityPolicy"] == "TLS_1_2"
    assert made["GuardedApiDomain"]["Properties"]["SecurityPolicy"] == "TLS_1_2"


@pytest.mark.parametrize(
    ("parameters", "resource", "metadata"),
    [
        ({}, "", None),
        (
            API,
            "https://api.example.com/ms-system",
            "https://api.example.com/.well-known/oauth-protected-resource/ms-system",
        ),
        (API | {"ResourceUrl": "https://www.example.com/api"}, "https://www.example.com/api", None),
        (API | SETS["addresses in front"], "https://www.example.com/api", "https://www.example.com/metadata"),
    ],
    ids=["execute-api", "domain", "in front of it", "with metadata"],
)
def test_guarded_api_address_is_its_public_one(parameters: dict[str, str], resource: str, metadata: str | None) -> None:
    for function in ("Authorizer", "PublishResourceMetadata"):
        assert _environment(function, parameters)["RESOURCE"] == resource
    responses = _template(parameters).api("GuardedApi").gateway_responses
    for kind in ("UNAUTHORIZED", "ACCESS_DENIED"):
        challenge = responses[kind].headers["WWW-Authenticate"]
        assert ("resource_metadata" in challenge) == (metadata is not None)
        assert metadata is None or f'resource_metadata="{metadata}"' in challenge


def test_versions_are_published_only_if_needed() -> None:
    plain = Deployment.of(**VERSIONS).resources
    assert not {"IssueTokenVersion", "IssueTokenAlias"} & plain.keys()
    assert plain["IssueTokenIntegration"]["Properties"]["IntegrationUri"] == {"Fn::GetAtt": ["IssueToken", "Arn"]}
    for kind in ("snapshots", "provisioned concurrency"):
        made = Deployment.of(**SETS[kind]).resources
        integration = made["IssueTokenIntegration"]["Properties"]
        assert integration["IntegrationUri"] == {"Ref": "IssueTokenAlias"}
        permission = made["IssueTokenPermission"]["Properties"]
        assert permission["FunctionName"] == {"Ref": "IssueTokenAlias"}
        # The text that makes it another version is the version's and the function's.
        for resource in ("IssueTokenVersion", "IssueToken"):
            assert made[resource]["Properties"]["Description"] == {"Ref": "DeploymentId"}
    provisioned = Deployment.of(**SETS["provisioned concurrency"]).resources["IssueTokenAlias"]
    assert "ProvisionedConcurrencyConfig" in provisioned["Properties"]
    snapshots = Deployment.of(**SETS["snapshots"]).resources["IssueToken"]["Properties"]
    assert snapshots["SnapStart"] == {"ApplyOn": "PublishedVersions"}


def test_every_function_behind_an_api_can_be_limited() -> None:
    unlimited = Deployment.of().resources
    made = Deployment.of(**LIMITS).resources
    functions = {name for name, each in made.items() if each["Type"] == "AWS::Lambda::Function"}
    reserved = "ReservedConcurrentExecutions"
    assert not [name for name in functions if reserved in unlimited[name]["Properties"]]
    free = {name for name in functions if reserved not in made[name]["Properties"]}
    assert free == {"RotateKeys"}


def test_both_gateways_refuse_more_than_their_rate() -> None:
    made = Deployment.of().resources
    http = made["AuthServerStage"]["Properties"]["DefaultRouteSettings"]
    stages = [each for each in made.values() if each["Type"] == "AWS::ApiGateway::Stage"]
    (rest,) = stages[0]["Properties"]["MethodSettings"]
    assert len(stages) == 1, "SAM adds a stage of its own"
    for settings, api in ((http, "AuthServer"), (rest, "GuardedApi")):
        assert settings["ThrottlingRateLimit"] == {"Ref": f"{api}RateLimit"}
        assert settings["ThrottlingBurstLimit"] == {"Ref": f"{api}BurstLimit"}
    assert (rest["ResourcePath"], rest["HttpMethod"]) == ("/*", "*")


def test_every_deployment_reaches_the_guardedstage_parameters() -> None:
    # SAM compares texts: a condition whose outcome changes would never get to the stage.
    conditional = [
        condition
        for condition in ("TakesProofs", "NamesMetadata", "HasApiDomain")
        if f"'{condition}'" in str(transformed()["Resources"]["GuardedApi"])
    ]
    assert conditional
    assert load(TEMPLATE)["Resources"]["GuardedApi"]["Properties"]["AlwaysDeploy"] is True


def test_clients_and_keys_outlive_the_stack() -> None:
    made = Deployment.of().resources
    kept = {
        name
        for name, each in made.items()
        if (each.get("DeletionPolicy"), each.get("UpdateReplacePolicy")) == ("RetainExceptOnCreate", "Retain")
    }
    assert kept == {"ClientsTable", "TrustTable", "KeyRingSecret", "SigningKeysSecret", "DataKey"}
    for table in (made["ClientsTable"]["Properties"], made["TrustTable"]["Properties"]):
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}
    assert made["DataKey"]["Properties"]["PendingWindowInDays"] == 30
    assert (stage_parameters("dev")["DeletionProtection"], stage_parameters("prod")["DeletionProtection"]) == (
        "false",
        "true",
    )


def test_a_web_acl_guards_the_stage_of_the_rest_api() -> None:
    (association,) = (
        each
        for each in Deployment.of(WebAclArn=WEB_ACL).resources.values()
        if each["Type"] == "AWS::WAFv2::WebACLAssociation"
    )
    assert "/restapis/${GuardedApi}/stages/" in association["Properties"]["ResourceArn"]["Fn::Sub"]


def test_exports_have_stable_names() -> None:
    exported = {each["Export"]["Name"]["Fn::Sub"] for each in Deployment.of().outputs.values() if "Export" in each}
    assert exported >= {
        "${AWS::StackName}-AuthorizerArn",
        "${AWS::StackName}-AuthorizerInvocationUri",
        "${AWS::StackName}-Issuer",
        "${AWS::StackName}-JwksUri",
    }


@pytest.mark.parametrize(
    ("parameters", "refusal"),
    [
        ({"DomainName": "auth.example.com"}, "DomainName needs CertificateArn."),
        (MTLS | {"TruststoreUri": ""}, "MtlsDomainName needs TruststoreUri."),
        (MTLS | {"MtlsCertificateArn": ""}, "needs MtlsCertificateArn or CertificateArn"),
        (DOMAIN | MTLS | {"MtlsDomainName": "auth.example.com"}, "must differ from DomainName and"),
        (API | MTLS | {"MtlsDomainName": "api.example.com"}, "must differ from DomainName and"),
        (DOMAIN | {"TruststoreUri": "s3://a/b"}, "TruststoreVersion need MtlsDomainName"),
        ({"TruststoreVersion": "3"}, "TruststoreVersion need MtlsDomainName"),
        ({"ApiDomainName": "a.example.com"}, "needs ApiCertificateArn or CertificateArn"),
        (DOMAIN | {"ApiDomainName": "auth.example.com"}, "ApiDomainName must differ from"),
        ({"ApiTruststoreUri": "s3://a/b"}, "ApiTruststoreVersion need ApiDomainName"),
        (API | {"ApiTruststoreVersion": "3"}, "ApiTruststoreVersion need ApiDomainName"),
        (VERSIONS | {"SnapStart": "true", "Runtime": "python3.11"}, "Python 3.12 or later"),
        (VERSIONS | {"SnapStart": "true", "ProvisionedConcurrency": "1"}, "exclude each other"),
        ({"SnapStart": "true"}, "need a new DeploymentId"),
        ({"ProvisionedConcurrency": "1"}, "need a new DeploymentId"),
        ({"ProofOfPossession": "dpop"}, "needs AuthorizerCacheSeconds 0"),
        *(
            (given | {"SampleApi": "false"}, "need SampleApi true")
            for given in (
                API,
                {"Audience": "https://country.example"},
                {"ProofOfPossession": "mtls", "AuthorizerCacheSeconds": "0"},
                {"ResourceUrl": "https://www.example.com/api"},
                {"ResourceMetadataUrl": "https://www.example.com/metadata"},
                {"WebAclArn": WEB_ACL},
            )
        ),
        ({"ContextClaims": "tenant,"}, "ContextClaims does not match"),
        ({"ContextClaims": "tenant, region"}, "ContextClaims does not match"),
        ({"OtherIssuers": "https://idp.example.com"}, "OtherIssuers does not match"),
        (DOMAIN | {"DomainName": "Auth.example.com"}, "DomainName does not match"),
        (DOMAIN | {"DomainName": "https://auth.example.com"}, "DomainName does not match"),
        (DOMAIN | {"DomainName": "auth.example.com/x"}, "DomainName does not match"),
        (MTLS | {"TruststoreUri": "https://trust/authorities.pem"}, "TruststoreUri does not"),
        ({"WebAclArn": WEB_ACL.replace("regional", "global")}, "WebAclArn does not match"),
        # A quote would end the challenge that contains the address.
        ({"ResourceMetadataUrl": "https://api.example.com/it's"}, "ResourceMetadataUrl does not"),
        ({"ResourceMetadataUrl": 'https://api.example.com/"'}, "ResourceMetadataUrl does not"),
        ({"ResourceMetadataUrl": "api.example.com/metadata"}, "ResourceMetadataUrl does not"),
        ({"ResourceUrl": "www.example.com/api"}, "ResourceUrl does not match"),
    ],
    ids=str,
)
def test_contradicting_parameters_are_rejected(parameters: dict[str, str], refusal: str) -> None:
    (said,) = refusals(parameters)
    assert refusal in said
