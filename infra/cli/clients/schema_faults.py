"""Validation errors of a JSON schema as messages that name place and rule, never the value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from infra.cli.terminal.strict_yaml import line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jsonschema.exceptions import ValidationError

    Line = Callable[[Sequence[str | int]], str]
    """Renders the line of a member, such as ` (line 7)`, or an empty string."""


def schema_faults(
    document: object, schema: Mapping[str, Any], text: str | None = None
) -> list[str]:
    """Return the validation errors of a document, with line numbers if its text is given."""
    errors = sorted(Draft202012Validator(schema).iter_errors(document), key=lambda e: e.json_path)

    def line(path: Sequence[str | int]) -> str:
        return "" if text is None else f" (line {line_of(text, path)})"

    # jsonschema reports each missing field, and `_rule` names all of them.
    return list(dict.fromkeys(_fault(error, document, line) for error in errors))


def _fault(error: ValidationError, document: object, line: Line) -> str:
    path = list(error.absolute_path)
    where = _joined(path)
    match path:
        case ["clients", int() as number, *rest]:
            entry = document["clients"][number]  # type: ignore[index]  # where the error is
            name = entry.get("client_id", number) if isinstance(entry, dict) else number
            where = ": ".join(filter(None, (f"client {name}", _joined(rest))))
    if error.validator == "additionalProperties":
        names = ", ".join(f"{name}{line([*path, name])}" for name in _unknown(error))
        return f"{where or 'the file'}: unknown field {names}"
    return f"{where or 'the file'}{line(path)} {_rule(error)}"


def _joined(path: Sequence[str | int]) -> str:
    """Render a path as a program would: `federation[0].issuer`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def _rule(error: ValidationError) -> str:
    value: Any = error.validator_value
    match error.schema:
        case {"type": "string", "title": title, "description": description}:
            return f"is not a valid {title}: {description}"
    rules = {
        "required": f"lacks the field {', '.join(_missing(error))}",
        "enum": f"must be one of {', '.join(map(str, value)) if isinstance(value, list) else ''}",
        "type": f"must be of type {value}{_hint(error)}",
        "oneOf": "needs exactly one of jwks and jwks_uri",
        "minItems": "must not be empty",
        "minLength": "must not be empty",
        "maxLength": f"must have at most {value} characters",
        "minimum": f"must be at least {value}",
        "maximum": f"must be at most {value}",
        "uniqueItems": "contains an entry twice",
        "pattern": f"does not match the pattern {value}",
    }
    return rules.get(str(error.validator), f"violates {error.validator}: {value}")


def _hint(error: ValidationError) -> str:
    is_number = isinstance(error.instance, int | float)
    return " (quote it)" if is_number and error.validator_value == "string" else ""


def _missing(error: ValidationError) -> list[str]:
    if error.validator != "required":
        return []
    wanted: list[str] = error.validator_value  # type: ignore[assignment]  # JSON Schema's own rule
    return sorted(set(wanted) - set(error.instance))  # type: ignore[arg-type]  # an object: see its schema


def _unknown(error: ValidationError) -> list[str]:
    known: dict[str, object] = error.schema["properties"]  # type: ignore[index]  # an object's schema
    return sorted(map(str, set(error.instance) - set(known)))  # type: ignore[arg-type]  # an object
