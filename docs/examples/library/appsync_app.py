"""The Lambda authorizer of an AppSync API: one mutation needs a scope of its own."""

import os

from gatehouse import AccessTokens
from gatehouse.adapters.appsync import authorizer

tokens = AccessTokens(issuer=os.environ["ISSUER"], audience="https://orders.example")
handler = authorizer(tokens, "orders.read", fields={"Mutation.createOrder": "orders.write"})
