"""API Gateway, played in one process: routes, authorizers, policies, gateway responses, events."""
