"""The authorization server behind `chalice local`: `chalice local --port 8085` in this folder."""

from local.chalice_app import GatewayApp

app = GatewayApp("auth_server")
