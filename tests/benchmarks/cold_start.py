"""Cold start: processor time of a new process until its first response."""

import compileall
import datetime as dt
import ipaddress
import json
import os
import resource
import shutil
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from local.certificates import with_extensions
from tests.benchmarks.decisions import API, ISSUER, NODE, ROOT, has_node, sign_tokens
from tests.benchmarks.jwks_server import serving
from tests.benchmarks.results import Goal, Section, measured, paired_ratio
from tests.support.tokens import jwks, rest_event, rsa_jwk

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
OURS_SEEDED = "Gatehouse: seeded a minute ago, no fetch"
OURS_REFUSED = "Gatehouse: seeded without a date, the issuer refuses the connection"
OURS_TLS = "Gatehouse: seeded without a date, the key set fetched over TLS"
BASELINE = "only imports: RSA of cryptography, http.client, ssl"
POWERTOOLS = "Powertools: key set given, no fetch"
POWERTOOLS_TLS = "Powertools: the key set fetched over TLS"


def cold_start() -> Section:
    """Measure fresh processes, taking turns."""
    with tempfile.TemporaryDirectory() as directory:
        samples = _measure(Path(directory))
    seeded = paired_ratio(samples[OURS_SEEDED], samples[BASELINE])
    tls = paired_ratio(samples[OURS_TLS], samples[BASELINE])
    both_seeded = paired_ratio(samples[POWERTOOLS], samples[OURS_SEEDED])
    both_tls = paired_ratio(samples[POWERTOOLS_TLS], samples[OURS_TLS])
    return Section(
        "Cold start",
        "CPU time, user and system, of a new process until its first response, including the "
        "interpreter's start. Bytecode is next to the sources, as in an artifact. Site packages "
        "have no start-up hooks. A seed with `fetched_at` is fresh and needs neither HTTP nor "
        "TLS at first. A seed without it is revalidated at once, over TLS from a server on this "
        "machine, or refused.",
        [measured(name, each, "ms") for name, each in samples.items()],
        [
            Goal("Gatehouse, seeded, compared with the bare imports", seeded, 1.3),
            Goal("Gatehouse with a fetch over TLS, compared with the bare imports", tls, 1.3),
            Goal("Powertools compared with Gatehouse, both with their keys", both_seeded, 2.5, at_least=True),
            Goal("Powertools compared with Gatehouse, both with a fetch", both_tls, 2.5, at_least=True),
        ],
    )


def _measure(place: Path) -> dict[str, list[float]]:
    shutil.copytree(ROOT / "authorizer", place / "authorizer", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(place, quiet=1)
    (place / "jwks.json").write_bytes(jwks(rsa_jwk()))
    with _tls_server(place) as url:
        environ = _environment(place)
        online = {"JWKS_URI": url, "SSL_CERT_FILE": str(place / "ca.pem")}
        variants = {
            "nothing: the interpreter alone": (_BARE, environ),
            BASELINE: (_BASELINE, environ),
            OURS_SEEDED: (_OURS, environ | {"JWKS_SEED": _dated_seed(place)}),
            OURS_REFUSED: (_OURS, environ | {"JWKS_URI": "https://127.0.0.1:9/jwks"}),
            OURS_TLS: (_OURS, environ | online),
            "PyJWT: key given, no fetch": (_PYJWT, environ),
            POWERTOOLS: (_POWERTOOLS, environ),
            POWERTOOLS_TLS: (_POWERTOOLS_TLS, environ | online),
        }
        commands = {name: (_python(place, code), env) for name, (code, env) in variants.items()}
        if has_node():
            script = ["node", "--input-type=module", "--eval", _AWS_JWT_VERIFY]
            commands["aws-jwt-verify in Node: key set given, no fetch"] = (script, environ)
        samples: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(ROUNDS + 1):
            for name, (command, env) in commands.items():
                spent = _processor_milliseconds(command, env)
                if turn:  # the first turn only warms the file cache
                    samples[name].append(spent)
    return samples


def _dated_seed(place: Path) -> str:
    seed = place / "dated.json"
    seed.write_text(json.dumps({"keys": [rsa_jwk()], "fetched_at": time.time() - 60}))
    return str(seed)


def _python(place: Path, code: str) -> list[str]:
    paths = [str(place), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    prologue = f"import sys; sys.path[:0] = {list(dict.fromkeys(paths))!r}\n"
    return [sys.executable, "-I", "-S", "-c", prologue + code]


def _environment(place: Path) -> dict[str, str]:
    token = sign_tokens(1)[0]
    return {
        "PATH": os.environ["PATH"],
        "ISSUER": ISSUER,
        "AUDIENCE": API,
        "JWKS_SEED": str(place / "jwks.json"),
        "KEY_SET": jwks(rsa_jwk()).decode(),
        "TOKEN": token,
        "EVENT": json.dumps(rest_event(token)),
    }


def _processor_milliseconds(command: list[str], env: Mapping[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=env, cwd=NODE, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


@contextmanager
def _tls_server(place: Path) -> Iterator[str]:
    """Serve the key set with a new certificate that `ca.pem` verifies."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    public, usage = key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH
    certificate = with_extensions(builder, public, public, usage).sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (place / "ca.pem").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (place / "server.pem").write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "server.pem")
    with serving(jwks(rsa_jwk()), context) as endpoint:
        yield endpoint.url
