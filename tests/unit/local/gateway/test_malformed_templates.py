"""A value of a wrong type anywhere in a template is an error of the template, not a traceback."""

import copy
import json
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest

from authorizer.scope_map import parse_scope_map
from infra import guard_plans
from infra.cloudformation import TemplateError
from infra.guards import Guard
from local.gateway.load_balancer import LISTENER, read_rules
from tests.unit.local.gateway.apis import read_template
from tests.unit.local.gateway.test_guards_agree import BACKEND, REQUIREMENTS, SURROUNDINGS

ROUTES = {"a": ["GET /x/{id}"], "b": ["POST /z/{path+}"]}
WRONG: tuple[object, ...] = (None, 5, [], [None], {"Fn::Select": [9, []]})


def _document(guard: Guard, *, is_openapi: bool) -> dict[str, Any]:
    """Return a template with a planned guard, as resources or as an OpenAPI definition."""
    scope_map = parse_scope_map(json.dumps(ROUTES).encode())
    resources = copy.deepcopy({**SURROUNDINGS[guard], **BACKEND})
    if is_openapi:
        resources["Api"]["Properties"]["Body"] = guard_plans.openapi(guard, scope_map, REQUIREMENTS)
    else:
        resources |= guard_plans.plan(guard, scope_map, REQUIREMENTS)["Resources"]
    return {"Resources": resources}


def _places(node: object, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*place, key)
        yield from _places(value, (*place, key))


def _read(document: dict[str, Any]) -> None:
    template = read_template(document)
    for listener in template.of_type(LISTENER):
        read_rules(template, listener)
    for name in template.apis():
        template.api(name)


@pytest.mark.parametrize(
    ("guard", "is_openapi"),
    [
        (Guard.REST_JWT, False),
        (Guard.REST_JWT, True),
        (Guard.HTTP_JWT, False),
        (Guard.HTTP_JWT, True),
        (Guard.ALB, False),
    ],
)
def test_wrong_value_is_an_error_of_the_template(guard: Guard, *, is_openapi: bool) -> None:
    document = _document(guard, is_openapi=is_openapi)
    _read(document)
    rejected = 0
    for place, wrong in zip(_places(document), cycle(WRONG), strict=False):
        changed = copy.deepcopy(document)
        parent = changed
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = wrong
        try:
            _read(changed)
        except TemplateError:
            rejected += 1
    assert rejected > 20
