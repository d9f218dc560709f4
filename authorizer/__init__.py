"""Verification of OAuth 2.0 access tokens: the library `gatehouse`, and the Lambda authorizer."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .access_tokens import AccessTokenError as AccessTokenError
    from .access_tokens import AccessTokens as AccessTokens
    from .access_tokens import HttpRequest as HttpRequest
    from .claims import VerifiedToken as VerifiedToken
    from .errors import Reason as Reason
    from .settings import SettingsError as SettingsError
else:
    _MODULES = {
        "AccessTokenError": "access_tokens",
        "AccessTokens": "access_tokens",
        "HttpRequest": "access_tokens",
        "Reason": "errors",
        "SettingsError": "settings",
        "VerifiedToken": "claims",
    }

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used: the Lambda authorizer uses none of them."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__} has no attribute {name}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value
