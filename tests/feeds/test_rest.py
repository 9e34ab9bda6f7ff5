"""REST: typed failures, bounds, budgets; in virtual time, and once over a real socket."""

from __future__ import annotations

import datetime
import email.utils
from collections.abc import AsyncIterator

import httpx
import pytest
import trio
from trio.testing import MockClock

from level4.feeds import RateLimitedError, Rest, RestRefusedError, RestUnavailableError

URL = "https://api.fake.example/depth?symbol=X"


def rest(answer: httpx.Response | Exception, **settings: object) -> Rest:
    def handler(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Rest(transport=httpx.MockTransport(handler), **settings)  # type: ignore[arg-type]


async def get(client: Rest, url: str = URL, weight: int = 1) -> bytes:
    return await client.get(url, weight=weight, weight_per_minute=60)


async def test_a_body() -> None:
    async with rest(httpx.Response(200, content=b"[1]")) as client:
        assert await get(client) == b"[1]"
    assert (client.stats.requests, client.stats.bytes, client.stats.answers[200]) == (1, 3, 1)


async def test_a_question_is_asked_by_post() -> None:
    asked: list[tuple[str, str, bytes, str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, str(request.url), request.content, request.headers["content-type"]))
        return httpx.Response(200 if len(asked) == 1 else 404, content=b"[1]")

    url = "https://api.fake.example/info"
    async with Rest(transport=httpx.MockTransport(handler)) as client:
        assert await get(client, url + ' {"type":"a b"}') == b"[1]"
        with pytest.raises(RestRefusedError, match=r"^POST https://api\.fake\.example/info \{"):
            await get(client, url + ' {"type":"c"}')
        assert list(client.budgets()) == ["api.fake.example"]
    assert asked[0] == ("POST", url, b'{"type":"a b"}', "application/json")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, RateLimitedError),
        (418, RateLimitedError),
        (403, RateLimitedError),
        (451, RestRefusedError),
        (404, RestRefusedError),
        (400, RestRefusedError),
        (500, RestUnavailableError),
        (503, RestUnavailableError),
        (520, RestUnavailableError),
        (304, RestRefusedError),
    ],
)
async def test_statuses_are_typed_errors_that_quote_the_exchange(
    status: int, kind: type[Exception], autojump_clock: MockClock
) -> None:
    async with rest(httpx.Response(status, content=b'{"msg":"the reason"}' + b"x" * 10_000)) as client:
        with pytest.raises(kind, match="the reason") as failed:
            await get(client)
        assert type(failed.value) is kind
        assert str(status) in str(failed.value)
        assert len(str(failed.value)) < 500


async def test_retry_after_in_seconds_holds_back_everybody(autojump_clock: MockClock) -> None:
    answers = [httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(200, content=b"a")]
    async with Rest(transport=httpx.MockTransport(lambda request: answers.pop(0))) as client:
        with pytest.raises(RateLimitedError) as failed:
            await get(client)
        assert failed.value.retry_after == 7
        began = trio.current_time()
        assert await get(client) == b"a"
        assert trio.current_time() - began == pytest.approx(7)


async def test_retry_after_as_a_date(autojump_clock: MockClock) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    async with rest(httpx.Response(503, headers={"retry-after": email.utils.format_datetime(later)})) as client:
        with pytest.raises(RestUnavailableError) as failed:
            await get(client)
        assert failed.value.retry_after == pytest.approx(100, abs=5)


@pytest.mark.parametrize("value", ["soon", "-1", "9" * 400, ""])
async def test_a_strange_retry_after_is_no_accident(value: str, autojump_clock: MockClock) -> None:
    async with rest(httpx.Response(429, headers={"retry-after": value})) as client:
        with pytest.raises(RateLimitedError) as failed:
            await get(client)
        assert 0 <= (failed.value.retry_after or 0) <= 3600


async def test_a_ban_without_a_time_is_respected_for_two_minutes(autojump_clock: MockClock) -> None:
    answers = [httpx.Response(418), httpx.Response(200)]
    async with Rest(transport=httpx.MockTransport(lambda request: answers.pop(0))) as client:
        with pytest.raises(RateLimitedError):
            await get(client)
        await get(client)
        assert trio.current_time() == pytest.approx(120, abs=1)


async def test_connection_failures_are_unavailable() -> None:
    async with rest(httpx.ConnectError("no route")) as client:
        with pytest.raises(RestUnavailableError, match="no route"):
            await get(client)


# httpx nests generators and leaves the inner ones of an unfinished body to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_body_beyond_the_bound_is_not_read_on() -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1000
            yield b"x" * 1000

    async with rest(httpx.Response(200, content=endless()), body_bytes=10_000) as client:
        with pytest.raises(RestRefusedError, match="at most 10000 bytes"):
            await get(client)
    assert given <= 200_000


async def test_a_body_that_drips_has_a_deadline(autojump_clock: MockClock) -> None:
    async def dripping() -> AsyncIterator[bytes]:
        while True:
            await trio.sleep(1)
            yield b"x"

    async with rest(httpx.Response(200, content=dripping()), seconds=30) as client:
        with pytest.raises(RestUnavailableError, match="within 30 s"):
            await get(client)
        assert trio.current_time() == pytest.approx(30, abs=1)


async def test_the_budget_is_kept_per_host(autojump_clock: MockClock) -> None:
    at: dict[str, list[float]] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        at.setdefault(request.url.host, []).append(trio.current_time())
        return httpx.Response(200)

    async with Rest(transport=httpx.MockTransport(answer)) as client, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(get, client, URL, 27)
        nursery.start_soon(get, client, "https://other.example/x", 30)
    # 60 a minute, of which a tenth is kept for what is urgent: two at once, the next when their minute is over.
    assert [round(moment) for moment in at["api.fake.example"]] == [0, 0, 61, 61]
    assert at["other.example"] == [0]


async def test_exchanges_behind_one_simulator_have_their_own_budgets(autojump_clock: MockClock) -> None:
    async with rest(httpx.Response(200)) as client:
        for host in ("api.a.example", "api.b.example"):
            await get(client, f"http://127.0.0.1:9/{host}/depth", 60)
        assert trio.current_time() == 0
        await get(client, "http://127.0.0.1:9/api.a.example/list", 60)
        assert trio.current_time() == pytest.approx(61.2)


async def test_the_room_that_is_left_when_all_who_wait_have_had_their_share(autojump_clock: MockClock) -> None:
    base = "http://127.0.0.1:9/api.a.example/"
    async with rest(httpx.Response(200)) as client, trio.open_nursery() as nursery:
        assert client.room(base, None, 20) == 1.0
        for _ in range(3):
            nursery.start_soon(get, client, base + "depth", 20)
        await trio.sleep(1)
        assert client.room(base, None, 20) == pytest.approx((20 - 20) / 60), "one waits"
        await trio.sleep(100)
        assert client.room(base, None, 20) == pytest.approx(40 / 60)


async def test_the_exchanges_count_of_our_weight_is_believed(autojump_clock: MockClock) -> None:
    async with rest(httpx.Response(200, headers={"X-MBX-USED-WEIGHT-1M": "52"})) as client:
        await get(client)
        await get(client)
        await get(client)
        assert trio.current_time() == 0  # the second one, and what is kept for urgent requests, were left
        await get(client)
        assert trio.current_time() == pytest.approx(61.2)


async def test_the_budget_is_divided_among_nodes(autojump_clock: MockClock) -> None:
    async with rest(httpx.Response(200)) as client:
        client.share(3)
        await get(client, weight=18)
        assert trio.current_time() == 0
        await get(client, weight=18)
        assert trio.current_time() == pytest.approx(61.2)
        client.share(1)
        await get(client, weight=36)
        assert trio.current_time() == pytest.approx(61.2)


async def test_several_hosts_may_share_one_budget(autojump_clock: MockClock) -> None:
    async with rest(httpx.Response(200)) as client:
        for host in ("api.a.example", "api.b.example"):
            await client.get(f"https://{host}/depth", weight=40, weight_per_minute=60, budget="api.a.example")
        assert trio.current_time() == pytest.approx(61.2)
        assert client.budgets() == {"api.a.example": (20.0, 60.0)}


async def test_what_is_urgent_does_not_wait_behind_the_budget_of_others(autojump_clock: MockClock) -> None:
    asked: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        await trio.sleep(0.1 + int(request.url.params["symbol"][1:]) / 100)
        return httpx.Response(200)

    async def ask(client: Rest, symbol: str, urgent: bool) -> None:
        url = f"https://api.fake.example/depth?symbol={symbol}"
        weight = 2 if urgent else 20
        await client.get(url, weight=weight, weight_per_minute=100, urgent=urgent, granted=lambda: asked.append(symbol))

    async with Rest(transport=httpx.MockTransport(handler)) as client, trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(ask, client, f"S{number}", False)
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        assert asked == ["S0", "S1", "S2", "S3"]
        assert client.waiting() == {"api.fake.example": 6}
        for number in range(5):
            await ask(client, f"P{number}", True)
        assert trio.current_time() < 2
        assert asked[4:] == ["P0", "P1", "P2", "P3", "P4"]
    assert [symbol for symbol in asked if symbol[0] == "S"] == [f"S{number}" for number in range(10)]
    assert client.waiting() == {"api.fake.example": 0}


async def test_what_is_urgent_fails_at_once_while_the_host_wants_to_be_left_alone(autojump_clock: MockClock) -> None:
    answers = [httpx.Response(429, headers={"retry-after": "40"}), httpx.Response(200)]
    async with Rest(transport=httpx.MockTransport(lambda _request: answers.pop(0))) as client:
        with pytest.raises(RateLimitedError):
            await get(client)
        with pytest.raises(
            RateLimitedError, match=r"not asked, api\.fake\.example wants to be left alone for 40 s more"
        ):
            await client.get(URL, weight=1, weight_per_minute=60, urgent=True)
        assert trio.current_time() == 0
        await trio.sleep(41)
        await client.get(URL, weight=1, weight_per_minute=60, urgent=True)


async def test_few_requests_at_a_time_for_one_host(autojump_clock: MockClock) -> None:
    now = most = 0

    async def slow() -> AsyncIterator[bytes]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await trio.sleep(1)
        now -= 1
        yield b"x"

    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=slow()))
    async with Rest(transport=transport, per_host=3) as client, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(get, client)
    assert most == 3


async def test_over_a_real_socket() -> None:
    async def talk(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
        await stream.aclose()

    async with trio.open_nursery() as nursery, Rest() as client:
        listeners = await nursery.start(trio.serve_tcp, talk, 0)
        port = listeners[0].socket.getsockname()[1]
        assert await get(client, f"http://127.0.0.1:{port}/x") == b"hi"
        with pytest.raises(RestUnavailableError):
            await get(client, "http://127.0.0.1:1/x")
        nursery.cancel_scope.cancel()


async def test_budgets_tell_what_may_be_spent(autojump_clock: trio.testing.MockClock) -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=b"{}"))
    async with Rest(transport=transport) as rest:
        assert rest.budgets() == {}
        await rest.get("https://api.example/x", weight=90, weight_per_minute=120)
        assert rest.budgets() == {"api.example": (30.0, 120.0)}
        await trio.sleep(62)
        assert rest.budgets() == {"api.example": (120.0, 120.0)}
