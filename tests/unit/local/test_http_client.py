import subprocess

from infra.cli.http_client import Certificates
from local import ROOT
from local.http_client import HttpRequest, ShellValue


def test_curl_command_sends_the_same_request() -> None:
    special = 'it\'s $HOME `id` "quoted" \\ and\ttabs'
    request = HttpRequest("http://localhost:1/a?b=c&d='e'", {"X-Special": special}, {"field": special}, "user:$1")
    shown = request.as_curl().replace("curl", "printf '%s\\n'", 1)
    printed = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == [
        "-i",
        "http://localhost:1/a?b=c&d='e'",
        "--user",
        "user:$1",
        "--header",
        f"X-Special: {special}",
        "--data-urlencode",
        f"field={special}",
    ]


def test_curl_command_computes_one_time_values() -> None:
    certificates = Certificates(ROOT / "a b.pem", authority=ROOT / ".gatehouse/tls/authority.pem")
    proof = ShellValue("used", "$(echo fresh)")
    request = HttpRequest("https://localhost:1/", {"DPoP": proof}, certificates=certificates)
    line = request.as_curl()
    assert '--header "DPoP: $(echo fresh)"' in line
    assert "used" not in line
    assert "--cacert .gatehouse/tls/authority.pem" in line
    assert "--cert 'a b.pem'" in line
