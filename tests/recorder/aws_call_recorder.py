"""Records which function of Gatehouse calls which AWS operation.

It is a plugin that botocore loads into every client, and an audit hook for `authorizer.aws_client`, which
`sitecustomize` adds. Both happen in every process that has `ENVIRONMENT` set. These are the
tests' processes, those of `chalice local`, and those of Lambda's runtime client. The last ones can
import nothing else of the tests: this module imports the standard library only.

A call belongs to the slice whose code made it, which is found in the call stack.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FOLDER = "GATEHOUSE_AWS_CALLS"
"""Names the folder that every process writes a file of its own into."""

PLUGINS = "BOTOCORE_EXPERIMENTAL__PLUGINS"

FOLDER_OF_THIS = Path(__file__).parent

UNKNOWN = "unknown"
"""The caller of a call that belongs to neither a slice nor a test."""

_ARTIFACTS = ("functions", "authorizer")
_OURS = (*_ARTIFACTS, "infra", "local", "tests")
_SHARED = "functions.shared"
_CLIENTS = ("authorizer.aws_client", "functions.shared.storage.boto3_client", "tests.recorder.aws_call_recorder")
_AUDIT_EVENT = "gatehouse.aws.call"
_PARAMETERS = ("TableName", "SecretId", "KeyId", "TargetKeyId", "AliasName", "Name", "Bucket")
_HELD = "gatehouse_parameters"
_written: dict[int, set[str]] = {}
"""The records of each process, by id: a forked process starts with none."""


def environment(folder: str) -> dict[str, str]:
    """Return the variables that make a process record its calls."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {
        FOLDER: folder,
        PLUGINS: f"gatehouse={__name__.rpartition('.')[2]}",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([*paths, str(FOLDER_OF_THIS)])),
    }


def inherited() -> dict[str, str]:
    """Return the variables for a child process that inherits nothing else."""
    return {name: os.environ[name] for name in (FOLDER, PLUGINS) if name in os.environ}


def initialize_client_plugin(client: Any) -> None:
    """Listen to a new client: botocore calls this by its name."""
    client.meta.events.register("before-parameter-build", _before)
    client.meta.events.register("after-call.kms.CreateKey", _made)


def caller(modules: Iterable[str]) -> str | None:
    """Return the package whose call this is, from the stack's module names, innermost first.

    All calls go through a client, so the module that uses it decides. Functions also use
    the authorizer's code, so the first module that is not the authorizer's decides. Tests, the
    laptop edition and operators call for themselves: None.
    """
    ours = [name for name in modules if name.partition(".")[0] in _OURS and name not in _CLIENTS]
    if any(name.startswith("infra.") for name in ours):
        return None
    user = next((name for name in ours if not name.startswith("authorizer.")), "")
    if not user.startswith("functions."):
        return "authorizer" if ours and ours[0].startswith("authorizer.") else None
    for name in ours:
        if name.startswith("functions.") and not name.startswith(_SHARED):
            return ".".join(name.split(".")[:2])
    return None if any(not name.startswith(_ARTIFACTS) for name in ours) else UNKNOWN


def _stack() -> Iterator[str]:
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        # A module that runs as a command, such as `python -m local.emulated_aws`, has its name in its spec.
        spec = frame.f_globals.get("__spec__") if name == "__main__" else None
        yield spec.name if spec else name
        frame = frame.f_back  # type: ignore[assignment]


def listen() -> None:
    """Record the calls of `authorizer.aws_client` in this process. Idempotent, for a hook cannot be removed."""
    if not hasattr(sys, "_gatehouse_listens"):
        sys._gatehouse_listens = True  # type: ignore[attr-defined] # this module may be imported under two names
        sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == _AUDIT_EVENT:
        _record(*arguments)


def _before(params: dict[str, Any], model: Any, context: dict[str, Any], **_: object) -> None:
    context[_HELD] = params
    _record(model.service_model.signing_name, model.name, params)


def _record(service: str, operation: str, params: dict[str, Any]) -> None:
    package = caller(_stack())
    if package is not None:
        write({
            "caller": package,
            "function": os.environ.get("AWS_LAMBDA_FUNCTION_NAME"),
            "service": service,
            "operation": operation,
            "parameters": {name: params[name] for name in _PARAMETERS if name in params},
            "leading_key": _leading_key(params),
            "tags": _tags(params),
        })  # fmt: skip


def _made(parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    """Record the purpose and tags of each key: policies refer to them in later calls."""
    metadata = parsed.get("KeyMetadata")
    if metadata:
        asked = context.get(_HELD, {})
        usage = asked.get("KeyUsage", "ENCRYPT_DECRYPT")  # KMS's own default
        write({"key": metadata["KeyId"], "usage": usage, "tags": _tags(asked)})


def _tags(params: dict[str, Any]) -> dict[str, str]:
    return {tag["TagKey"]: tag["TagValue"] for tag in params.get("Tags", ()) if "TagKey" in tag}


def _leading_key(params: dict[str, Any]) -> str | None:
    """Return an item's partition key; what follows its kind is one entry's business."""
    key = params.get("Key") or params.get("Item") or {}
    for name in ("entry", "token_digest", "client_id"):
        if name in key:
            kind, mark, _ = str(key[name].get("S", "")).partition("#")
            return f"{kind}{mark}" if mark else name
    return None


def write(record: dict[str, Any]) -> None:
    """Append a record to this process's file, once."""
    folder = os.environ.get(FOLDER)
    text = json.dumps(record, sort_keys=True)
    written = _written.setdefault(os.getpid(), set())
    if folder is None or text in written:
        return
    written.add(text)
    place = os.environ.get("PYTEST_CURRENT_TEST") or " ".join(sys.argv[:2])
    with (Path(folder) / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**record, "place": place}) + "\n")
