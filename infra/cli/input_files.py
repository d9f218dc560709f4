"""Input from files and prompts: strict YAML, text, secrets and tokens."""

import os
import re
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from getpass import GetPassWarning
from math import isfinite
from pathlib import Path
from typing import Any

import click
import yaml
from cryptography.x509 import Certificate, load_pem_x509_certificate

from authorizer import strict_json

from ..cloudformation import StrictConstructor, rejected
from .errors import NotFoundError, UsageError
from .output import answered_or

_NOT_IN_JSON = frozenset(f"tag:yaml.org,2002:{name}" for name in ("timestamp", "binary", "set", "omap", "pairs"))


def read_text(path: Path) -> str:
    """Read a file of text; raises NotFoundError, UsageError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.") from error


def write_text(path: Path, text: str) -> None:
    """Write a file of text; raises UsageError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


def read_certificate(path: Path) -> Certificate:
    """Read a certificate; raises NotFoundError, UsageError."""
    try:
        return load_pem_x509_certificate(read_text(path).encode())
    except ValueError:
        raise UsageError(f"{path} does not contain a certificate.", "Use PEM.") from None


def parse_yaml(text: str, source: str) -> object:
    """Parse YAML or JSON; raises UsageError."""
    try:
        return yaml.load(text, Loader=_JsonLoader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UsageError(f"{source} is not YAML: {where}{error.problem}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not YAML: {error}.") from error
    except RecursionError as error:
        raise UsageError(f"{source} is nested too deeply.") from error


def line_of(text: str, path: Iterable[str | int]) -> int:
    """Return the line, from 1, of a member of a YAML document or of its nearest parent.

    `path` contains names of members and numbers of entries, from the root.
    """
    node = yaml.compose(text, Loader=_JsonLoader)
    line = node.start_mark.line if node else 0
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
    return int(line) + 1


class _JsonLoader(StrictConstructor, yaml.SafeLoader):
    """A loader for values that JSON has."""

    def construct_mapping(self, node: yaml.MappingNode, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        made = super().construct_mapping(node, *args, **kwargs)
        for key in made:
            if not isinstance(key, str):
                raise rejected(f"the key {key} is not a string (quote it)", node)
        return made

    def construct_object(self, node: yaml.Node, *args: Any, **kwargs: Any) -> Any:
        if node.tag in _NOT_IN_JSON:
            raise rejected(f"{node.tag.rpartition(':')[2]} is not a JSON type", node)
        try:
            value = super().construct_object(node, *args, **kwargs)
        except ValueError as error:
            raise rejected("a number is too long", node) from error
        if not isinstance(value, float):
            return value
        if not isfinite(value):
            raise rejected(f"{value} is not a JSON number", node)
        return int(value) if value.is_integer() else value


STDIN = Path("-")
_OWNER_ONLY = 0o600
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]*\.|gh_at_")
_SCHEME = re.compile(r"(authorization:\s*)?(bearer|dpop)\s+", re.IGNORECASE)


def read_secret(prompt: str, source: Path | None, option: str = "") -> str:
    """Return a secret from a file, from stdin (`-`), or typed at a prompt that shows nothing.

    A trailing line break is removed. `option` names the file on the command line.

    Raises:
        UsageError: it is empty, or not text, or there is no terminal to type it on.
        NotFoundError: the file cannot be read.
        KeyboardInterrupt: the answer is Ctrl-C.
    """
    secret = _typed(prompt, option) if source is None else _read(source)
    secret = secret.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise UsageError(f"{prompt} is empty.", "Pipe it in, or name a file that contains it.")
    return secret


def is_token(argument: str) -> bool:
    """Return whether an argument is a token of Gatehouse or a JWT, and not the name of a file."""
    return bool(_TOKEN.match(argument)) and not os.path.exists(argument)  # noqa: PTH110 - long names


def read_token(file: Path) -> str:
    """Return the token in a file, from stdin, or typed at a prompt if stdin is a terminal.

    Raises:
        UsageError: the argument is a token, or the file has none.
        NotFoundError: the file cannot be read.
    """
    if is_token(str(file)):
        raise UsageError(
            "The argument is a token, but must be a file.", "Write the token to a file, or give - and pipe it in."
        )
    is_typed = file == STDIN and sys.stdin.isatty()
    return token_in(read_secret("The token", None if is_typed else file))


def token_in(text: str) -> str:
    """Return the token of a text: it alone, after its scheme or in a header, or in a token response.

    Raises:
        UsageError: the text is JSON without a token.
    """
    text = text.strip()
    if not text.startswith("{"):
        return _SCHEME.sub("", text.splitlines()[0] if _SCHEME.match(text) else text).strip()
    next_step = "Give the token alone, or the whole token response."
    try:
        response = strict_json.parse_object(text.encode())
    except strict_json.JsonError as error:
        raise UsageError(f"The token is in JSON that cannot be read: {error}.", next_step) from error
    token = response.get("access_token")
    if not isinstance(token, str):
        problem = f"the error {response['error']}" if "error" in response else "no access_token"
        raise UsageError(f"The token response has {problem}.", next_step)
    return token.strip()


def write_private_file(path: Path, text: str) -> None:
    """Write a new file that only its owner may read; raises UsageError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    except FileExistsError as error:
        raise UsageError(f"{path} already exists.", "Name a new file.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


def _typed(prompt: str, option: str) -> str:
    with warnings.catch_warnings():
        # Without a terminal the standard library would warn and show what is typed.
        warnings.simplefilter("error", GetPassWarning)
        missing = UsageError(
            f"{prompt} is missing, and there is no terminal for a prompt.",
            f"Name a file that contains it, or - for stdin{option and f', with {option}'}.",
        )
        try:
            with answered_or(missing):
                return str(click.prompt(prompt, hide_input=True, err=True))
        except GetPassWarning as error:
            raise missing from error


def _read(source: Path) -> str:
    try:
        return sys.stdin.read() if source == STDIN else source.read_text(encoding="utf-8")
    except OSError as error:
        raise NotFoundError(f"{source} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{source} is not UTF-8 text.") from error
