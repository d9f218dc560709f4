"""A Chalice app: /orders needs the scope orders.read."""

import os

from chalice import Chalice

from gatehouse import AccessTokens
from gatehouse.adapters.chalice import Guard

app = Chalice(app_name="orders")
guard = Guard(app, AccessTokens(issuer=os.environ["ISSUER"], audience="https://orders.example"))


@app.authorizer()
def read_orders(request):
    return guard.authorize(request, "orders.read")


@app.route("/orders", authorizer=read_orders)
def orders():
    return {"client": app.current_request.context["authorizer"]["client_id"]}


@app.route("/health")
def health():
    return {"status": "up"}
