"""docs/reference/settings.md: parameters of the stack, variables of functions and of the laptop."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from authorizer import settings as authorizer_settings
from functions.introspect_token.handler import Settings as IntrospectToken
from functions.issue_token.handler import Settings as IssueToken
from functions.publish_jwks.handler import Settings as PublishJwks
from functions.publish_metadata.handler import Settings as PublishMetadata
from functions.publish_resource_metadata.handler import Settings as PublishResourceMetadata
from functions.revoke_token.handler import Settings as RevokeToken
from functions.rotate_keys.settings import Settings as RotateKeys
from infra.cloudformation import load
from infra.local_stack import PORTS
from infra.reference.pages import TEMPLATE, docstrings, parse, table

AUTHORIZERS = ("Authorizer", "SharedAuthorizer")

FUNCTIONS: Mapping[str, type] = {
    "IssueToken": IssueToken,
    "PublishJwks": PublishJwks,
    "IntrospectToken": IntrospectToken,
    "RevokeToken": RevokeToken,
    "PublishMetadata": PublishMetadata,
    "PublishResourceMetadata": PublishResourceMetadata,
    "RotateKeys": RotateKeys,
}
"""The settings of each function. LookUpCountry has none, the authorizer has its own section."""

MEANINGS: Mapping[str, str] = {
    "issuer": "The authorization server's address, and the `iss` of its tokens.",
    "clients_table": "The table of clients, by name.",
    "tokens_table": "The table of opaque tokens, by name.",
    "state_table": "The state table (used proofs, counters, revoked tokens), by name.",
    "key_ring_secret": "The secret with the public keys and their times, by name or ARN.",
    "signing_keys_secret": "The secret with the private keys, by name or ARN.",
    "dpop_nonce_secret": "The secret that DPoP nonces are made with, by name or ARN.",
    "remote_keys": "`loopback`: keys of clients and issuers may be on this machine, over http. "
    "Only for the laptop.",
    "mtls_base_url": "The server's address behind mutual TLS, for metadata and DPoP proofs.",
    "resource": "The guarded API's address. Without it that of its stage.",
    "proof_of_possession": "Comma list of dpop and mtls: which bound tokens the guarded API takes.",
    "key_edition": "`secrets-manager` or `kms`: the key backend of new keys.",
    "stack_name": "The stack in the tag of its KMS keys and in every metric. Without it there "
    "are no metrics.",
    "algorithms": "Comma list of RS256, PS256, ES256, EdDSA: a key of each.",
    "key_signing_days": "How long a key signs.",
    "key_announce_hours": "How long it is published before.",
    "key_retire_hours": "How long it is published after.",
    "verifier_cache_seconds": "How long a verifier uses a key set that it cannot refresh.",
}
"""Descriptions of the fields of settings. Functions share most of them."""

OF_ONES_OWN = frozenset(
    {
        *("JWKS_URI", "CLIENT_IDS", "REQUIRE_AT_JWT", "MAX_TOKEN_LIFETIME", "JWKS_SOFT_AGE"),
        *("JWKS_COOL_DOWN", "JWKS_SEED", "FETCH_TIMEOUT", "INTROSPECTION_CLIENT_ID"),
        *("INTROSPECTION_CLIENT_SECRET", "INTROSPECTION_CACHE", "REPLAYS_IN_MEMORY"),
        *("DENY_LIST_SOFT_AGE", "DENY_LIST_HARD_AGE", "SCOPE_MAP", "API_RULES_SOFT_AGE"),
        *("API_RULES_HARD_AGE", "SIMPLE_RESPONSE", "USAGE_KEYS", "POLICY_EXPIRES"),
        "REMEMBERED_TOKENS",
    }
)
"""Settings that the stack's authorizers leave at their defaults; a test holds the list complete."""

OF_THE_LAPTOP = frozenset({"REMOTE_KEYS"})
"""Settings of functions that no stack has."""

_LAPTOP: Mapping[str, str] = {
    "GATEHOUSE_AUTH_PORT": "The authorization server. The issuer follows.",
    "GATEHOUSE_API_PORT": "The guarded API.",
    "GATEHOUSE_BOUND_API_PORT": "The guarded API for key-bound tokens; left out where the port is "
    "taken and was not set.",
    "GATEHOUSE_AWS_PORT": "moto, always on 127.0.0.1.",
    "GATEHOUSE_MTLS_PORT": "The authorization server behind mutual TLS; left out with the next one "
    "where either port is taken and was not set.",
    "GATEHOUSE_MTLS_API_PORT": "The guarded API behind mutual TLS.",
    "GATEHOUSE_MTLS_BOUND_API_PORT": "The API for key-bound tokens behind mutual TLS.",
    "GATEHOUSE_CONSOLE_PORT": "The [console](../console.md), on 127.0.0.1 whatever the host; `off` "
    "for none; left out where the port is taken and was not set.",
    "GATEHOUSE_HOST": "The address that the APIs bind.",
    "GATEHOUSE_AUTH_WORKERS": "Processes that serve the authorization server; always one with "
    "chalice's reloader and on other systems than Linux.",
    "GATEHOUSE_RATE_LIMITS": "Each process counts the requests to a route and answers 429 above "
    "the limits that template.yaml declares; `off` switches that off.",
    "GATEHOUSE_MTLS": "If set, an API that is started manually serves mutual TLS too.",
    "GATEHOUSE_QUIET": "If set, an API that is started manually prints no line per request.",
    "AWS_ENDPOINT_URL": "Another endpoint in place of moto on its port.",
}
_LAPTOP_DEFAULTS: Mapping[str, object] = {
    **PORTS,
    "GATEHOUSE_HOST": "127.0.0.1",
    "GATEHOUSE_AUTH_WORKERS": "one for each core",
    "GATEHOUSE_RATE_LIMITS": "on",
}
_COMMAND_LINE = (
    ("GATEHOUSE_STACK", "The stack of `--stack`."),
    ("GATEHOUSE_CLIENT_SECRET", "The secret that `gatehouse token get` authenticates with."),
)

_HEAD = """# Settings

Written from the code by `make reference`: from `template.yaml`, from the settings of each function,
and from those of the authorizer. Most deployments need the first table only: the stack gives its
functions what they read.
"""


def write_page() -> str:
    """Return the page."""
    return "\n".join(
        [
            _HEAD,
            "## Parameters of the stack",
            "[deploy.md](../deploy.md) explains them in groups.\n",
            table(("parameter", "default", "allowed", "description"), list(_parameters())),
            "\n## The authorizer",
            (
                "Environment variables; an empty one counts as not set. Times are in seconds. One "
                "error names all missing or wrong values, and\nthe authorizer does not start. "
                "[Guard your API](../guard-your-api.md) explains them.\n\n"
                "*Set by* names the stack's parameters that become the variable at its "
                "authorizers; *the template* needs none.\nThe others are for "
                "[an authorizer of your own](../guard-your-api.md#an-authorizer-of-your-own); the "
                "stack's have the default.\n"
            ),
            table(("variable", "default", "set by", "description"), list(_authorizer())),
            "\n## The functions",
            "Environment variables, which the template sets. An empty one counts as not set.\n",
            table(("variable", "default", "set by", "read by", "description"), list(_functions())),
            "\n## The laptop edition",
            "Environment variables of `make run`, and of an API that is started manually.\n",
            table(("variable", "default", "description"), list(laptop_rows())),
            "\n## The command line",
            "Those of the AWS CLI too, and with `--local` those of the laptop edition.\n",
            table(("variable", "description"), [(f"`{a}`", b) for a, b in _COMMAND_LINE]),
            "",
        ]
    )


def _parameters() -> Iterator[tuple[str, str, str, str]]:
    for name, said in load(TEMPLATE)["Parameters"].items():
        default = str(said["Default"])
        yield (
            f"`{name}`",
            f"`{default}`" if default else "none",
            _allowed(said),
            said["Description"],
        )


def _allowed(said: Mapping[str, Any]) -> str:
    if "AllowedValues" in said:
        return ", ".join(f"`{value}`" if value != "" else "none" for value in said["AllowedValues"])
    if "MaxValue" in said:
        return f"{said['MinValue']} to {said['MaxValue']}"
    if "MinValue" in said:
        return f"{said['MinValue']} and more"
    return f"`{said['AllowedPattern']}`" if "AllowedPattern" in said else ""


def _authorizer() -> Iterator[tuple[str, str, str, str]]:
    given = parameters_behind(AUTHORIZERS)
    for name, default, meaning in authorizer_rows():
        variable = name.strip("`")
        own = "an authorizer of your own" if variable in OF_ONES_OWN else ""
        yield name, default, own or _set_by(given[variable]), meaning


def _set_by(parameters: Sequence[str]) -> str:
    return ", ".join(f"`{each}`" for each in parameters) or "the template"


def authorizer_rows() -> Iterator[tuple[str, str, str]]:
    """Yield variable, default and meaning of each of the authorizer's settings."""
    tree = parse(authorizer_settings).body
    kind = next(each for each in tree if isinstance(each, ast.ClassDef) and each.name == "Settings")
    meanings = dict(docstrings(kind.body))
    for keyword in _read_in(kind):
        if keyword.arg == "issuer":
            yield "`ISSUER`", "required", meanings["issuer"]
            continue
        call = keyword.value
        assert isinstance(call, ast.Call)  # noqa: S101 - how from_env is written
        name = ast.literal_eval(call.args[0])
        default = call.args[2] if len(call.args) > 2 else call.keywords[0].value
        yield f"`{name}`", _default(default), meanings[str(keyword.arg)]


def _read_in(kind: ast.ClassDef) -> list[ast.keyword]:
    """Return the keywords of `cls(…)` in from_env, which has each field's variable and default."""
    return next(
        node.keywords
        for node in ast.walk(kind)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "cls"
    )


def _default(node: ast.expr) -> str:
    """Return a default as an operator would write it."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "frozenset":
        return ", ".join(f"`{each}`" for each in _members(node)) or "none"
    if isinstance(node, ast.Call):
        return f"from {', '.join(f'`{ast.unparse(each).upper()}`' for each in node.args)}"
    value = ast.literal_eval(node)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, int | float) else "none"


def _members(node: ast.Call) -> tuple[str, ...]:
    return ast.literal_eval(node.args[0]) if node.args else ()


def _functions() -> Iterator[tuple[str, str, str, str, str]]:
    given = parameters_behind(tuple(FUNCTIONS))
    readers: dict[str, list[str]] = {}
    defaults: dict[str, str] = {}
    for function, kind in FUNCTIONS.items():
        for field in fields(kind):
            readers.setdefault(field.name, []).append(function)
            defaults[field.name] = "required" if field.default is MISSING else field.default
    readers["stack_name"] = ["all"]
    for name, functions in readers.items():
        default = defaults[name]
        shown = default if default == "required" else f"`{default}`" if default else "none"
        variable = name.upper()
        laptop = "the laptop edition" if variable in OF_THE_LAPTOP else ""
        set_by = laptop or _set_by(given[variable])
        yield f"`{variable}`", shown, set_by, ", ".join(functions), MEANINGS[name]


def laptop_rows() -> Iterator[tuple[str, str, str]]:
    """Yield variable, default and meaning of what the laptop edition reads."""
    for name, meaning in _LAPTOP.items():
        yield f"`{name}`", str(_LAPTOP_DEFAULTS.get(name, "none")), meaning


def parameters_behind(functions: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the stack's parameters that decide about each variable of the functions.

    They are in the template's order. A variable with a fixed value has none.
    """
    document = load(TEMPLATE)
    shared = document["Globals"]["Function"]["Environment"]["Variables"]
    found: dict[str, set[str]] = {}
    for function in functions:
        own = document["Resources"][function]["Properties"]["Environment"]["Variables"]
        for variable, value in {**shared, **own}.items():
            found.setdefault(variable, set()).update(_names(value, document["Conditions"]))
    return {
        variable: tuple(name for name in document["Parameters"] if name in names)
        for variable, names in found.items()
    }


def _names(node: Any, conditions: Mapping[str, Any]) -> Iterator[str]:
    """Yield the references of a value and of the conditions that it depends on."""
    if isinstance(node, list):
        for each in node:
            yield from _names(each, conditions)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "Ref":
                yield value
            elif key == "Fn::Sub":
                text, extra = (value, {}) if isinstance(value, str) else value
                yield from re.findall(r"\$\{([A-Za-z]+)\}", text)
                yield from _names(extra, conditions)
            elif key == "Condition":
                yield from _names(conditions[value], conditions)
            elif key == "Fn::If":
                yield from _names([conditions[value[0]], *value[1:]], conditions)
            else:
                yield from _names(value, conditions)
