"""Verification with Gatehouse, after each of these migrations."""

import os

from gatehouse import AccessTokens

tokens = AccessTokens(issuer=os.environ["ISSUER"], audience="https://orders.example")


def claims_of(token):
    return tokens.verify(token)
