"""Expand the APIs of a SAM template, as CloudFormation's SAM transform does."""

from __future__ import annotations

import copy
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from infra.cloudformation import TemplateError

if TYPE_CHECKING:
    from collections.abc import Mapping

FUNCTION = "AWS::Serverless::Function"
REST_API = "AWS::Serverless::Api"
HTTP_API = "AWS::Serverless::HttpApi"

_EVENTS = _GLOBALS = {"Api", "HttpApi"}
# The transform wants a function that could be deployed. None of this reaches an API.
_FUNCTION_OF_ANY_KIND = {"CodeUri": "s3://bucket/key", "Handler": "a.b", "Runtime": "python3.13"}


def expand(
    document: Mapping[str, Any],
    functions: Mapping[str, Mapping[str, Any]],
    apis: Mapping[str, Mapping[str, Any]],
    parameters: Mapping[str, str],
    region: str,
) -> dict[str, Any]:
    """The template that SAM makes of a document's APIs and of their functions.

    `functions` holds properties by logical id, with the document's Globals; `apis` whole resources.

    Raises:
        TemplateError: the transform rejects the template.
    """
    # Imported here because this takes a third of a second, and not every process needs it.
    from samtranslator.model.exceptions import InvalidDocumentException
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    resources: dict[str, Any] = dict(apis)
    for logical_id, api in apis.items():
        auth = api.get("Properties", {}).get("Auth", {})
        default = auth.get("DefaultAuthorizer", "NONE")
        if default not in ("NONE", *auth.get("Authorizers", {})):  # SAM leaves the routes open
            raise TemplateError(f"{logical_id}: there is no authorizer {default}")
    for logical_id, properties in functions.items():
        kept = {name: properties[name] for name in ("AutoPublishAlias",) if name in properties}
        events = {
            name: event
            for name, event in properties.get("Events", {}).items()
            if event.get("Type") in _EVENTS
        }
        resources[logical_id] = {
            "Type": FUNCTION,
            "Properties": {**_FUNCTION_OF_ANY_KIND, **kept, "Events": events},
        }
    if not resources:
        return {"Resources": {}}
    source = {
        "Transform": "AWS::Serverless-2016-10-31",
        "Parameters": document.get("Parameters", {}),
        "Conditions": document.get("Conditions", {}),
        "Mappings": document.get("Mappings", {}),
        "Globals": {
            name: value for name, value in document.get("Globals", {}).items() if name in _GLOBALS
        },
        "Resources": resources,
    }
    session: Any = SimpleNamespace(region_name=region)  # all that the transform asks of it
    translator = Translator({}, Parser(), boto_session=session)
    try:
        expanded: dict[str, Any] = translator.translate(copy.deepcopy(source), dict(parameters))
    except InvalidDocumentException as error:
        faults = "; ".join(str(cause.message).rstrip(".") for cause in error.causes)
        raise TemplateError(faults) from error
    return expanded
