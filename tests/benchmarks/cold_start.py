"""Cold start: processor time of a new process until its first response.

python -m tests.benchmarks.cold_start [ROUNDS]    prints the table and the goals
"""

from __future__ import annotations

import compileall
import json
import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from functions.shared.clients.client import to_item
from functions.shared.keys import key_ring, signing_keys
from functions.shared.web.endpoint import JWKS_PATH
from tests.benchmarks.aws_server import Content, LocalAws, serving_aws
from tests.benchmarks.decisions import API, ISSUER, sign_tokens
from tests.benchmarks.results import Goal, Section, compared, measured
from tests.benchmarks.turns import NODE, ROOT, has_node
from tests.support.aws import CREDENTIALS, ENVIRONMENT, KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.proxy_events import basic, proxy_event, token_event
from tests.support.server import SECRET, client, key, ring
from tests.support.tokens import CLIENT, jwks, rest_event, rsa_jwk

ROUNDS = 15
_BARE = "pass"
_BASELINE = """
import http.client, ssl
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives import hashes
"""
_OURS = """
import json, os
from authorizer.handler import handle
answer = handle(json.loads(os.environ["EVENT"]), None)
assert answer["policyDocument"]["Statement"][0]["Effect"] == "Allow"
"""
_FUNCTION = """
import json, os
from {module} import handle
answer = handle(json.loads(os.environ["EVENT"]), None)
assert answer["statusCode"] == 200, answer
"""
_AWS_SDK_FOR_NODE = """
const { handle } = await import(process.env.MODULE);
const { statusCode } = await handle(JSON.parse(process.env.EVENT));
process.exit(statusCode === 200 ? 0 : 1);
"""
_POWERTOOLS = """
import json, os
from aws_lambda_powertools.utilities.auth_alpha import JWTVerifier
verifier = JWTVerifier(issuer=os.environ["ISSUER"], audience=os.environ["AUDIENCE"],
                       algorithms=["RS256"], jwks=json.loads(os.environ["KEY_SET"]))
assert verifier.verify(os.environ["TOKEN"])
"""
_POWERTOOLS_TLS = """
import os
from aws_lambda_powertools.utilities.auth_alpha import JWTVerifier
verifier = JWTVerifier(issuer=os.environ["ISSUER"], audience=os.environ["AUDIENCE"],
                       algorithms=["RS256"], jwks_uri=os.environ["JWKS_URI"])
assert verifier.verify(os.environ["TOKEN"])
"""
_PYJWT = """
import json, os, jwt
key = jwt.PyJWKSet.from_json(os.environ["KEY_SET"]).keys[0]
assert jwt.decode(os.environ["TOKEN"], key, algorithms=["RS256"], audience=os.environ["AUDIENCE"])
"""
_AWS_JWT_VERIFY = """
import { JwtVerifier } from 'aws-jwt-verify';
const { ISSUER, AUDIENCE, KEY_SET, TOKEN } = process.env;
const rules = { issuer: ISSUER, audience: AUDIENCE, jwksUri: 'https://unused.example' };
const verifier = JwtVerifier.create(rules);
verifier.cacheJwks(JSON.parse(KEY_SET));
verifier.verifySync(TOKEN);
"""
BASELINE = "only imports: RSA of cryptography, http.client, ssl"
OURS_SEEDED = "Gatehouse authorizer: seeded a minute ago, no fetch"
OURS_REFUSED = "Gatehouse authorizer: seeded without a date, the issuer refuses the connection"
OURS_TLS = "Gatehouse authorizer: seeded without a date, the key set fetched over TLS"
OURS_DENY_LIST = "Gatehouse authorizer: seeded a minute ago, the deny list read"
OURS_OPAQUE = "Gatehouse authorizer: an opaque token, secret read and token introspected"
POWERTOOLS = "Powertools verifier: key set given, no fetch"
POWERTOOLS_TLS = "Powertools verifier: the key set fetched over TLS"
FIRST_TOKEN = "Gatehouse issue_token: client, key ring and key read, token signed"
BOTO3 = "the same token with boto3 and PyJWT"
NODE_SDK = "the same token in Node with the AWS SDK v3"
NODE_BUNDLE = "the same token in Node with the AWS SDK v3, bundled with esbuild"
FIRST_KEY_SET = "Gatehouse publish_jwks: key ring read"
FIRST_METADATA = "Gatehouse publish_metadata"


class _Variant(NamedTuple):
    """A process to measure."""

    command: list[str]
    env: Mapping[str, str]


def cold_start(rounds: int = ROUNDS) -> Section:
    """Measure fresh processes, taking turns."""
    with tempfile.TemporaryDirectory() as directory:
        samples = _measure(Path(directory), rounds)

    def goal(name: str, limit: float, above: str, below: str = BASELINE, *, at_least: bool = False) -> Goal:
        return compared(name, samples[above], samples[below], limit, at_least=at_least)

    return Section(
        "Cold start",
        "CPU time, user and system, of a new process until its first response, including the interpreter's start. "
        "Bytecode is next to the sources, as in an artifact. Site packages have no start-up hooks. AWS, the key set "
        "and introspection are one server on this machine, over TLS. Python processes that connect load the "
        "machine's certificate authorities, as they do in Lambda. Gatehouse loads those of Amazon, to which the "
        "server's authority belongs by its name. A seed with `fetched_at` is fresh and needs no fetch at first. "
        "A seed without it is revalidated at once.",
        [measured(name, each, "ms") for name, each in samples.items()],
        [
            goal("authorizer, seeded, compared with the bare imports", 1.3, OURS_SEEDED),
            goal("authorizer with a fetch over TLS, compared with the bare imports", 1.5, OURS_TLS),
            goal("authorizer with a deny list, compared with the bare imports", 2, OURS_DENY_LIST),
            goal("authorizer with an opaque token, compared with the bare imports", 2, OURS_OPAQUE),
            goal("first token, compared with the bare imports", 2.2, FIRST_TOKEN),
            goal("first key set, compared with the bare imports", 1.8, FIRST_KEY_SET),
            goal("boto3 compared with Gatehouse, the same token", 4, BOTO3, FIRST_TOKEN, at_least=True),
            *(
                goal("Node's bundle compared with Gatehouse, the same token", 1.3, bundle, FIRST_TOKEN, at_least=True)
                for bundle in samples.keys() & {NODE_BUNDLE}
            ),
            goal(
                "Powertools compared with Gatehouse, both with their keys", 2.5, POWERTOOLS, OURS_SEEDED, at_least=True
            ),
            goal("Powertools compared with Gatehouse, both with a fetch", 1.8, POWERTOOLS_TLS, OURS_TLS, at_least=True),
        ],
    )


def _measure(place: Path, rounds: int) -> dict[str, list[float]]:
    for package in ("authorizer", "functions"):
        shutil.copytree(ROOT / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).with_name("boto3_handler.py"), place)
    compileall.compile_dir(place, quiet=1)
    (place / "jwks.json").write_bytes(jwks(rsa_jwk()))
    with serving_aws(_content(), place) as aws:
        variants = _variants(place, aws)
        samples: dict[str, list[float]] = {name: [] for name in variants}
        for turn in range(rounds + 1):
            for name, variant in variants.items():
                spent = _processor_milliseconds(variant)
                if turn:  # the first turn only warms the file cache
                    samples[name].append(spent)
    return samples


def _content() -> Content:
    """Return a client, a key ring with its private key, and an opaque token."""
    signing, now = key(), time.time()
    claims = {"active": True, "iss": ISSUER, "sub": CLIENT, "client_id": CLIENT, "aud": API, "token_type": "Bearer"}
    times = {"iat": int(now), "nbf": int(now), "exp": int(now) + 3600}
    return Content(
        items={"service-client-jwt": to_item(client())},
        secrets={
            KEY_RING_SECRET: key_ring.to_json(ring(signing, now=now - 60)),
            SIGNING_KEYS_SECRET: signing_keys.to_json({signing.kid: signing.private_pem}),
            "introspection": json.dumps({"client_id": "authorizer", "client_secret": SECRET}),
        },
        key_set=jwks(rsa_jwk()),
        introspection=json.dumps({**claims, **times, "scope": "country.read"}).encode(),
    )


def _variants(place: Path, aws: LocalAws) -> dict[str, _Variant]:
    token = sign_tokens(1)[0]
    online = {
        **CREDENTIALS,
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": CREDENTIALS["AWS_DEFAULT_REGION"],
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_CA_BUNDLE": str(aws.bundle),
        "SSL_CERT_FILE": str(aws.bundle),
        "NODE_EXTRA_CA_CERTS": str(aws.authority),
        "NODE_NO_WARNINGS": "1",
    }
    authorizer = {
        **online,
        "ISSUER": ISSUER,
        "AUDIENCE": API,
        "JWKS_URI": f"{aws.url}/jwks",
        "JWKS_SEED": str(place / "jwks.json"),
        "EVENT": json.dumps(rest_event(token)),
    }
    dated = {"JWKS_SEED": _dated_seed(place)}
    deny_list = {"DENY_LIST_TABLE": ENVIRONMENT["STATE_TABLE"]}
    introspection = {
        "INTROSPECTION_URI": f"{aws.url}/introspect",
        "INTROSPECTION_SECRET_ARN": "introspection",
        "EVENT": json.dumps(rest_event("an-opaque-token")),
    }
    verifier = {**authorizer, "KEY_SET": jwks(rsa_jwk()).decode(), "TOKEN": token}
    grant = {"grant_type": "client_credentials", "scope": "country.read customer.read"}
    token_request = {
        **online,
        **ENVIRONMENT,
        "EVENT": json.dumps(token_event(grant, headers=basic("service-client-jwt", SECRET))),
    }
    key_set_request = {**online, **ENVIRONMENT, "EVENT": json.dumps(proxy_event("GET", JWKS_PATH))}
    python = {
        "nothing: the interpreter alone": (_BARE, online),
        BASELINE: (_BASELINE, online),
        OURS_SEEDED: (_OURS, authorizer | dated),
        OURS_REFUSED: (_OURS, authorizer | {"JWKS_URI": "https://127.0.0.1:9/jwks"}),
        OURS_TLS: (_OURS, authorizer),
        OURS_DENY_LIST: (_OURS, authorizer | dated | deny_list),
        OURS_OPAQUE: (_OURS, authorizer | dated | introspection),
        "PyJWT: key given, no fetch": (_PYJWT, verifier),
        POWERTOOLS: (_POWERTOOLS, verifier),
        POWERTOOLS_TLS: (_POWERTOOLS_TLS, verifier),
        FIRST_TOKEN: (_FUNCTION.format(module="functions.issue_token.handler"), token_request),
        BOTO3: (_FUNCTION.format(module="boto3_handler"), token_request),
        FIRST_KEY_SET: (_FUNCTION.format(module="functions.publish_jwks.handler"), key_set_request),
        FIRST_METADATA: (_FUNCTION.format(module="functions.publish_metadata.handler"), key_set_request),
    }
    variants = {name: _Variant(_python(place, code), env) for name, (code, env) in python.items()}
    if has_node():
        node = ["node", "--input-type=module", "--eval"]
        variants["aws-jwt-verify in Node: key set given, no fetch"] = _Variant([*node, _AWS_JWT_VERIFY], verifier)
        for name, module in ((NODE_SDK, NODE / "issue_token.mjs"), (NODE_BUNDLE, _bundle(place))):
            variants[name] = _Variant([*node, _AWS_SDK_FOR_NODE], {**token_request, "MODULE": str(module)})
    return variants


def _bundle(place: Path) -> Path:
    """Return the Node handler and its packages as one file, as AWS recommends."""
    bundle = place / "issue_token.mjs"
    require = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);"
    options = ["--bundle", "--minify", "--platform=node", "--format=esm", f"--banner:js={require}"]
    esbuild = NODE / "node_modules" / ".bin" / "esbuild"
    subprocess.run(
        [esbuild, "issue_token.mjs", *options, f"--outfile={bundle}", "--log-level=error"], cwd=NODE, check=True
    )
    return bundle


def _dated_seed(place: Path) -> str:
    seed = place / "dated.json"
    seed.write_text(json.dumps({"keys": [rsa_jwk()], "fetched_at": time.time() - 60}))
    return str(seed)


def _python(place: Path, code: str) -> list[str]:
    search = [str(place), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    prologue = f"import sys; sys.path[:0] = {list(dict.fromkeys(search))!r}\n"
    return [sys.executable, "-I", "-S", "-c", prologue + code]


def _processor_milliseconds(variant: _Variant) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(variant.command, env=variant.env, cwd=NODE, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main(rounds: int) -> None:
    """Print the table and the goals."""
    section = cold_start(rounds)
    for each in section.measurements:
        print(f"{each.name:<84} {each.value:>8.1f} {each.unit}")
    for goal in section.goals:
        print(f"{goal.name:<84} {goal.found:>8.2f}, {goal.bound}{'' if goal.is_met else ' MISSED'}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
