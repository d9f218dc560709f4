"""What the readers of both kinds of API have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from local.gateway.cloudformation import TemplateError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from local.gateway.model import Route

__all__ = ["DEFAULT_CACHE_SECONDS", "checked_routes", "known"]

DEFAULT_CACHE_SECONDS = 300
"""How long API Gateway reuses an authorizer's answer when the template does not say."""

_METHOD = re.compile(r"[A-Z]+")
_PATH = re.compile(r"/|(/([^/{}]+|\{[A-Za-z0-9._-]+\}))*(/\{[A-Za-z0-9._-]+\+\})?")


def known(
    properties: Mapping[str, Any], played: Collection[str], harmless: Collection[str], where: str
) -> None:
    """Refuse properties that are neither played nor known to make no difference here."""
    unknown = sorted(set(properties) - set(played) - set(harmless))
    if unknown:
        raise TemplateError(f"{where}: {', '.join(unknown)} cannot be played on the laptop")


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
