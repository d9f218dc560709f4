"""Three stacks: an API with the Lambda authorizer, and two with AWS's own JWT authorizers."""

import os
from pathlib import Path

from aws_cdk import App, Fn, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager

from gatehouse.infra.cdk import AuthorizerSettings, GatehouseAuthorizer, GuardedApi, NativeJwtGuard
from gatehouse.infra.guards import Requirements

SCOPES = {
    "customer.read": ["GET /customers", "GET /customers/{id}"],
    "customer.write": ["POST /customers", "PUT /customers/{id}"],
}
AUDIENCE = "https://customer.example"
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

app.synth()
