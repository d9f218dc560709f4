"""The console's parts on their own: what is recorded, handed over, taken apart, quoted and told."""

import io
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import pytest

from local.addresses import Addresses, with_free_ports
from local.console import tokens
from local.console.authorizer_steps import decided, keys_found
from local.console.backstage import Backstage, WatchedGateway, ask, new_folder, socket_of
from local.console.desk import build
from local.console.http_calls import ROOT, Call, Certificate, Recipe
from local.console.processes import Processes
from local.console.recording import FunctionOutput, RecordedInvoke, Recorder, credential_digest
from local.console.sightings import Sightings, decision_line
from local.console.web import ConsoleSite
from local.console.words import in_words
from local.gateway.core import Gateway
from local.gateway.lambda_runtime import FunctionError, InProcessLambda
from local.gateway.model import Function, Request
from local.session import what_next
from tests.support.laptop import free_environment
from tests.unit.local.apis import (
    ARN,
    BEARER,
    FakeLambda,
    allow,
    bearer,
    get,
    policy,
    rest_api,
    unauthorized,
)

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
ALLOWED = policy(allow(f"{ARN}/GET/country"), context={"scope": "country.read"})
COUNTRY = "/ms-system/country"


def watched(answer: object, recorder: Recorder) -> WatchedGateway:
    """A gateway whose authorizer gives this answer."""
    invoke = RecordedInvoke(FakeLambda({"Authorizer": answer}), recorder)
    return WatchedGateway(Gateway(rest_api(BEARER), invoke), recorder)


# --- recording ------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [ALLOWED, unauthorized()])
def test_what_is_recorded_of_a_call_holds_no_token(answer: object) -> None:
    recorder = Recorder()
    watched(answer, recorder).handle(get(COUNTRY, bearer(TOKEN), ("X-Other", "kept")))
    kept = json.dumps(recorder.since(0), ensure_ascii=False)
    assert TOKEN not in kept
    assert "Bearer eyJhbGciOiJ…" in kept
    assert credential_digest(f"Bearer {TOKEN}") in kept
    assert "kept" in kept


def test_of_an_exchange_only_harmless_headers_and_public_bodies_are_recorded() -> None:
    recorder = Recorder()
    request = get(COUNTRY, bearer(TOKEN), ("If-None-Match", '"a"'), ("Cookie", "secret"))
    watched(ALLOWED, recorder).handle(request)
    (exchange,) = recorder.since(0)["exchanges"]
    assert exchange["request_headers"] == {"If-None-Match": '"a"'}
    assert exchange["status"] == 200
    assert exchange["body"] == ""


def test_records_are_numbered_and_the_oldest_go_first() -> None:
    recorder = Recorder()
    invoke = RecordedInvoke(FakeLambda(), recorder)
    for _ in range(250):
        invoke("LookUpCountry", {})
    assert recorder.since(0)["last"] == 250
    assert len(recorder.since(0)["invocations"]) == 200
    assert len(recorder.since(248)["invocations"]) == 2


def test_a_function_that_fails_is_recorded_with_what_the_gateway_was_told() -> None:
    recorder = Recorder()
    invoke = RecordedInvoke(FakeLambda({"Authorizer": unauthorized()}), recorder)
    with pytest.raises(FunctionError):
        invoke("Authorizer", {"type": "REQUEST"})
    (invocation,) = recorder.since(0)["invocations"]
    assert invocation["error"] == "Unauthorized"
    assert invocation["result"] is None


def test_what_a_function_prints_is_in_the_record_of_its_own_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    FunctionOutput.install()
    FunctionOutput.install()

    def handle(event: object) -> dict[str, object]:
        print(f"I am {event}")  # noqa: T201 - what is under test
        return {}

    recorder = Recorder()
    invoke = RecordedInvoke(FakeLambda({"One": handle}), recorder)
    threads = [threading.Thread(target=invoke, args=("One", n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("afterwards")  # noqa: T201 - likewise
    lines = [invocation["lines"] for invocation in recorder.since(0)["invocations"]]
    assert sorted(lines) == [[f"I am {number}"] for number in range(4)]
    assert terminal.getvalue().endswith("afterwards\n")
    assert all(f"I am {number}" in terminal.getvalue() for number in range(4))


# --- backstage ------------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, ...]]:
    """A process with a function that counts its own calls, and where to ask it."""
    module = "calls = 0\ndef handle(event, context):\n    global calls\n    calls += 1\n"
    (tmp_path / "counting_module.py").write_text(module + "    return calls\n")
    monkeypatch.syspath_prepend(tmp_path)
    arn, handler = "arn:aws:lambda:us-east-1:1:function:F", "counting_module.handle"
    sandboxes = InProcessLambda([Function("Counter", "f", arn, handler, {}, 10, 128)])
    environ: dict[str, str] = {}
    gateway = watched(ALLOWED, Recorder())
    address = socket_of(tmp_path, "api", 0)
    backstage = Backstage(gateway, sandboxes, environ)
    with Listener(address, "AF_UNIX") as listener:
        threading.Thread(target=backstage.serve, args=(listener,), daemon=True).start()
        yield address, gateway, sandboxes, environ
    sys.modules.pop("counting_module", None)


def test_a_path_that_is_taken_down_answers_503_until_it_is_brought_back(
    asked: tuple[Any, ...],
) -> None:
    address, gateway, *_ = asked
    ask(address, "take_down", paths=[COUNTRY])
    assert gateway.handle(get(COUNTRY, bearer())).status == 503
    assert ask(address, "records", since=0)["down"] == [COUNTRY]
    ask(address, "take_down", paths=[])
    assert gateway.handle(get(COUNTRY, bearer())).status == 200


def test_a_function_that_is_started_anew_has_nothing_warm(asked: tuple[Any, ...]) -> None:
    address, _, sandboxes, environ = asked
    assert [sandboxes("Counter", {}) for _ in range(2)] == [1, 2]
    ask(address, "restart", functions=["Counter"], environment={"A": "b"})
    assert sandboxes("Counter", {}) == 1
    assert environ == {"A": "b"}


def test_a_flushed_gateway_asks_the_authorizer_again(asked: tuple[Any, ...]) -> None:
    address, gateway, *_ = asked
    for _ in range(2):
        gateway.handle(get(COUNTRY, bearer()))
    ask(address, "flush")
    gateway.handle(get(COUNTRY, bearer()))
    called = [record["function"] for record in ask(address, "records", since=0)["invocations"]]
    assert called.count("Authorizer") == 2


def test_a_console_that_goes_away_in_the_middle_of_a_question_does_no_harm(
    asked: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    Client(asked[0], "AF_UNIX").close()
    assert ask(asked[0], "records", since=0)["last"] == 0
    assert "The console went away" in capsys.readouterr().err


def test_a_gateway_that_is_looked_into_answers_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    address = socket_of(tmp_path, "api", 0)
    fake = FakeLambda({"Authorizer": ALLOWED})
    backstage = Backstage.build(InProcessLambda([]), {}, lambda _: Gateway(rest_api(BEARER), fake))
    backstage.open(address)
    gateway = backstage.watched
    assert gateway.handle(get(COUNTRY, bearer())).status == 200
    assert gateway.too_large(get(COUNTRY)).status == 413
    assert ask(address, "records", since=0)["last"] == 1


# --- the processes of a service -------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> tuple[Processes, list[WatchedGateway]]:
    """A service of two processes, and the gateway of each."""
    gateways = [watched(ALLOWED, Recorder()) for _ in range(2)]
    for worker, gateway in enumerate(gateways):
        Backstage(gateway, InProcessLambda([]), {}).open(socket_of(tmp_path, "api", worker))
    return Processes(tmp_path, "api"), gateways


def calls_of(recorded: dict[str, Any]) -> list[str]:
    return [record["path"] for record in recorded["exchanges"]]


def test_what_two_processes_recorded_comes_in_the_order_of_time(
    two: tuple[Processes, list[WatchedGateway]],
) -> None:
    processes, (first, second) = two
    for gateway, path in ((second, "/a"), (first, "/b"), (second, "/c")):
        gateway.handle(get(path))
    assert calls_of(processes.records()) == ["/a", "/b", "/c"]


def test_each_process_is_asked_for_what_came_after_its_own_last_record(
    two: tuple[Processes, list[WatchedGateway]],
) -> None:
    processes, (first, second) = two
    for gateway in (first, first, second):
        gateway.handle(get("/before"))
    since = processes.records()["last"]
    assert sorted(since.values()) == [1, 2]
    second.handle(get("/after"))
    assert calls_of(processes.records(since)) == ["/after"]


def test_what_is_taken_down_is_down_in_every_process(
    two: tuple[Processes, list[WatchedGateway]],
) -> None:
    processes, gateways = two
    processes.tell("take_down", paths=[COUNTRY])
    assert [gateway.handle(get(COUNTRY, bearer())).status for gateway in gateways] == [503, 503]
    assert processes.records()["down"] == [COUNTRY]


def test_a_process_that_has_ended_is_left_out_with_a_sentence(
    tmp_path: Path,
    two: tuple[Processes, list[WatchedGateway]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    processes, (first, _) = two
    Path(socket_of(tmp_path, "api", 2)).touch()
    first.handle(get("/a"))
    assert calls_of(processes.records()) == ["/a"]
    assert "api.2.sock does not answer: " in capsys.readouterr().err


def test_a_service_of_which_nobody_answers_is_trouble(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="No process of api answers"):
        Processes(tmp_path, "api").tell("flush")


# --- the page's server ----------------------------------------------------------------------------


def test_what_goes_wrong_behind_a_task_is_for_the_log_and_not_for_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = ConsoleSite(build(Addresses(), str(tmp_path / "nobody")), 8099)
    headers = (
        ("Host", "localhost:8099"),
        ("Origin", "http://localhost:8099"),
        ("Content-Type", "application/json"),
    )
    wanted = {"path": "/country/code/AUS", "token": "a", "scheme": "Bearer"}
    request = Request("POST", "/tasks/call", headers=headers, body=json.dumps(wanted).encode())
    response = site.handle(request)
    assert response.status == 500
    assert json.loads(response.body) == {"problem": "ConnectionError: see the console's log."}
    assert "Traceback" in capsys.readouterr().err
    assert site.too_large(request).status == 413


# --- tokens ---------------------------------------------------------------------------------------


def test_a_tampered_jwt_has_another_subject_and_the_same_signature() -> None:
    changed = tokens.tampered(TOKEN)
    assert tokens.decode(changed) == ({"alg": "RS256"}, {"sub": "somebody-else"})
    assert changed.rpartition(".")[2] == TOKEN.rpartition(".")[2]


@pytest.mark.parametrize("token", ["gh_at_xyzA", "gh_at_xyzB"])
def test_a_tampered_opaque_token_is_another_one_of_the_same_shape(token: str) -> None:
    changed = tokens.tampered(token)
    assert changed != token
    assert len(changed) == len(token)


def test_claims_are_moved_back_with_the_distance_between_their_times_kept() -> None:
    moved = tokens.moved_back({"iat": 100, "exp": 160, "sub": "a"}, 90)
    assert moved == {"iat": 10, "exp": 70, "sub": "a"}


@pytest.mark.parametrize("token", ["W10.e30.x", "e30.W10.x", "x", "a.b.c"])
def test_what_is_no_jwt_is_not_decoded(token: str) -> None:
    with pytest.raises(tokens.NoJwtError):
        tokens.decode(token)


# --- curl lines -----------------------------------------------------------------------------------


def test_a_curl_line_gives_bash_exactly_what_is_sent() -> None:
    nasty = 'it\'s $HOME `id` "quoted" \\ and\ttabs'
    call = Call("http://localhost:1/a?b=c&d='e'", {"X-Nasty": nasty}, {"field": nasty})
    shown = call.as_curl().replace("curl", "printf '%s\\n'", 1)
    printed = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == [
        "-i",
        "http://localhost:1/a?b=c&d='e'",
        "--header",
        f"X-Nasty: {nasty}",
        "--data-urlencode",
        f"field={nasty}",
    ]


def test_a_curl_line_makes_what_counts_once_anew_and_names_files_as_the_repository_does() -> None:
    certificate = Certificate(ROOT / ".gatehouse/tls/authority.pem", ROOT / "a b.pem")
    call = Call("https://localhost:1/", {"DPoP": Recipe("used", "echo fresh")}, None, certificate)
    line = call.as_curl()
    assert '--header "DPoP: $(echo fresh)"' in line
    assert "used" not in line
    assert "--cacert .gatehouse/tls/authority.pem" in line
    assert "--cert 'a b.pem'" in line


# --- what is told ---------------------------------------------------------------------------------


def sightings(**changes: Any) -> Sightings:
    nothing: dict[str, list[object]] = {"invocations": [], "exchanges": []}
    given = {"api": nothing, "auth": nothing, "auth_since": nothing}
    return Sightings(**{**given, "request_id": "r", "authorization": "Bearer a", **changes})


def test_a_key_set_that_is_left_alone_after_a_failure_is_not_said_to_be_at_hand() -> None:
    step = keys_found(sightings(), {"key_set": "none", "key_set_age": None}, TOKEN)
    assert (step.title, step.chip) == ("No key set", "back-off")


def test_what_the_authorizer_logs_is_found_among_other_lines() -> None:
    line = '{"decision": "allow"}'
    assert decision_line({"lines": ["no JSON", line, '{"notice": "x"}', "[]"]}) == json.loads(line)
    assert decision_line({"lines": []}) == {}


def test_an_unexpected_failure_is_no_answer() -> None:
    failed = {"error": "KeyError: x", "milliseconds": 1.0}
    step = decided(failed, {}, {}, "GET /country")
    assert (step.title, step.chip, step.tone) == ("No answer", "unexpected", "bad")


def test_an_unknown_reason_is_named() -> None:
    assert "something_new" in in_words("something_new")
    assert in_words("nbf_malformed") == "The claim nbf is not a time."


# --- its place in make run ------------------------------------------------------------------------


def test_taken_port_disables_the_console() -> None:
    free = {name: int(port) for name, port in free_environment().items() if name.endswith("_PORT")}
    with Listener(("127.0.0.1", 0)) as taken:
        addresses = Addresses(
            aws_port=free["GATEHOUSE_AWS_PORT"],
            auth_port=free["GATEHOUSE_AUTH_PORT"],
            api_port=free["GATEHOUSE_API_PORT"],
            console_port=int(taken.address[1]),
        )
        addresses = with_free_ports(addresses)
    assert not addresses.console
    assert "GATEHOUSE_CONSOLE_PORT" in what_next(addresses)


def test_a_port_that_was_asked_for_must_be_free_and_the_console_is_on_the_loopback_address() -> (
    None
):
    addresses = Addresses.from_env({"GATEHOUSE_CONSOLE_PORT": "9099", "GATEHOUSE_HOST": "0.0.0.0"})  # noqa: S104 - a value under test
    assert addresses.ports()["GATEHOUSE_CONSOLE_PORT"] == 9099
    assert "GATEHOUSE_CONSOLE_PORT" not in Addresses.from_env({}).ports()
    assert addresses.console_url == "http://localhost:9099"


def test_the_folder_of_the_sockets_is_short_wherever_temporary_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path / ("x" * 100)
    far.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    with new_folder() as folder:
        assert len(socket_of(folder, "guarded_api", 63)) <= 104
        assert Path(folder).stat().st_mode & 0o777 == 0o700
