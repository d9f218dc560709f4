"""The guarded API behind `chalice local`: `chalice local --port 8091` in this folder."""

from local.chalice_app import GatewayApp

app = GatewayApp("guarded_api")
