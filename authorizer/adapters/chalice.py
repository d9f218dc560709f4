"""Guard of a Chalice app's routes, with the same answers under `chalice local` and in a deployed stage.

API Gateway answers for a rejected request, before the app. Its responses are configured with
`Guard.template`, and `chalice local` is made to send them.
"""

import json
import os
from functools import wraps
from typing import Any

from chalice.app import AuthRequest, Chalice

from ..access_tokens import RETRY_AFTER, AccessTokenError, AccessTokens, challenge
from ..errors import Unauthorized
from ..event import AuthorizerEvent
from ..policy import CompiledPolicy, write_policy
from ..responses import iso_time, write_context

_GUARD = "_gatehouse_guard"
_STATUS = {"UNAUTHORIZED": 401, "ACCESS_DENIED": 403, "AUTHORIZER_FAILURE": 503, "AUTHORIZER_CONFIGURATION_ERROR": 503}
_ERRORS = {401: "unauthorized", 403: "insufficient_scope", 503: "temporarily_unavailable"}


class Guard:
    """Decides for the authorizer functions of an app.

    API Gateway sends only the Authorization header to them. Tokens that are bound to a key are therefore rejected.
    """

    def __init__(self, app: Chalice, tokens: AccessTokens) -> None:
        self._tokens = tokens
        setattr(app, _GUARD, self)
        if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:
            _prepare_chalice_local()

    def authorize(self, request: AuthRequest, *scopes: str) -> dict[str, Any]:
        """Return the policy for a token, which needs all of these scopes.

        Raises:
            Unauthorized: the token is not valid.
            AccessTokenError: the token cannot be verified now.
        """
        routes = AuthorizerEvent({"methodArn": request.method_arn}).stage_arn() + "/*"
        policy = CompiledPolicy([routes], [])
        try:
            token = self._tokens.verify({"type": "TOKEN", "authorizationToken": request.token})
            self._tokens.require(token, *scopes)
        except AccessTokenError as error:
            if error.status == 503:
                raise
            if error.status != 403:
                raise Unauthorized from error
            policy = CompiledPolicy([], [routes])
        return {
            "principalId": token.subject,
            "policyDocument": write_policy(policy, iso_time(token.expires_at)),
            "context": write_context(token),
        }

    def template(self) -> dict[str, Any]:
        """Return the gateway responses, for `chalice package --merge-template`."""
        responses = {
            kind: {
                "StatusCode": status,
                "ResponseParameters": {"Headers": {name: f"'{value}'" for name, value in self.headers(status).items()}},
                "ResponseTemplates": {"application/json": _body(status)},
            }
            for kind, status in _STATUS.items()
        }
        return {"Resources": {"RestAPI": {"Properties": {"GatewayResponses": responses}}}}

    def headers(self, status: int) -> dict[str, str]:
        """Return the headers of the response with this status."""
        if status == 503:
            return {"Retry-After": str(RETRY_AFTER)}
        error = 'error="insufficient_scope"' if status == 403 else ""
        return {"WWW-Authenticate": challenge("Bearer", error, self._tokens.metadata)}


def _body(status: int) -> str:
    return json.dumps({"error": _ERRORS[status]})


def _prepare_chalice_local() -> None:
    """Let `chalice local` answer as API Gateway does with the gateway responses of a guard.

    Otherwise chalice has fixed responses, and drops the connection if an authorizer raises.
    """
    from chalice import local

    original = local.LocalGatewayAuthorizer.authorize
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def authorize(gateway: Any, *arguments: Any) -> Any:
        guard: Guard | None = getattr(gateway._app_object, _GUARD, None)  # noqa: SLF001 - chalice has no hook
        if guard is None:
            return original(gateway, *arguments)
        try:
            return original(gateway, *arguments)
        except local.NotAuthorizedError:
            raise _response(guard, 401) from None
        except local.ForbiddenError:
            raise _response(guard, 403) from None
        except Exception as error:  # API Gateway compares the message, too
            raise _response(guard, 401 if str(error) == "Unauthorized" else 503) from error

    def _response(guard: Guard, status: int) -> Exception:
        failure = local.LocalGatewayException(
            {"Content-Type": "application/json", **guard.headers(status)}, _body(status).encode()
        )
        failure.CODE = status
        return failure

    local.LocalGatewayAuthorizer.authorize = authorize  # type: ignore[method-assign, assignment]
