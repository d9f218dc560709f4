"""Four stacks: an API with the Lambda authorizer, and three with AWS's own JWT guards."""

import os
from pathlib import Path

from aws_cdk import App, Fn, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager

from gatehouse.infra.cdk import (
    AuthorizerSettings,
    GatehouseAuthorizer,
    GuardedApi,
    LoadBalancerJwtGuard,
    NativeJwtGuard,
)
from gatehouse.infra.guards import Requirements

SCOPES = {
    "customer.read": ["GET /customers", "GET /customers/{id}"],
    "customer.write": ["POST /customers", "PUT /customers/{id}"],
}
AUDIENCE = "https://customer.example"
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-4000-8000-000000000000"
DIST = Path(os.environ.get("GATEHOUSE_DIST", ".gatehouse/dist"))
ARTIFACT = DIST / "gatehouse-authorizer-0.1.0-python3.13-arm64.zip"


def backend(stack: Stack) -> lambda_.Function:
    """Return the API itself."""
    return lambda_.Function(
        stack,
        "Customers",
        code=lambda_.Code.from_asset(str(Path(__file__).parents[1] / "backend")),
        handler="customers.handle",
        runtime=lambda_.Runtime.PYTHON_3_13,
        architecture=lambda_.Architecture.ARM_64,
    )


app = App()

stack = Stack(app, "LambdaGuard")
authorizer = GatehouseAuthorizer(
    stack,
    "Authorizer",
    artifact=str(ARTIFACT),
    settings=AuthorizerSettings(
        issuer=Fn.import_value("gatehouse-Issuer"),
        audience=[AUDIENCE],
        scopes=SCOPES,
        introspection_secret=secretsmanager.Secret.from_secret_name_v2(stack, "Credentials", "customers-authorizer"),
    ),
)
GuardedApi(stack, "GuardedApi", authorizer=authorizer, backend=backend(stack))

# The issuer is a text here: API Gateway reads its discovery document when it creates the authorizer.
tokens = Requirements(issuer="https://auth.example.com/ms-auth-server", audiences=frozenset({AUDIENCE}))

stack = Stack(app, "RestJwtGuard")
rest_api = apigateway.RestApi(stack, "Api", cloud_watch_role=False)
NativeJwtGuard(stack, "Guard", api=rest_api, backend=backend(stack), scopes=SCOPES, requirements=tokens)

stack = Stack(app, "HttpJwtGuard")
http_api = apigatewayv2.HttpApi(stack, "Api")
NativeJwtGuard(stack, "Guard", api=http_api, backend=backend(stack), scopes=SCOPES, requirements=tokens)

stack = Stack(app, "LoadBalancerGuard")
network = ec2.Vpc(stack, "Network", max_azs=2)
balancer = elbv2.ApplicationLoadBalancer(stack, "Balancer", vpc=network, drop_invalid_header_fields=True)
listener = balancer.add_listener(
    "Listener",
    port=443,
    ssl_policy=elbv2.SslPolicy.RECOMMENDED_TLS,
    certificates=[elbv2.ListenerCertificate.from_arn(CERTIFICATE)],
    default_action=elbv2.ListenerAction.fixed_response(404),
)
# The tasks of a service, for example. The load balancer passes the token on to them.
customers = elbv2.ApplicationTargetGroup(stack, "Targets", vpc=network, port=8080, target_type=elbv2.TargetType.IP)
LoadBalancerJwtGuard(stack, "Guard", listener=listener, targets=customers, scopes=SCOPES, requirements=tokens)

app.synth()
