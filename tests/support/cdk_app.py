"""Synthesise the constructs with every setting, and print what `NativeJwtGuard` refuses as JSON.

Run by tests/artifacts/test_cdk.py in an environment with aws-cdk-lib, with the wheel.
"""

import json
import sys

from aws_cdk import App, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager

from gatehouse.infra.cdk import (
    AuthorizerSettings,
    GatehouseAuthorizer,
    GuardedApi,
    LoadBalancerJwtGuard,
    NativeJwtGuard,
)
from gatehouse.infra.guards import Need, Requirements

ISSUER, AUDIENCE = "https://auth.example.com/ms-auth-server", "https://customer.example"
SCOPES = {"customer.read": ["GET /customers", "GET /customers/{id}"], "customer.write": ["POST /customers"]}
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:authorizer-a1b2c3"
TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/state"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-4000-8000-000000000000"
LISTENER = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/shop/0123456789abcdef/0123456789abcdef"
METADATA = "https://customer.example/.well-known/oauth-protected-resource"

artifact, out = sys.argv[1:]
app = App(outdir=out)


def backend(stack: Stack) -> lambda_.IFunction:
    return lambda_.Function.from_function_arn(
        stack, "Backend", "arn:aws:lambda:eu-west-1:123456789012:function:backend"
    )


for name, methods, metadata in (
    ("Plain", [], ""),
    ("Dpop", ["dpop"], ""),
    ("Metadata", [], METADATA),
    ("Full", ["dpop", "mtls"], METADATA),
):
    stack = Stack(app, name)
    settings = AuthorizerSettings(
        issuer=ISSUER,
        audience=[AUDIENCE],
        scopes=SCOPES,
        introspection_secret=secretsmanager.Secret.from_secret_complete_arn(stack, "Secret", SECRET),
        state_table=dynamodb.Table.from_table_arn(stack, "State", TABLE),
        data_key=kms.Key.from_key_arn(stack, "Key", KEY),
        proof_of_possession=methods,
        resource=AUDIENCE if methods else "",
        checks_revoked_tokens=name == "Full",
    )
    authorizer = GatehouseAuthorizer(stack, "Authorizer", artifact=artifact, settings=settings)
    GuardedApi(
        stack,
        "Guarded",
        authorizer=authorizer,
        backend=backend(stack),
        cache_seconds=0 if methods else 300,
        metadata_url=metadata,
    )

for name, scopes in (("Read", {"read": ["GET /customers"]}), ("Write", {"write": ["GET /customers"]})):
    stack = Stack(app, f"Scopes{name}")
    wanted = Requirements(issuer=ISSUER, audiences=frozenset({AUDIENCE}))
    rest_api = apigateway.RestApi(stack, "Api")
    NativeJwtGuard(stack, "Guard", api=rest_api, backend=backend(stack), scopes=scopes, requirements=wanted)

refusals = {}
plain = {"issuer": ISSUER, "audiences": frozenset({AUDIENCE})}
for name, scopes, changes in (
    ("two scopes", {"a b": ["GET /x"]}, {}),
    ("opaque", SCOPES, {"needs": frozenset({Need.OPAQUE})}),
    ("no audience", SCOPES, {"audiences": frozenset()}),
):
    stack = Stack(App(), "Refused")
    for api in (apigateway.RestApi(stack, "Rest"), apigatewayv2.HttpApi(stack, "Http")):
        try:
            NativeJwtGuard(
                stack,
                f"{api.node.id}Guard",
                api=api,
                backend=backend(stack) if api.node.id == "Rest" else stack.node.find_child("Backend"),
                scopes=scopes,
                requirements=Requirements(**{**plain, **changes}),
            )
        except ValueError as error:
            refusals[f"{api.node.id} {name}"] = str(error)
    try:
        LoadBalancerJwtGuard(
            stack,
            "Balancer",
            listener=elbv2.ApplicationListener.from_application_listener_attributes(
                stack,
                "Listener",
                listener_arn=LISTENER,
                security_group=ec2.SecurityGroup.from_security_group_id(stack, "Group", "sg-0123"),
            ),
            targets=elbv2.ApplicationTargetGroup(stack, "Targets"),
            scopes=scopes,
            requirements=Requirements(**{**plain, **changes}),
        )
    except ValueError as error:
        refusals[f"Balancer {name}"] = str(error)

DENIED = {"r": ["GET /a/{order}"], "r t": ["GET /a/{order}/c/b"], "s": ["GET /a/{order}/b"]}
for name, settings_of in (
    ("cached proofs", {"proof_of_possession": ["mtls"]}),
    ("no table", {"checks_revoked_tokens": True}),
    ("large policy", {"scopes": {"a": [f"GET /{'x' * 60}{number}" for number in range(200)]}}),
    ("denied route", {"scopes": DENIED}),
    ("large map", {"scopes": {f"scope{number}": [f"GET /{'x' * 60}{number}"] for number in range(90)}}),
):
    stack = Stack(App(), "Refused")
    try:
        settings = AuthorizerSettings(**{"issuer": ISSUER, "audience": [], "scopes": SCOPES, **settings_of})
        authorizer = GatehouseAuthorizer(stack, "Authorizer", artifact=artifact, settings=settings)
        GuardedApi(stack, "Guarded", authorizer=authorizer, backend=backend(stack))
    except ValueError as error:
        refusals[name] = str(error)

app.synth()
print(json.dumps(refusals))
