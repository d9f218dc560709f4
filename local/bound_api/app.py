"""The guarded API for key-bound tokens: `chalice local --port 8092` in this folder."""

from local.chalice_app import GatewayApp

app = GatewayApp("bound_api")
