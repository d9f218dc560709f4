"""What breaks a JSON schema, in words: where and what, and never the value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from infra.command_line.terminal.strict_yaml import line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jsonschema.exceptions import ValidationError

    Place = Callable[[Sequence[str | int]], str]
    """Says where a member of a document stands: ` (line 7)`, or nothing."""


def schema_faults(
    document: object, schema: Mapping[str, Any], text: str | None = None
) -> list[str]:
    """Return what breaks the schema; with lines where the text of the document is given."""
    errors = sorted(Draft202012Validator(schema).iter_errors(document), key=lambda e: e.json_path)

    def place(path: Sequence[str | int]) -> str:
        return "" if text is None else f" (line {line_of(text, path)})"

    # A field that is lacking is an error of its own, and each names all of them.
    return list(dict.fromkeys(_fault(error, document, place) for error in errors))


def _fault(error: ValidationError, document: object, place: Place) -> str:
    """Say where and what, without the value: somebody may have put a secret there."""
    path = list(error.absolute_path)
    where = ".".join(str(part) for part in path) or "the file"
    match path:
        case ["clients", int() as number, *rest]:
            entry = document["clients"][number]  # type: ignore[index]  # where the error is
            name = entry.get("client_id", number) if isinstance(entry, dict) else number
            where = f"client {name}" + (f": {'.'.join(map(str, rest))}" if rest else "")
    if error.validator == "additionalProperties":
        names = (f"{name}{place([*path, name])}" for name in _unknown(error))
        return f"{where} has a field that is not known: {', '.join(names)}"
    said = {
        "required": f"lacks a field: {', '.join(_missing(error))}",
        "enum": f"is none of {error.validator_value}",
        "type": f"is no {error.validator_value}{_hint(error)}",
        "oneOf": "needs exactly one of jwks and jwks_uri",
    }.get(str(error.validator)) or _broken_rule(error)
    return f"{where}{place(path)} {said}"


def _broken_rule(error: ValidationError) -> str:
    match error.schema:
        case {"title": title, "description": description}:
            return f"is no {title}: {description}"
    return f"breaks {error.validator}: {error.validator_value}"


def _hint(error: ValidationError) -> str:
    is_number = isinstance(error.instance, int | float)
    wants_text = error.validator_value == "string"
    return " (a number that is meant as a text needs quotes)" if is_number and wants_text else ""


def _missing(error: ValidationError) -> list[str]:
    if error.validator != "required":
        return []
    wanted: list[str] = error.validator_value  # type: ignore[assignment]  # JSON Schema's own rule
    return sorted(set(wanted) - set(error.instance))  # type: ignore[arg-type]  # an object: its schema says so


def _unknown(error: ValidationError) -> list[str]:
    known: dict[str, object] = error.schema["properties"]  # type: ignore[index]  # ours are objects
    return sorted(map(str, set(error.instance) - set(known)))  # type: ignore[arg-type]  # likewise
