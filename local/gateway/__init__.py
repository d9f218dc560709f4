"""API Gateway emulated in a process: routes, authorizers, policies, gateway responses, events."""
