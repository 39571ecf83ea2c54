"""The sender against real sockets on loopback."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

import jianguan
from jianguan.clock import SystemClock, VirtualClock
from jianguan.errors import InputError, UnavailableError
from sinks.webhooks import sender as sender_module
from sinks.webhooks.receivers import Receiver
from sinks.webhooks.retry import Outcome, OutcomeKind
from sinks.webhooks.sender import SendLimits, WebhookSender
from sinks.webhooks.signing import Secret, verify
from tests.sinks.webhooks.conftest import http, local_receiver

pytestmark = pytest.mark.network

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
OLD, NEW = Secret(b"o" * 24), Secret(b"n" * 32)
# Where a test waits for a time-out on purpose, it is short; where one would be a failure, it is long.
QUICK = SendLimits(connect=0.3, total=0.3, drain=0.1)
BODY = '{"type":"case.opened","data":{"说明":"投诉"}}'.encode()


def receiver(port: int, name: str = "market", host: str = "127.0.0.1", **changes: object) -> Receiver:
    given: dict[str, object] = {"allow_private": True, "allow_http": True} | changes
    return Receiver(name, "d", f"http://{host}:{port}/hook?a=b", (NEW, OLD), **given)  # type: ignore[arg-type]


@pytest.fixture
async def sender() -> AsyncIterator[WebhookSender]:
    made = WebhookSender(VirtualClock(NOW))
    yield made
    await made.close()


@pytest.fixture
async def quick() -> AsyncIterator[WebhookSender]:
    made = WebhookSender(SystemClock(), QUICK)
    yield made
    await made.close()


async def once(sender: WebhookSender, answer: bytes) -> Outcome:
    async with local_receiver(answer) as there:
        return await sender.send(receiver(there.port), "dl-1", BODY)


async def test_a_receiver_gets_the_body_signed_by_every_secret(sender: WebhookSender) -> None:
    async with local_receiver(http("200 OK")) as there:
        outcome = await sender.send(receiver(there.port), "dl-0af3", BODY)
    assert (outcome.kind, outcome.status, outcome.detail) == (OutcomeKind.DELIVERED, 200, "answered 200")
    (request,) = there.requests
    assert request.line == "POST /hook?a=b HTTP/1.1"
    assert request.body == BODY
    for secret in (OLD, NEW):
        assert verify(request.headers, request.body, [secret], NOW) == "dl-0af3"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"jianguan/{jianguan.__version__}"
    assert request.headers["host"] == f"127.0.0.1:{there.port}"
    assert "cookie" not in request.headers


@pytest.mark.parametrize("status", ["201 Created", "202 Accepted", "204 No Content"])
async def test_any_2xx_is_delivered(sender: WebhookSender, status: str) -> None:
    assert (await once(sender, http(status))).kind is OutcomeKind.DELIVERED


@pytest.mark.parametrize("status", [400, 401, 404, 408, 425, 500, 502, 503])
async def test_other_answers_are_failures_to_be_tried_again(sender: WebhookSender, status: int) -> None:
    outcome = await once(sender, http(f"{status} No", body=b"personal: 13800000000"))
    assert outcome == Outcome(OutcomeKind.RETRY, status, f"answered {status}")


async def test_410_is_gone(sender: WebhookSender) -> None:
    assert await once(sender, http("410 Gone")) == Outcome(OutcomeKind.GONE, 410, "answered 410")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(sender: WebhookSender, status: int) -> None:
    async with local_receiver(http("200 OK")) as other:
        location = f"Location: http://127.0.0.1:{other.port}/\r\n"
        outcome = await once(sender, http(f"{status} Moved", location))
    assert (outcome.kind, outcome.status) == (OutcomeKind.RETRY, status)
    assert "redirects are not followed" in outcome.detail
    assert other.connections == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [("90", 90), ("Sun, 01 Mar 2026 12:02:00 GMT", 120), ("soon", None)],
)
async def test_retry_after_is_passed_on(sender: WebhookSender, value: str, expected: int | None) -> None:
    outcome = await once(sender, http("503 Busy", f"Retry-After: {value}\r\n"))
    assert outcome.retry_after == (None if expected is None else timedelta(seconds=expected))


@pytest.mark.parametrize(
    "answer", [b'HTTP/1.1 204 No Content\r\nContent-Type: application/json\r\n\r\n{"secret":1}', b"SSH-2.0-x\r\n\r\n"]
)
async def test_an_answer_that_is_not_valid_http_is_a_failure_that_says_what_may_be_wrong(
    sender: WebhookSender, answer: bytes
) -> None:
    async with local_receiver(answer) as there:
        outcome = await sender.send(receiver(there.port), "dl-1", BODY)
    detail = f"the answer of http://127.0.0.1:{there.port} is not valid HTTP, such as a 204 with a body"
    assert (outcome.kind, outcome.status, outcome.detail) == (OutcomeKind.RETRY, 0, detail)


async def test_a_receiver_that_does_not_answer_is_given_up_in_time(quick: WebhookSender) -> None:
    async def silence(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with local_receiver(silence) as there:
        outcome = await quick.send(receiver(there.port), "dl-1", BODY)
    assert (outcome.kind, outcome.status) == (OutcomeKind.RETRY, 0)
    assert "no answer" in outcome.detail
    assert outcome.duration_ms >= 250


async def test_headers_that_drip_are_given_up_in_time(quick: WebhookSender) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(10_000):
            writer.write(f"X-{number}: y\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.05)

    async with local_receiver(drip) as there:
        outcome = await quick.send(receiver(there.port), "dl-1", BODY)
    assert outcome.kind is OutcomeKind.RETRY


async def test_a_slow_body_after_200_is_delivered_and_cut_off() -> None:
    async def slow(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        await writer.drain()
        await asyncio.Event().wait()

    sender = WebhookSender(VirtualClock(NOW), SendLimits(total=60, drain=0.1))
    async with local_receiver(slow) as there:
        outcome = await asyncio.wait_for(sender.send(receiver(there.port), "dl-1", BODY), 10)
    await sender.close()
    assert outcome.kind is OutcomeKind.DELIVERED


async def test_a_huge_body_is_cut_off_at_the_limit() -> None:
    cut = asyncio.Event()

    async def huge(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            cut.set()

    # Without times that could end it first.
    sender = WebhookSender(VirtualClock(NOW), SendLimits(total=60, drain=60))
    async with local_receiver(huge) as there:
        outcome = await asyncio.wait_for(sender.send(receiver(there.port), "dl-1", BODY), 10)
        await asyncio.wait_for(cut.wait(), 10)
    await sender.close()
    assert (outcome.kind, outcome.status) == (OutcomeKind.RETRY, 500)


async def test_a_body_that_breaks_off_does_not_undo_the_answer(sender: WebhookSender) -> None:
    async def broken(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
        await writer.drain()
        writer.close()

    async with local_receiver(broken) as there:
        assert (await sender.send(receiver(there.port), "dl-1", BODY)).kind is OutcomeKind.DELIVERED


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 ABC No\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_failure(sender: WebhookSender, answer: bytes) -> None:
    outcome = await once(sender, answer)
    assert (outcome.kind, outcome.status) == (OutcomeKind.RETRY, 0)
    assert "SSH" not in outcome.detail
    assert len(outcome.detail) < 200


async def test_a_connection_that_is_refused_is_a_failure(sender: WebhookSender) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it
        outcome = await sender.send(receiver(taken.getsockname()[1]), "dl-1", BODY)
    assert outcome.kind is OutcomeKind.RETRY
    assert "ECONNREFUSED" in outcome.detail


async def test_a_connection_that_is_closed_without_an_answer_is_a_failure(sender: WebhookSender) -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with local_receiver(hang_up) as there:
        outcome = await sender.send(receiver(there.port), "dl-1", BODY)
        assert outcome.kind is OutcomeKind.RETRY
    assert len(there.requests) == 1


async def test_connections_are_used_again(sender: WebhookSender) -> None:
    async with local_receiver(http("200 OK", body=b"thanks")) as there:
        for number in range(5):
            await sender.send(receiver(there.port), f"dl-{number}", BODY)
        assert there.connections == 1
    assert len(there.requests) == 5


async def test_a_name_that_leads_to_loopback_is_refused_and_not_connected_to() -> None:
    sender = WebhookSender(VirtualClock(NOW))
    async with local_receiver(http("200 OK")) as there:
        outcome = await sender.send(receiver(there.port, host="localhost", allow_private=False), "dl-1", BODY)
    await sender.close()
    assert outcome.kind is OutcomeKind.REFUSED
    assert "loopback" in outcome.detail
    assert there.connections == 0


async def test_a_private_literal_is_refused(sender: WebhookSender) -> None:
    async with local_receiver(http("200 OK")) as there:
        outcome = await sender.send(receiver(there.port, allow_private=False), "dl-1", BODY)
    assert outcome.kind is OutcomeKind.REFUSED
    assert there.connections == 0


async def test_a_name_is_resolved_once_and_its_checked_address_is_used() -> None:
    """Rebinding: the second answer would be another address, so there must be no second question."""
    answers = [["127.0.0.1"], ["169.254.169.254"]]

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        return answers.pop(0)

    sender = WebhookSender(VirtualClock(NOW), resolve=rebinding)
    async with local_receiver(http("200 OK")) as there:
        outcome = await sender.send(receiver(there.port, host="hooks.test"), "dl-1", BODY)
        assert outcome.kind is OutcomeKind.DELIVERED
        assert there.requests[0].headers["host"] == f"hooks.test:{there.port}"
    await sender.close()
    assert answers == [["169.254.169.254"]]


async def test_the_second_answer_of_a_rebinding_name_is_refused_too() -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        return answers.pop(0)

    sender = WebhookSender(VirtualClock(NOW), resolve=rebinding)
    async with local_receiver(http("200 OK", "Connection: close\r\n")) as there:
        outcomes = [await sender.send(receiver(there.port, host="hooks.test"), "dl-1", BODY) for _ in "12"]
    await sender.close()
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DELIVERED, OutcomeKind.REFUSED]


async def test_the_socket_itself_is_refused_when_every_earlier_check_is_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def loopback(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr(sender_module, "check_resolved", lambda _h, found, _p: tuple(map(ip_address, found)))
    sender = WebhookSender(VirtualClock(NOW), resolve=loopback)
    async with local_receiver(http("200 OK")) as there:
        outcome = await sender.send(receiver(there.port, host="hooks.test", allow_private=False), "dl-1", BODY)
    await sender.close()
    assert outcome.kind is OutcomeKind.REFUSED
    assert there.connections == 0


async def test_a_name_that_does_not_resolve_is_a_failure() -> None:
    async def unknown(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "geheim")

    sender = WebhookSender(VirtualClock(NOW), resolve=unknown)
    outcome = await sender.send(receiver(80, host="hooks.test"), "dl-1", BODY)
    await sender.close()
    assert outcome.kind is OutcomeKind.RETRY
    assert outcome.detail == "the name of http://hooks.test:80 does not resolve"


async def test_a_receiver_that_is_down_delays_no_other() -> None:
    async def silence(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    sender = WebhookSender(VirtualClock(NOW), SendLimits(per_receiver=2))
    async with local_receiver(silence) as down, local_receiver(http("200 OK")) as up:
        stuck = [asyncio.create_task(sender.send(receiver(down.port, "down"), f"dl-{n}", BODY)) for n in range(20)]
        await asyncio.wait_for(down.arrived.wait(), 10)
        for number in range(50):
            outcome = await sender.send(receiver(up.port, "up"), f"dl-{number}", BODY)
            assert outcome.kind is OutcomeKind.DELIVERED
        assert not any(task.done() for task in stuck)
        assert down.connections <= 2
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
    await sender.close()


async def test_names_that_hang_delay_no_other_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    answer, hanging, all_hang = threading.Event(), set[str](), asyncio.Event()

    def begun(host: str) -> None:
        hanging.add(host)
        if len(hanging) == 40:
            all_hang.set()

    def slow(host: str, _port: int) -> list[str]:
        if host.startswith("hangs"):
            loop.call_soon_threadsafe(begun, host)
            answer.wait(20)
        return ["127.0.0.1"]

    monkeypatch.setattr(sender_module, "_system_addresses", slow)
    sender = WebhookSender(VirtualClock(NOW), SendLimits(connect=60, total=60))
    try:
        async with local_receiver(http("200 OK")) as up:
            stuck = [
                asyncio.create_task(sender.send(receiver(up.port, f"down{n}", f"hangs{n}.test"), f"dl-{n}", BODY))
                for n in range(40)
            ]
            await asyncio.wait_for(all_hang.wait(), 10)
            outcome = await sender.send(receiver(up.port, "up", "up.test"), "dl-x", BODY)
            assert outcome.kind is OutcomeKind.DELIVERED
            assert not any(task.done() for task in stuck)
            answer.set()
            assert {outcome.kind for outcome in await asyncio.gather(*stuck)} == {OutcomeKind.DELIVERED}
    finally:
        answer.set()
        await sender.close()


async def test_requests_to_a_name_that_hangs_share_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = threading.Event(), list[str]()

    def slow(host: str, _port: int) -> list[str]:
        asked.append(host)
        answer.wait(20)
        return ["127.0.0.1"]

    monkeypatch.setattr(sender_module, "_system_addresses", slow)
    sender = WebhookSender(SystemClock(), SendLimits(connect=0.1, total=5))
    try:
        for number in range(3):
            outcome = await sender.send(receiver(80, host="hangs.test"), f"dl-{number}", BODY)
            assert (outcome.kind, outcome.status) == (OutcomeKind.RETRY, 0)
            assert "in time" in outcome.detail
        assert asked == ["hangs.test"]
    finally:
        answer.set()
        await sender.close()


async def test_a_receiver_gets_no_more_requests_at_once_than_its_bound() -> None:
    now, most = 0, 0
    release = asyncio.Event()

    async def counted(writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 3:
            release.set()
        await release.wait()
        now -= 1
        writer.write(http("200 OK"))

    sender = WebhookSender(VirtualClock(NOW), SendLimits(per_receiver=3))
    async with local_receiver(counted) as there:
        sent = await asyncio.gather(*(sender.send(receiver(there.port), f"dl-{n}", BODY) for n in range(30)))
    await sender.close()
    assert {outcome.kind for outcome in sent} == {OutcomeKind.DELIVERED}
    assert most == 3


async def test_a_disabled_receiver_is_not_connected_to(sender: WebhookSender) -> None:
    async with local_receiver(http("200 OK")) as there:
        outcome = await sender.send(receiver(there.port, disabled=True), "dl-1", BODY)
    assert outcome.kind is OutcomeKind.GONE
    assert there.connections == 0


async def test_a_changed_receiver_gets_connections_of_its_own(sender: WebhookSender) -> None:
    async with local_receiver(http("200 OK")) as there:
        await sender.send(receiver(there.port), "dl-1", BODY)
        outcome = await sender.send(receiver(there.port, allow_private=False), "dl-2", BODY)
        assert outcome.kind is OutcomeKind.REFUSED
        outcome = await sender.send(replace(receiver(there.port), department="e"), "dl-3", BODY)
        assert outcome.kind is OutcomeKind.DELIVERED
        assert there.connections == 2
    assert len(there.requests) == 2


async def test_an_id_that_cannot_be_signed_is_an_error_of_the_caller(sender: WebhookSender) -> None:
    async with local_receiver(http("200 OK")) as there:
        with pytest.raises(InputError):
            await sender.send(receiver(there.port), "a.b", BODY)
    assert there.requests == []


async def test_closing_ends_what_is_under_way_and_refuses_what_comes() -> None:
    async def silence(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    sender = WebhookSender(VirtualClock(NOW), SendLimits(per_receiver=1))
    async with local_receiver(silence) as there:
        under_way = asyncio.create_task(sender.send(receiver(there.port), "dl-1", BODY))
        await asyncio.wait_for(there.arrived.wait(), 10)
        waiting = asyncio.create_task(sender.send(receiver(there.port), "dl-2", BODY))
        await asyncio.sleep(0)
        await sender.close()
        assert (await asyncio.wait_for(under_way, 10)).kind is OutcomeKind.RETRY
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(waiting, 10)
        with pytest.raises(UnavailableError):
            await sender.send(receiver(there.port), "dl-3", BODY)


async def test_a_sender_that_would_not_verify_tls_is_refused() -> None:
    blind = ssl.create_default_context()
    blind.check_hostname = False
    with pytest.raises(ValueError, match="host name"):
        WebhookSender(VirtualClock(NOW), tls=blind)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for hooks.test with its key, made on the spot."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    path = tmp_path / "hooks.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=hooks.test", "-addext", "subjectAltName=DNS:hooks.test", "-keyout", str(path)]
    made = subprocess.run([*command, "-out", str(tmp_path / "c.pem")], check=False, capture_output=True)
    assert made.returncode == 0, made.stderr
    path.write_bytes(path.read_bytes() + (tmp_path / "c.pem").read_bytes())
    return path


@pytest.mark.parametrize(("host", "trusted"), [("hooks.test", True), ("other.test", True), ("hooks.test", False)])
async def test_tls_is_verified_against_the_host_name_of_the_url(certificate: Path, host: str, trusted: bool) -> None:
    async def loopback(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=str(certificate) if trusted else None)
    sender = WebhookSender(VirtualClock(NOW), tls=trust, resolve=loopback)
    async with local_receiver(http("200 OK"), serving) as there:
        url = f"https://{host}:{there.port}/"
        outcome = await sender.send(Receiver("r", "d", url, (NEW,), allow_private=True), "dl-1", BODY)
    await sender.close()
    if host == "hooks.test" and trusted:
        assert outcome.kind is OutcomeKind.DELIVERED
    else:
        assert outcome.kind is OutcomeKind.RETRY
        assert "certificate" in outcome.detail
        assert there.requests == []
