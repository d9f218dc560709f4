"""The strictness and fuzz suites run against the installed wheel, and its public interface rejects the same tokens."""

import json
from pathlib import Path

import pytest

from tests.strictness.cases import CASES, CONTROLS, ISSUER, OTHER_ISSUER, World
from tests.support.tokens import NOW, jwks, rsa_jwk
from tests.support.wheel import ROOT, python_with_wheel, unpacked_wheel

pytestmark = pytest.mark.slow

AS_HEADER = {"credentials_malformed", "credentials_missing", "credentials_several", "opaque_not_accepted"}
"""Reasons for a text that is not sent as a JWT at all."""

PUBLIC = """
import json, sys, time
from urllib.parse import urlsplit
time.time = lambda: NOW
import gatehouse.https_client as client
from gatehouse import AccessTokenError, AccessTokens

answers = {OTHER: OTHER_KEYS}
client.send = lambda request: client.Response(200, {}, answers[request.url].encode())
for number, (token, key_set, options) in enumerate(json.load(open(sys.argv[1]))):
    uri = f"https://keys.example/{number}"
    answers[uri] = key_set
    tokens = AccessTokens(issuer=ISSUER, jwks_uri=uri, **options)
    try:
        print("accepted", tokens.verify(token).issuer)
    except AccessTokenError as error:
        print(error.reason, error.status)
"""
OTHER_URI = "https://keys.example/other"
for word, value in {
    "NOW": NOW,
    "ISSUER": ISSUER,
    "OTHER_KEYS": jwks(rsa_jwk("other")).decode(),
    "OTHER": OTHER_URI,
}.items():
    PUBLIC = PUBLIC.replace(word, repr(value))

# The suites import `authorizer`: a link to the wheel's package, which is imported before the repository's.
LINKED = """
import runpy, sys
folder = sys.argv.pop(1)
sys.path.insert(0, folder)
import authorizer
sys.path[0] = ""
try:
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
except SystemExit as finished:
    assert not finished.code, finished.code
files = {module.__file__ for name, module in sys.modules.items() if name.startswith("authorizer.")}
assert files and all(file.startswith(folder) for file in files), files
"""


def run_with_wheel(folder: Path, *arguments: str) -> str:
    (folder / "authorizer").symlink_to(unpacked_wheel() / "gatehouse")
    done = python_with_wheel("-c", LINKED, str(folder), *arguments, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def row(token: str, world: World) -> tuple[str, str, dict[str, object]]:
    options: dict[str, object] = {"audience": world.audience, "algorithms": sorted(world.algorithms)}
    options["other_issuers"] = {OTHER_ISSUER: {"audience": world.audience, "jwks_uri": OTHER_URI}}
    if world.client_ids:
        options["client_ids"] = sorted(world.client_ids)
    return token, world.key_set().decode(), {**options, "require_at_jwt": world.require_at_jwt}


def outcomes(rows: list[tuple[str, str, dict[str, object]]], folder: Path) -> list[list[str]]:
    file = folder / "rows.json"
    file.write_text(json.dumps(rows))
    done = python_with_wheel("-c", PUBLIC, str(file), cwd=folder)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_public_interface_rejects_every_case_of_the_table(tmp_path: Path) -> None:
    found = outcomes([row(case.make(), case.world) for case in CASES], tmp_path)
    for case, (reason, status) in zip(CASES, found, strict=True):
        assert (reason in {case.reason, *AS_HEADER}, status in {"400", "401"}) == (True, True), (case, reason, status)
    assert sum(reason == case.reason for case, (reason, _) in zip(CASES, found, strict=True)) > 0.8 * len(CASES)


def test_public_interface_accepts_every_control(tmp_path: Path) -> None:
    found = outcomes([row(control.make(), control.world) for control in CONTROLS], tmp_path)
    assert found == [["accepted", ISSUER]] * len(CONTROLS)


def test_strictness_suite_passes_with_the_wheel(tmp_path: Path) -> None:
    suites = ("tests/strictness/test_strictness.py", "tests/unit/authorizer/test_verifier.py")
    assert " passed" in run_with_wheel(tmp_path, "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *suites)


def test_fuzz_suite_finds_no_disagreement_with_the_wheel(tmp_path: Path) -> None:
    output = run_with_wheel(tmp_path, "tests.strictness.fuzz", "--examples", "200")
    assert "200 of 200 examples" in output
