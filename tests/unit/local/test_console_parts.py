"""The console's modules: records, control sockets, token faults, steps and HTTP."""

import io
import json
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import pytest

from local.addresses import Addresses
from local.console import call_trace
from local.console.api import ConsoleApi, ConsoleSite
from local.console.call_trace import CallTrace, decision_line
from local.console.control_socket import (
    ControlClient,
    ControlServer,
    FunctionOutput,
    RecordedInvoke,
    Recorder,
    WatchedGateway,
    call,
    credential_hash,
    socket_of,
)
from local.console.fault_injection import moved_back, tampered
from local.gateway.core import Gateway
from local.gateway.lambda_runtime import FunctionError, InProcessLambda
from local.gateway.model import Function, Request
from local.gateway.native_jwt import RejectedTokenError, UnverifiedToken
from tests.unit.local.gateway.apis import ARN, BEARER, FakeLambda, allow, bearer, get, policy, rest_api, unauthorized

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
ALLOWED = policy(allow(f"{ARN}/GET/country"), context={"scope": "country.read"})
COUNTRY = "/ms-system/country"


def watched(answer: object, recorder: Recorder) -> WatchedGateway:
    """A gateway whose authorizer gives this answer."""
    invoke = RecordedInvoke(FakeLambda({"Authorizer": answer}), recorder)
    return WatchedGateway(Gateway(rest_api(BEARER), invoke), recorder)


# --- recording ------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [ALLOWED, unauthorized()])
def test_records_contain_no_token(answer: object) -> None:
    recorder = Recorder()
    watched(answer, recorder).handle(get(COUNTRY, bearer(TOKEN), ("X-Other", "visible")))
    recorded = json.dumps(recorder.since(0), ensure_ascii=False)
    assert TOKEN not in recorded
    assert "Bearer eyJhbGciOiJ…" in recorded
    assert credential_hash(f"Bearer {TOKEN}") in recorded
    assert "visible" in recorded


def test_exchange_has_no_private_header_or_body() -> None:
    recorder = Recorder()
    request = get(COUNTRY, bearer(TOKEN), ("If-None-Match", '"a"'), ("Cookie", "secret"))
    watched(ALLOWED, recorder).handle(request)
    (exchange,) = recorder.since(0)["exchanges"]
    assert exchange["request_headers"] == {"If-None-Match": '"a"'}
    assert exchange["status"] == 200
    assert exchange["body"] == ""


def test_last_key_set_outlives_later_records() -> None:
    recorder = Recorder()
    for body in ("old", "new"):
        recorder.add("exchanges", 0, {"body": body}, is_retained=True)
    assert [each["body"] for each in recorder.since(0)["exchanges"]] == ["old", "new"]
    for _ in range(250):
        recorder.add("exchanges", 0, {"body": ""})
    assert [each["body"] for each in recorder.since(0)["exchanges"]] == ["new", *[""] * 200]
    assert [each["body"] for each in recorder.since(2)["exchanges"]] == [""] * 200


def test_oldest_records_are_dropped() -> None:
    recorder = Recorder()
    invoke = RecordedInvoke(FakeLambda(), recorder)
    for _ in range(250):
        invoke("LookUpCountry", {})
    assert recorder.since(0)["last"] == 250
    assert len(recorder.since(0)["invocations"]) == 200
    assert len(recorder.since(248)["invocations"]) == 2


def test_failed_function_is_recorded_with_its_error() -> None:
    recorder = Recorder()
    with pytest.raises(FunctionError):
        RecordedInvoke(FakeLambda({"Authorizer": unauthorized()}), recorder)("Authorizer", {"type": "REQUEST"})
    (invocation,) = recorder.since(0)["invocations"]
    assert (invocation["error"], invocation["result"]) == ("Unauthorized", None)


def test_printed_lines_belong_to_their_call(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    FunctionOutput.install()
    FunctionOutput.install()

    def handle(event: object) -> dict[str, object]:
        print(f"I am {event}")
        return {}

    recorder = Recorder()
    invoke = RecordedInvoke(FakeLambda({"One": handle}), recorder)
    threads = [threading.Thread(target=invoke, args=("One", n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("afterwards")
    lines = [invocation["lines"] for invocation in recorder.since(0)["invocations"]]
    assert sorted(lines) == [[f"I am {number}"] for number in range(4)]
    assert terminal.getvalue().endswith("afterwards\n")
    assert all(f"I am {number}" in terminal.getvalue() for number in range(4))


# --- control sockets ------------------------------------------------------------------------------


@pytest.fixture
def controlled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, ...]]:
    """The control socket of a process with a function that counts its calls."""
    module = "calls = 0\ndef handle(event, context):\n    global calls\n    calls += 1\n"
    (tmp_path / "counting_module.py").write_text(module + "    return calls\n")
    monkeypatch.syspath_prepend(tmp_path)
    arn, handler = "arn:aws:lambda:us-east-1:1:function:F", "counting_module.handle"
    sandboxes = InProcessLambda([Function("Counter", "f", arn, handler, {}, 10, 128)])
    environ: dict[str, str] = {}
    gateway = watched(ALLOWED, Recorder())
    address = socket_of(tmp_path, "api", 0)
    server = ControlServer(gateway, sandboxes, environ)
    with Listener(address, "AF_UNIX") as listener:
        threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
        yield address, gateway, sandboxes, environ
    sys.modules.pop("counting_module", None)


def test_path_is_down_until_restored(controlled: tuple[Any, ...]) -> None:
    address, gateway, *_ = controlled
    call(address, "take_down", paths=[COUNTRY])
    assert gateway.handle(get(COUNTRY, bearer())).status == 503
    assert call(address, "records", since=0)["down"] == [COUNTRY]
    call(address, "take_down", paths=[])
    assert gateway.handle(get(COUNTRY, bearer())).status == 200


def test_restarted_function_has_no_caches(controlled: tuple[Any, ...]) -> None:
    address, _, sandboxes, environ = controlled
    assert [sandboxes("Counter", {}) for _ in range(2)] == [1, 2]
    call(address, "restart", functions=["Counter"], environment={"A": "b"})
    assert sandboxes("Counter", {}) == 1
    assert environ == {"A": "b"}


def test_flush_clears_the_policy_cache(controlled: tuple[Any, ...]) -> None:
    address, gateway, *_ = controlled
    for _ in range(2):
        gateway.handle(get(COUNTRY, bearer()))
    call(address, "flush")
    gateway.handle(get(COUNTRY, bearer()))
    called = [record["function"] for record in call(address, "records", since=0)["invocations"]]
    assert called.count("Authorizer") == 2


def test_closed_connection_does_not_end_the_server(
    controlled: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    Client(controlled[0], "AF_UNIX").close()
    assert call(controlled[0], "records", since=0)["last"] == 0
    assert "The console closed the connection" in capsys.readouterr().err


def test_watched_gateway_answers_like_any_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    address = socket_of(tmp_path, "api", 0)
    fake = FakeLambda({"Authorizer": ALLOWED})
    server = ControlServer.build(InProcessLambda([]), {}, lambda _: Gateway(rest_api(BEARER), fake))
    server.open(address)
    gateway = server.watched
    assert gateway.handle(get(COUNTRY, bearer())).status == 200
    assert gateway.too_large(get(COUNTRY)).status == 413
    assert call(address, "records", since=0)["last"] == 1


# --- processes of a service -----------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> tuple[ControlClient, list[WatchedGateway]]:
    """A service of two processes, and the gateway of each."""
    gateways = [watched(ALLOWED, Recorder()) for _ in range(2)]
    for worker, gateway in enumerate(gateways):
        ControlServer(gateway, InProcessLambda([]), {}).open(socket_of(tmp_path, "api", worker))
    return ControlClient(tmp_path, "api"), gateways


def calls_of(recorded: dict[str, Any]) -> list[str]:
    return [record["path"] for record in recorded["exchanges"]]


def test_records_of_all_processes_are_ordered(two: tuple[ControlClient, list[WatchedGateway]]) -> None:
    service, (first, second) = two
    for gateway, path in ((second, "/a"), (first, "/b"), (second, "/c")):
        gateway.handle(get(path))
    assert calls_of(service.records()) == ["/a", "/b", "/c"]


def test_later_records_of_each_process(two: tuple[ControlClient, list[WatchedGateway]]) -> None:
    service, (first, second) = two
    for gateway in (first, first, second):
        gateway.handle(get("/before"))
    since = service.records()["last"]
    assert sorted(since.values()) == [1, 2]
    second.handle(get("/after"))
    assert calls_of(service.records(since)) == ["/after"]


def test_path_is_down_in_every_process(two: tuple[ControlClient, list[WatchedGateway]]) -> None:
    service, gateways = two
    service.run("take_down", paths=[COUNTRY])
    assert [gateway.handle(get(COUNTRY, bearer())).status for gateway in gateways] == [503, 503]
    assert service.records()["down"] == [COUNTRY]


def test_ended_process_is_logged_and_omitted(
    tmp_path: Path, two: tuple[ControlClient, list[WatchedGateway]], capsys: pytest.CaptureFixture[str]
) -> None:
    service, (first, _) = two
    Path(socket_of(tmp_path, "api", 2)).touch()
    first.handle(get("/a"))
    assert calls_of(service.records()) == ["/a"]
    assert "api.2.sock does not answer: " in capsys.readouterr().err


def test_service_without_processes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="No process of api answers"):
        ControlClient(tmp_path, "api").run("flush")


# --- HTTP -----------------------------------------------------------------------------------------


def test_unexpected_error_is_only_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = ConsoleSite(ConsoleApi.build(Addresses(), str(tmp_path / "empty")), 8099)
    headers = (("Host", "localhost:8099"), ("Origin", "http://localhost:8099"), ("Content-Type", "application/json"))
    wanted = {"path": "/country/code/AUS", "token": "a", "scheme": "Bearer"}
    request = Request("POST", "/tasks/call", headers=headers, body=json.dumps(wanted).encode())
    response = site.handle(request)
    assert response.status == 500
    assert json.loads(response.body) == {"problem": "ConnectionError: see the console's log."}
    assert "Traceback" in capsys.readouterr().err
    assert site.too_large(request).status == 413


# --- tokens ---------------------------------------------------------------------------------------


def test_tampered_jwt_has_another_subject() -> None:
    changed = tampered(TOKEN)
    decoded = UnverifiedToken.decode(changed)
    assert (decoded.header, decoded.claims) == ({"alg": "RS256"}, {"sub": "another-client"})
    assert changed.rpartition(".")[2] == TOKEN.rpartition(".")[2]


def test_tampered_opaque_token_differs() -> None:
    assert [tampered(token) for token in ("gh_at_xyzA", "gh_at_xyzB")] == ["gh_at_xyzB", "gh_at_xyzA"]


def test_times_are_moved_back_together() -> None:
    moved = moved_back({"iat": 100, "exp": 160, "sub": "a"}, 90)
    assert moved == {"iat": 10, "exp": 70, "sub": "a"}


@pytest.mark.parametrize("token", ["W10.e30.x", "e30.W10.x", "x", "a.b.c"])
def test_other_text_is_not_decoded(token: str) -> None:
    with pytest.raises(RejectedTokenError):
        UnverifiedToken.decode(token)


# --- steps ----------------------------------------------------------------------------------------


def trace(**changes: Any) -> CallTrace:
    nothing: dict[str, list[object]] = {"invocations": [], "exchanges": []}
    given = {"api": nothing, "auth": nothing, "auth_since": nothing}
    return CallTrace(**{**given, "request_id": "r", "authorization": "Bearer a", **changes})


def test_failed_fetch_is_not_repeated_at_once() -> None:
    step = call_trace.key_lookup(trace(), {"key_set": "none", "key_set_age": None}, TOKEN)
    assert (step.title, step.chip) == ("No key set", "back-off")


def test_decision_line_is_found_among_other_lines() -> None:
    line = '{"decision": "allow"}'
    assert decision_line({"lines": ["not JSON", line, '{"notice": "x"}', "[]"]}) == json.loads(line)
    assert decision_line({"lines": []}) == {}


def test_unexpected_failure_has_no_policy() -> None:
    failed = {"error": "KeyError: x", "milliseconds": 1.0}
    step = call_trace.decision(failed, {}, {}, "GET /country")
    assert (step.title, step.chip, step.tone) == ("No decision", "unexpected", "bad")


def test_unknown_reason_is_named() -> None:
    assert "something_new" in call_trace.explained("something_new")
    assert call_trace.explained("nbf_malformed") == "The claim nbf is not a time."
