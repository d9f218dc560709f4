"""What the readers of both kinds of API have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from infra.cloudformation import TemplateError
from local.gateway.model import RateLimit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from infra.cloudformation import Resolver
    from local.gateway.model import Route

__all__ = ["DEFAULT_CACHE_SECONDS", "checked_routes", "known", "milliseconds", "rate_limit"]

DEFAULT_CACHE_SECONDS = 300
"""How long API Gateway reuses an authorizer's answer when the template does not say."""

_LIMITS = {"ThrottlingRateLimit": 10_000.0, "ThrottlingBurstLimit": 5_000.0}
_METHOD = re.compile(r"[A-Z]+")
_PATH = re.compile(r"/|(/([^/{}]+|\{[A-Za-z0-9._-]+\}))*(/\{[A-Za-z0-9._-]+\+\})?")


def known(
    properties: Mapping[str, Any], played: Collection[str], harmless: Collection[str], where: str
) -> None:
    """Refuse properties that are neither played nor known to make no difference here."""
    unknown = sorted(set(properties) - set(played) - set(harmless))
    if unknown:
        raise TemplateError(f"{where}: {', '.join(unknown)} cannot be played on the laptop")


def rate_limit(settings: Mapping[str, Any], resolver: Resolver, where: str) -> RateLimit | None:
    """The rate limit among a stage's settings for routes or methods, or None.

    What is left out is the account's default: 10,000 requests a second and 5,000 at once.
    """
    declared = {name: settings[name] for name in _LIMITS if name in settings}
    if not declared:
        return None
    try:
        rate, burst = (
            float(resolver.text(declared[name], f"{where}.{name}")) if name in declared else default
            for name, default in _LIMITS.items()
        )
    except ValueError as error:
        raise TemplateError(f"{where}: a rate limit is not a number") from error
    return RateLimit(rate, burst)


def milliseconds(
    declared: Mapping[str, Any], default: float, resolver: Resolver, where: str
) -> float:
    """The seconds that `TimeoutInMillis` declares."""
    value = declared.get("TimeoutInMillis")
    return default if value is None else resolver.number(value, f"{where}.TimeoutInMillis") / 1000


def checked_routes(routes: list[tuple[Route, str]]) -> tuple[Route, ...]:
    """The routes, each given with where it is declared.

    Raises:
        TemplateError: a method or path cannot be played, or a route is declared twice.
    """
    seen: set[tuple[str, str]] = set()
    for route, where in routes:
        if not _METHOD.fullmatch(route.method):
            raise TemplateError(f"{where}: {route.method!r} is no HTTP method")
        if route.path != "$default" and not _PATH.fullmatch(route.path):
            raise TemplateError(f"{where}: {route.path!r} is no path that can be played")
        key = (route.method, route.path)
        if key in seen:
            raise TemplateError(f"{where}: {route.method} {route.path} is declared twice")
        seen.add(key)
    return tuple(route for route, _ in routes)
