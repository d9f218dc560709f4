"""Sentences about routes that a scope map opens, closes or names by mistake."""

from collections.abc import Iterable, Iterator

from authorizer.route_coverage import compare_routes
from authorizer.scope_map import ScopeMap


def route_faults(
    guarded: Iterable[str], scope_map: ScopeMap, *, simple_responses: bool = False
) -> Iterator[str]:
    """Yield a sentence for each fault of a scope map, given the guarded routes of an API.

    A policy opens a route that no scope names if a parameter of another route matches it. A simple
    response is about one route, so such a route stays closed.
    """
    found = compare_routes(guarded, scope_map)
    closed = list(found.closed)
    for swallowed in found.swallowed:
        if simple_responses:
            closed.append(swallowed.route)
        else:
            yield (
                f"{swallowed.route} is open to every scope that opens {swallowed.opened_by}, "
                "because no scope names it"
            )
    for route in dict.fromkeys(closed):
        yield f"{route} is guarded and no scope opens it"
    for route in found.unknown:
        yield f"the scope map names {route}, which is not a guarded route"
