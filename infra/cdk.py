"""AWS CDK constructs: the Lambda authorizer, a REST API that it guards, and AWS's own JWT guards.

Install the wheel with its extra `cdk` and import `gatehouse.infra.cdk`. Only this module needs `aws-cdk-lib`. The
authorizer's artifact is a zip file of `make build`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from aws_cdk import Aws, CfnResource, Duration, RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.aws_apigatewayv2_authorizers import HttpJwtAuthorizer
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct

from authorizer.jws import ALGORITHMS, PROOF_ALGORITHMS
from authorizer.scope_map import ScopeMap, parse_scope_map
from functions.shared.web.endpoint import INTROSPECTION_PATH

from . import guard_plans
from .guards import Guard, Requirements, obstacles, policy_obstacles

MAX_ENVIRONMENT = 4096
"""The largest environment of a Lambda function."""

ScopeRoutes = Mapping[str, Sequence[str]]
"""Routes by scope, as a scope map has them."""


@dataclass(frozen=True)
class AuthorizerSettings:
    """The tokens that an authorizer accepts, and the resources that it needs to check them.

    An empty audience accepts tokens for any API. `introspection_secret` has the client credentials for
    opaque tokens. `state_table` is Gatehouse's, for DPoP and revoked JWTs. `data_key` encrypts both.
    `variables` are further settings of docs/reference/settings.md.
    """

    issuer: str
    audience: Sequence[str]
    scopes: ScopeRoutes
    algorithms: Sequence[str] = tuple(sorted(ALGORITHMS))
    introspection_secret: secretsmanager.ISecret | None = None
    state_table: dynamodb.ITable | None = None
    data_key: kms.IKey | None = None
    proof_of_possession: Sequence[str] = ()
    resource: str = ""
    checks_revoked_tokens: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.checks_revoked_tokens or "dpop" in self.proof_of_possession) and self.state_table is None:
            raise ValueError("DPoP and revoked tokens need state_table")

    def environment(self) -> dict[str, str]:
        """Return the function's environment variables."""
        secret, table = self.introspection_secret, self.state_table
        return {
            "STACK_NAME": Aws.STACK_NAME,
            "ISSUER": self.issuer,
            "AUDIENCE": ",".join(self.audience),
            "ALGORITHMS": ",".join(self.algorithms),
            "SCOPE_MAP": json.dumps({scope: list(routes) for scope, routes in self.scopes.items()}),
            "INTROSPECTION_URI": self.issuer + INTROSPECTION_PATH if secret else "",
            "INTROSPECTION_SECRET_ARN": secret.secret_arn if secret else "",
            "PROOF_OF_POSSESSION": ",".join(self.proof_of_possession),
            "RESOURCE": self.resource,
            "REPLAY_TABLE": table.table_name if table and "dpop" in self.proof_of_possession else "",
            "DENY_LIST_TABLE": table.table_name if table and self.checks_revoked_tokens else "",
            **self.variables,
        }

    def statements(self) -> list[iam.PolicyStatement]:
        """Return what the function may call, apart from its log. These are the statements of template.yaml."""
        found = [_allow(["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*")]
        if self.introspection_secret:
            secret = self.introspection_secret
            # The ARN of a secret that is known by its name lacks six random characters.
            arn = secret.secret_full_arn or f"{secret.secret_arn}-??????"
            found.append(_allow(["secretsmanager:GetSecretValue"], arn))
            if self.data_key:
                found.append(_allow(["kms:Decrypt"], self.data_key.key_arn, _via("secretsmanager")))
        if self.state_table:
            table = self.state_table.table_arn
            if self.checks_revoked_tokens:
                found.append(_allow(["dynamodb:GetItem"], table, _keys("revoked#*")))
            if "dpop" in self.proof_of_possession:
                found.append(_allow(["dynamodb:PutItem"], table, _keys("proof#*")))
            if self.data_key and (self.checks_revoked_tokens or "dpop" in self.proof_of_possession):
                calls = ["Encrypt", "Decrypt", "ReEncrypt*", "GenerateDataKey*", "DescribeKey"]
                found.append(_allow([f"kms:{call}" for call in calls], self.data_key.key_arn, _via("dynamodb")))
        return found


def _allow(actions: list[str], resource: str, conditions: Mapping[str, object] | None = None) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=actions, resources=[resource], conditions=conditions)


def _via(service: str) -> dict[str, object]:
    return {"StringLike": {"kms:ViaService": f"{service}.{Aws.REGION}.amazonaws.com*"}}


def _keys(pattern: str) -> dict[str, object]:
    return {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [pattern]}}


class GatehouseAuthorizer(Construct):
    """The authorizer's function from its built artifact, with its role, its log and its settings.

    `artifact` is the path of the zip file. Architecture and runtime are those in its name.

    Raises:
        ValueError: a policy or the function's environment cannot hold the scope map. The message has the reasons.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        artifact: str,
        settings: AuthorizerSettings,
        architecture: lambda_.Architecture = lambda_.Architecture.ARM_64,
        runtime: lambda_.Runtime = lambda_.Runtime.PYTHON_3_13,
    ) -> None:
        super().__init__(scope, construct_id)
        self.settings = settings
        environment = settings.environment()
        scope_map, texts = _read(settings.scopes)
        reasons = guard_plans.reasons(policy_obstacles(scope_map), scope_map, texts)
        if len(environment["SCOPE_MAP"]) > MAX_ENVIRONMENT:
            reasons.append(
                f"the scope map is longer than the {MAX_ENVIRONMENT} bytes of a function's environment: add it to the "
                "artifact as a file, and name the file in variables as SCOPE_MAP"
            )
        if reasons:
            raise ValueError(f"{Guard.LAMBDA} cannot guard this API: {'; '.join(reasons)}")
        log = logs.LogGroup(self, "Log", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY)
        writes = _allow(["logs:CreateLogStream", "logs:PutLogEvents"], log.log_group_arn)
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            inline_policies={"calls": iam.PolicyDocument(statements=[writes, *settings.statements()])},
        )
        self.function = lambda_.Function(
            self,
            "Function",
            code=lambda_.Code.from_asset(artifact),
            handler="authorizer.handler.handle",
            runtime=runtime,
            architecture=architecture,
            memory_size=512,
            timeout=Duration.seconds(15),
            environment=environment,
            role=self.role.without_policy_updates(),
            log_group=log,
            logging_format=lambda_.LoggingFormat.JSON,
            application_log_level_v2=lambda_.ApplicationLogLevel.INFO,
            system_log_level_v2=lambda_.SystemLogLevel.WARN,
            tracing=lambda_.Tracing.PASS_THROUGH,
        )


class GuardedApi(Construct):
    """A REST API with the Lambda authorizer, and gateway responses that have the challenge.

    It has a method for each route of the authorizer's scope map, with `backend` as its integration.
    Methods that are added to `api` have the authorizer by default.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        authorizer: GatehouseAuthorizer,
        backend: lambda_.IFunction,
        cache_seconds: int = 300,
        metadata_url: str = "",
    ) -> None:
        super().__init__(scope, construct_id)
        settings = authorizer.settings
        if settings.proof_of_possession and cache_seconds:
            raise ValueError("proof_of_possession needs cache_seconds 0: a cached policy accepts a stolen token")
        request_authorizer = apigateway.RequestAuthorizer(
            self,
            "Authorizer",
            handler=authorizer.function,
            identity_sources=[apigateway.IdentitySource.header("Authorization")],
            results_cache_ttl=Duration.seconds(cache_seconds),
        )
        access_log = logs.LogGroup(
            self, "AccessLog", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY
        )
        self.api = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=f"{Aws.STACK_NAME}-{construct_id}",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            cloud_watch_role=False,
            default_method_options=apigateway.MethodOptions(
                authorization_type=apigateway.AuthorizationType.CUSTOM, authorizer=request_authorizer
            ),
            deploy_options=apigateway.StageOptions(
                stage_name="live",
                throttling_rate_limit=1000,
                throttling_burst_limit=1000,
                access_log_destination=apigateway.LogGroupLogDestination(access_log),
                access_log_format=apigateway.AccessLogFormat.custom(ACCESS_LOG_FORMAT),
            ),
        )
        responses = gateway_responses(accepts_dpop="dpop" in settings.proof_of_possession, metadata_url=metadata_url)
        for name, response in responses.items():
            self.api.add_gateway_response(
                name,
                type=apigateway.ResponseType.of(name),
                status_code=response.get("status"),
                response_headers=response.get("headers"),
                templates={"application/json": response["body"]},
            )
        integration = apigateway.LambdaIntegration(backend)
        scope_map, texts = _read(settings.scopes)
        for route, path in guard_plans.route_paths(scope_map, texts).items():
            self.api.root.resource_for_path(path).add_method(route.method, integration)


ACCESS_LOG_FORMAT = json.dumps(
    {
        "time": "$context.requestTime",
        "requestId": "$context.requestId",
        "sourceIp": "$context.identity.sourceIp",
        "method": "$context.httpMethod",
        "resourcePath": "$context.resourcePath",
        "status": "$context.status",
        "principal": "$context.authorizer.principalId",
        "issuer": "$context.authorizer.iss",
        "clientId": "$context.authorizer.client_id",
        "errorType": "$context.error.responseType",
        "error": "$context.error.message",
        "authorizerError": "$context.authorizer.error",
        "integrationError": "$context.integration.error",
    },
    separators=(",", ":"),
)


def gateway_responses(*, accepts_dpop: bool, metadata_url: str) -> dict[str, dict[str, Any]]:
    """Return status, headers and body of each gateway response by its type."""
    metadata = f' resource_metadata="{metadata_url}"' if metadata_url else ""
    values = {
        "{dpop}": f'DPoP algs="{" ".join(sorted(PROOF_ALGORITHMS))}", ' if accepts_dpop else "",
        "{metadata}": metadata,
        "{more_metadata}": f",{metadata}" if metadata else "",
    }
    text = files("infra").joinpath("gateway_responses.json").read_text()
    for mark, value in values.items():
        text = text.replace(mark, json.dumps(value)[1:-1])
    responses: dict[str, dict[str, Any]] = json.loads(text)
    return responses


class NativeJwtGuard(Construct):
    """The JWT authorizer of a REST API or an HTTP API, from a scope map.

    The API gets a method or route for each route of the map.

    Raises:
        ValueError: this guard cannot express the map or the tokens. The message has the reasons.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        api: apigateway.RestApi | apigatewayv2.HttpApi,
        backend: lambda_.IFunction,
        scopes: ScopeRoutes,
        requirements: Requirements,
    ) -> None:
        super().__init__(scope, construct_id)
        guard = Guard.REST_JWT if isinstance(api, apigateway.RestApi) else Guard.HTTP_JWT
        scope_map, texts = _read(scopes)
        _refuse(guard, scope_map, texts, requirements)
        paths = guard_plans.route_paths(scope_map, texts)
        accepted = guard_plans.single_scopes(scope_map)
        if guard is Guard.HTTP_JWT:
            authorizer = HttpJwtAuthorizer(
                f"{construct_id}Authorizer", requirements.issuer, jwt_audience=sorted(requirements.audiences)
            )
            integration = HttpLambdaIntegration(f"{construct_id}Backend", backend)
            for route, path in paths.items():
                api.add_routes(
                    path=path,
                    methods=[apigatewayv2.HttpMethod[route.method]],
                    integration=integration,
                    authorizer=authorizer,
                    authorization_scopes=accepted[route],
                )
            return
        planned = guard_plans.plan(guard, scope_map, requirements, texts)["Resources"]
        properties = planned[guard_plans.AUTHORIZER]["Properties"] | {"RestApiId": api.rest_api_id}
        rest_authorizer = CfnResource(self, "Authorizer", type="AWS::ApiGateway::Authorizer", properties=properties)
        for route, path in paths.items():
            method = api.root.resource_for_path(path).add_method(route.method, apigateway.LambdaIntegration(backend))
            # The construct of a method has no JWT authorizers yet.
            resource = method.node.default_child
            resource.add_property_override("AuthorizationType", "JWT")
            resource.add_property_override("AuthorizerId", rest_authorizer.ref)
            resource.add_property_override("AuthorizationScopes", accepted[route])
        if api.latest_deployment:
            # A deployment has its own copy of the methods: a change of the guard needs a new one.
            api.latest_deployment.add_to_logical_id(
                {"guard": properties, "scopes": {paths[r]: s for r, s in accepted.items()}}
            )
            api.latest_deployment.node.add_dependency(rest_authorizer)


class LoadBalancerJwtGuard(Construct):
    """The rules of a listener that verify JWTs, from a scope map. They forward to one target group.

    The rules reject tokens on the routes of the map only. The listener's default action must not forward.
    Their priorities begin at 1.

    Raises:
        ValueError: a load balancer cannot express the map or the tokens. The message has the reasons.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        listener: elbv2.IApplicationListener,
        targets: elbv2.IApplicationTargetGroup,
        scopes: ScopeRoutes,
        requirements: Requirements,
    ) -> None:
        super().__init__(scope, construct_id)
        scope_map, texts = _read(scopes)
        _refuse(Guard.ALB, scope_map, texts, requirements)
        planned = guard_plans.plan(Guard.ALB, scope_map, requirements, texts)["Resources"]
        for name, rule in planned.items():
            properties = rule["Properties"]
            properties["ListenerArn"] = listener.listener_arn
            properties["Actions"][1]["TargetGroupArn"] = targets.target_group_arn
            CfnResource(self, name, type=rule["Type"], properties=properties)
        targets.register_listener(listener, self)


def _refuse(guard: Guard, scope_map: ScopeMap, texts: Sequence[str], requirements: Requirements) -> None:
    """Raise ValueError with the reasons why a guard cannot express the map or the tokens."""
    if found := obstacles(guard, scope_map, requirements):
        reasons = "; ".join(guard_plans.reasons(found, scope_map, texts))
        raise ValueError(f"{guard} cannot guard this API: {reasons}")


def _read(scopes: ScopeRoutes) -> tuple[ScopeMap, list[str]]:
    """Return the scope map, and its routes as they are written."""
    text = json.dumps({scope: list(routes) for scope, routes in scopes.items()})
    return parse_scope_map(text.encode()), [route for routes in scopes.values() for route in routes]
