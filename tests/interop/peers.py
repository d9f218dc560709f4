"""The verifiers and clients: how each one is built and started. Each has the routes of `ROUTES`.

A peer is a process that listens on a port of its own. A route answers 200 for a valid bearer token
and 401 or 403 otherwise; /client returns a token that the peer's own client requested.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Template

import jwt
import requests
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.laptop import ROOT

SOURCE = ROOT / "tests" / "interop"
BUILT = ROOT / ".gatehouse" / "interop"
NODE = ROOT / "tests" / "local" / "node"
NGINX_MODULES = Path("/usr/lib/nginx/modules")
APACHE_MODULES = Path("/usr/lib/apache2/modules")
OAUTH2_PROXY = "github.com/oauth2-proxy/oauth2-proxy/v7@v7.15.6"
JWTS = ("plain", "at-jwt")
ROUTES = (*JWTS, "opaque", "client")


@dataclass(frozen=True, slots=True)
class Place:
    """The address of the issuer, and the port and folder of one peer."""

    issuer: str
    port: int
    folder: Path

    def render(self, name: str, **values: str) -> Path:
        """Write a configuration file from its template."""
        template = Template((SOURCE / "config" / name).read_text(encoding="utf-8"))
        known = {"ISSUER": self.issuer, "PORT": str(self.port), "FOLDER": str(self.folder), "SOURCE": str(SOURCE)}
        file = self.folder / name
        file.write_text(template.substitute(known | values), encoding="utf-8")
        return file


def _nothing() -> None:
    """Build nothing."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One verifier or client. `needs` are programs and files; `known` are reasons to reject a profile, by route."""

    name: str
    version: Callable[[], str]
    routes: Sequence[str]
    needs: Sequence[str | Path]
    command: Callable[[Place], Sequence[str | Path]]
    build: Callable[[], None] = _nothing
    known: Mapping[str, str] = field(default_factory=dict)
    reload: Callable[[Place, int], None] | None = None
    """Takes new keys over; for peers that do not fetch the key set."""

    def missing(self) -> str:
        """Return the reason for leaving it out, or nothing."""
        for each in self.needs:
            if not (each.exists() if isinstance(each, Path) else shutil.which(each)):
                return f"`{each}` is not installed"
        return ""


def run(*command: str | Path, cwd: Path = ROOT, **environ: str) -> str:
    """Run a command with low priority; return its output.

    Raises:
        BuildError: it failed.
    """
    done = subprocess.run(
        ["nice", "-n", "10", *command],
        cwd=cwd,
        env=os.environ | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"`{command[0]}` failed: {(done.stdout.strip().splitlines() or ['no output'])[-1]}")
    return done.stdout


class BuildError(Exception):
    """A peer cannot be built here."""


@cache
def _build_go() -> None:
    run("go", "build", "-o", f"{BUILT / 'bin'}/", "./...", cwd=SOURCE / "go")


@cache
def _build_oauth2_proxy() -> None:
    run("go", "install", OAUTH2_PROXY, GOBIN=str(BUILT / "bin"))


@cache
def _install_npm() -> None:
    if not (NODE / "node_modules" / ".package-lock.json").exists():
        run("npm", "ci", "--no-audit", "--no-fund", cwd=NODE)


def _go(name: str, modules: Sequence[str], routes: Sequence[str]) -> Peer:
    def version() -> str:
        pinned = (SOURCE / "go" / "go.mod").read_text(encoding="utf-8")
        return ", ".join(f"{module} {_found(re.escape(module) + ' v([0-9.]+)', pinned)}" for module in modules)

    return Peer(name, version, routes, ("go",), lambda _: [BUILT / "bin" / name], _build_go)


def _npm(name: str, routes: Sequence[str], known: Mapping[str, str] | None = None) -> Peer:
    def version() -> str:
        pinned = json.loads((NODE / "package.json").read_text(encoding="utf-8"))
        return f"{name} {pinned['dependencies'][name]}, Node {run('node', '--version').strip()[1:]}"

    command = ("node", NODE / "guard.mjs", name)
    return Peer(name, version, routes, ("node", "npm"), lambda _: command, _install_npm, known or {})


def _spring(boot: str) -> Peer:
    folder = BUILT / f"spring-{boot}"
    jar = folder / "interop.jar"

    @cache
    def build() -> None:
        options = (f"-Dspring-boot.version={boot}", f"-Dbuild.folder={folder}")
        run("mvn", "--quiet", "--batch-mode", "--no-transfer-progress", *options, "package", cwd=SOURCE / "spring")

    def version() -> str:
        security = _found(r"spring-security-oauth2-jose-([\d.]+)\.jar", " ".join(zipfile.ZipFile(jar).namelist()))
        java = _found(r'version "([^"]+)"', run("java", "-version"))
        return f"Spring Boot {boot}, Spring Security {security}, Java {java}"

    command = ("java", "-Xmx256m", "-jar", jar)
    return Peer(f"Spring Boot {boot[0]}", version, ROUTES, ("mvn", "java"), lambda _: command, build)


def _write_haproxy(place: Place) -> Path:
    rules = []
    published = requests.get(f"{place.issuer}/oauth2/jwks", timeout=30).json()["keys"]
    for jwk in (key for key in published if key["alg"] == "RS256"):
        file = place.folder / f"{jwk['kid']}.pem"
        file.write_bytes(jwt.PyJWK(jwk).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        signed = f'http_auth_bearer,jwt_verify(txn.alg,"{file}") -m int 1'
        rules.append(f"http-request return status 200 if {{ var(txn.kid) -m str {jwk['kid']} }} {{ {signed} }}")
    return place.render("haproxy.cfg", RULES="\n    ".join(rules))


def _reload_haproxy(place: Place, pid: int) -> None:
    _write_haproxy(place)
    os.kill(pid, signal.SIGUSR2)


def _haproxy(place: Place) -> Sequence[str | Path]:
    return ("haproxy", "-W", "-db", "-f", _write_haproxy(place))


def _nginx(place: Place) -> Sequence[str | Path]:
    return ("nginx", "-c", place.render("nginx.conf", MODULES=str(NGINX_MODULES)))


def _apache(place: Place) -> Sequence[str | Path]:
    root = place.folder / "root"
    root.mkdir()
    for route in (*JWTS, "opaque"):
        (root / route).touch()
    return ("apache2", "-D", "FOREGROUND", "-f", place.render("apache.conf", MODULES=str(APACHE_MODULES)))


def _oauth2_proxy(place: Place) -> Sequence[str | Path]:
    return (
        BUILT / "bin" / "oauth2-proxy",
        f"--http-address=127.0.0.1:{place.port}",
        "--provider=oidc",
        f"--oidc-issuer-url={place.issuer}",
        "--client-id=service-client-jwt",
        "--oidc-extra-audience=https://country.example",
        "--client-secret=unused",
        "--cookie-secret=0123456789abcdef",
        "--email-domain=*",
        "--skip-jwt-bearer-tokens",
        "--api-route=.*",
        "--upstream=static://200",
    )


def _printed(pattern: str, *command: str) -> str:
    return _found(pattern, run(*command))


def _package(name: str) -> str:
    return run("dpkg-query", "--show", "--showformat=${Version}", name).strip()


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else "unknown"


PEERS = (
    _go("go-oidc", ("github.com/coreos/go-oidc/v3", "golang.org/x/oauth2"), (*JWTS, "client")),
    _go("golang-jwt", ("github.com/golang-jwt/jwt/v5", "github.com/MicahParks/keyfunc/v3"), JWTS),
    _go("jwx", ("github.com/lestrrat-go/jwx/v3",), JWTS),
    _go("zitadel-oidc", ("github.com/zitadel/oidc/v3",), ("opaque",)),
    Peer("oauth2-proxy", lambda: OAUTH2_PROXY.partition("@v")[2], JWTS, ("go",), _oauth2_proxy, _build_oauth2_proxy),
    _npm("jose", JWTS),
    _npm("aws-jwt-verify", JWTS, {"plain": "rejects a scope that is a list"}),
    _npm("openid-client", ("opaque", "client")),
    _spring("4.0.7"),
    _spring("3.5.7"),
    Peer(
        "HAProxy",
        lambda: _printed(r"version (\S+)", "haproxy", "-v"),
        JWTS,
        ("haproxy",),
        _haproxy,
        reload=_reload_haproxy,
    ),
    Peer(
        "nginx with njs",
        lambda: f"nginx {_printed('nginx/([0-9.]+)', 'nginx', '-v')}, njs {_package('libnginx-mod-http-js')}",
        JWTS,
        ("nginx", "dpkg-query", NGINX_MODULES / "ngx_http_js_module.so"),
        _nginx,
    ),
    Peer(
        "mod_oauth2",
        lambda: (
            f"Apache {_printed('Apache/([0-9.]+)', 'apache2', '-v')}, mod_oauth2 {_package('libapache2-mod-oauth2')}"
        ),
        (*JWTS, "opaque"),
        ("apache2", "dpkg-query", APACHE_MODULES / "mod_oauth2.so"),
        _apache,
    ),
)
