"""A subscription against a gateway that breaks, lies, floods and falls silent."""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from typing import Any, Dict, List, Optional

import pytest
from fake_gateway import FIRST, TOPIC, WIDTH, Gateway, bar
from websockets.asyncio.server import ServerConnection

from klinecast import Bar, Book, ConnectionRefused, Live, RequestRefused, Subscription
from klinecast.backoff import Advice, Backoff
from klinecast.messages import BadMessage, parse_book
from klinecast.places import parse_token


def quick() -> Backoff:
    """Delays that keep their form, a thousand times shorter."""
    return Backoff(lambda low, high: high / 1000)


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


@pytest.mark.parametrize("seed", range(20))
def test_no_closed_bar_is_missing_while_connections_break(seed: int) -> None:
    async def play() -> None:
        async with Gateway(seed, breaks=0.03) as gateway:
            start = {"last": 20} if seed % 2 else None
            async with Subscription(gateway.url, [TOPIC], start=start, backoff=quick()) as bars:
                positions: List[int] = []
                async for message in bars:
                    if isinstance(message, Bar) and message.is_closed:
                        positions.append((message.start_ms - FIRST) // WIDTH)
                    if len(positions) > 300:
                        break
        assert sorted(set(positions)) == list(range(min(positions), max(positions) + 1)), seed
        assert bars.connections > 1, f"seed {seed}: no connection broke"

    run(play())


def test_bars_that_were_skipped_are_asked_for_again() -> None:
    async def play() -> None:
        async with Gateway(3) as gateway:
            async with Subscription(gateway.url, [TOPIC], start={"last": 5}) as bars:
                positions: List[int] = []
                async for message in bars:
                    if isinstance(message, Live):
                        gateway.skips = 0.5
                    if isinstance(message, Bar) and message.is_closed:
                        assert message.skipped == 0
                        positions.append((message.start_ms - FIRST) // WIDTH)
                    if len(gateway.requests) > 1:
                        gateway.skips = 0.0
                    if len(positions) > 100:
                        break
        assert sorted(set(positions)) == list(range(min(positions), max(positions) + 1))
        assert len(gateway.requests) == 2

    run(play())


def test_a_server_that_closes_at_once_is_not_asked_in_a_loop() -> None:
    async def play() -> None:
        delays: List[float] = []

        async def closes(socket: ServerConnection) -> None:
            await socket.close(1012)

        def note(low: float, high: float) -> float:
            delays.append(high)
            return 0.0

        async with Gateway() as gateway:
            gateway.answer = closes
            bars = Subscription(gateway.url, [TOPIC], backoff=Backoff(note))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(bars.__anext__(), 1.0)
            await bars.aclose()
        assert delays[:7] == [1, 2, 4, 8, 16, 32, 60]
        assert max(delays) == 60

    run(play())


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[]",
        "1",
        "[" * 100_000,
        '{"topic":"kline:1s:BTC-USD"}',
        '{"topic":5}',
        '{"op":"live"}',
        '{"op":"ack","topics":{}}',
        b"\x00\x01",
    ],
)
def test_a_frame_that_is_no_message_ends_the_connection_and_not_the_subscription(
    frame: Any,
) -> None:
    async def play() -> None:
        async with Gateway() as gateway:

            async def lies(socket: ServerConnection) -> None:
                await socket.recv()
                await socket.send(frame)
                gateway.answer = None
                await socket.wait_closed()

            gateway.answer = lies
            async with Subscription(gateway.url, [TOPIC], backoff=quick()) as bars:
                async for message in bars:
                    if isinstance(message, Bar):
                        break
            assert bars.connections == 2

    run(play())


@pytest.mark.parametrize("field", sorted(bar(0)))
def test_a_bar_with_a_wrong_field_is_no_bar(field: str) -> None:
    from klinecast.messages import BadMessage, parse_bar

    for value in ({}, [], True, "NaN", "1e999999999999", 1.5):
        message = {**bar(0), field: value}
        try:
            parse_bar(message)
        except BadMessage:
            continue
        assert isinstance(value, str), (field, value)


def test_a_reader_that_pauses_holds_no_more_than_a_few_frames() -> None:
    async def play() -> None:
        sent = 0

        async def floods(socket: ServerConnection) -> None:
            nonlocal sent
            request = await socket.recv()
            assert request
            line = __import__("json").dumps(bar(1, "forming"))
            while True:
                await socket.send("\n".join([line] * 100))
                sent += 1

        async with Gateway() as gateway:
            gateway.answer = floods
            async with Subscription(gateway.url, [TOPIC]) as bars:
                await bars.__anext__()
                before = -1
                while before != sent:
                    before = sent
                    await asyncio.sleep(0.3)
                # What is under way is in the sockets' buffers, not in this process.
                assert sent < 1000

    run(play())


def test_a_refused_topic_is_an_error_with_its_reason() -> None:
    async def play() -> None:
        async def refuses(socket: ServerConnection) -> None:
            await socket.recv()
            await socket.send(
                '{"op":"error","id":1,"code":"bad_topic","message":"write BTC-USD","topics":["x"]}'
            )
            await socket.wait_closed()

        async with Gateway() as gateway:
            gateway.answer = refuses
            with pytest.raises(RequestRefused, match="write BTC-USD") as refusal:
                await Subscription(gateway.url, ["x"]).__anext__()
            assert refusal.value.topics == ("x",)

    run(play())


def test_an_address_without_a_server_is_an_error_and_not_a_wait_for_ever() -> None:
    async def play() -> None:
        bars = Subscription(
            "ws://127.0.0.1:9/ws", [TOPIC], open_timeout=0.2, backoff=Backoff(lambda a, b: 0.05)
        )
        with pytest.raises(ConnectionRefused, match="is the server running"):
            await bars.__anext__()

    run(play())


def test_a_close_that_asks_for_a_new_token_gets_one() -> None:
    async def play() -> None:
        tokens: List[str] = []

        def make() -> str:
            tokens.append(f"t{len(tokens)}")
            return tokens[-1]

        async with Gateway() as gateway:

            async def expires(socket: ServerConnection) -> None:
                assert socket.request is not None
                assert socket.request.headers["Authorization"] == "Bearer t0"
                gateway.answer = None
                await socket.close(4005)

            gateway.answer = expires
            async with Subscription(gateway.url, [TOPIC], token=make, backoff=quick()) as bars:
                await bars.__anext__()
            assert tokens == ["t0", "t1"]
            gateway.answer = expires
            with pytest.raises(ConnectionRefused):
                await Subscription(gateway.url, [TOPIC], token="t0").__anext__()

    run(play())


def test_delays_grow_and_begin_again_after_a_connection_that_worked() -> None:
    backoff = Backoff(lambda low, high: high)
    assert [backoff.delay(Advice.SOON) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    backoff.worked()
    assert backoff.delay(Advice.BACK_OFF) == 4
    random.seed(1)
    assert 0 <= Backoff().delay(Advice.SOON) <= 1


def test_live_says_how_many_intervals_have_no_bar() -> None:
    from klinecast.messages import parse

    line = '{"op":"live","topic":"kline:1s:BTC-USD","recovered":true%s}'
    missing = []
    for field in ("", ',"missing":3'):
        live, _ = parse(line % field)
        assert isinstance(live, Live)
        missing.append(live.missing)
    assert missing == [0, 3]


def book(number: int, **fields: Any) -> Dict[str, Any]:
    message: Dict[str, Any] = {
        "topic": "book:BTC-USDT", "seq": number, "epoch": 5, "exchange": "binance",
        "symbol": "BTC-USDT", "state": "valid", "reason": None, "update_id": "160",
        "bids": [["61837.63", "3.78826"], ["61837", "1"]],
        "asks": [["61837.64", "1.5"], ["61900", "0.5"]],
        "event_ms": None, "received_us": 1, "published_us": 2,
    }  # fmt: skip
    return {**message, **fields}


def test_a_book_that_makes_no_sense_is_no_book() -> None:
    whole = parse_book(book(1))
    assert whole.is_valid
    assert [str(level.price) for level in whole.bids] == ["61837.63", "61837"]
    assert not parse_book(book(1, state="invalid", reason="hole", bids=[], asks=[])).is_valid
    wrong: List[Dict[str, Any]] = [
        {"state": "stale"},
        {"state": "invalid"},
        {"bids": None},
        {"bids": [["5"]]},
        {"bids": [[5, 1]]},
        {"bids": [["0", "1"]]},
        {"bids": [["-5", "1"]]},
        {"bids": [["5", "0.000"]]},
        {"bids": [["NaN", "1"]]},
        {"bids": [["5", "1"], ["6", "1"]]},
        {"bids": [["5", "1"], ["5.0", "1"]]},
        {"asks": [["61900", "1"], ["61899", "1"]]},
        {"asks": [["61900", "1"], ["61900", "1"]]},
        {"asks": [["61837.63", "1"]]},
        {"seq": "7"},
        {"symbol": None},
        {"published_us": None},
    ]
    for fields in wrong:
        with pytest.raises(BadMessage):
            parse_book(book(1, **fields))


def test_without_a_connection_no_book_is_right_and_the_next_one_brings_it_again() -> None:
    async def play() -> None:
        async def serve(socket: ServerConnection) -> None:
            request = json.loads(await socket.recv())
            assert "since" not in request
            await socket.send(json.dumps({"op": "ack", "id": request["id"], "topics": []}))
            await socket.send(json.dumps(book(7)))
            other = book(3, topic="book:ETH-USDT", state="invalid", bids=[], asks=[])
            await socket.send(json.dumps(other))
            await socket.close(1012)

        async with Gateway() as gateway:
            gateway.answer = serve
            told: List[Any] = []
            books = Subscription(gateway.url, ["book:*"], backoff=quick())
            async with books as messages:
                async for message in messages:
                    if isinstance(message, Book):
                        told.append((message.topic, message.is_valid, message.reason))
                    if len(told) == 5:
                        break
        bitcoin, ether = "book:BTC-USDT", "book:ETH-USDT"
        begin = [(bitcoin, True, None), (ether, False, None)]
        assert told == [*begin, (bitcoin, False, "disconnected"), *begin]

    run(play())


def changes(number: int, previous: int, **fields: Any) -> Dict[str, Any]:
    return book(number, prev_seq=previous, depth=None, **fields)


def told_by(*messages: Dict[str, Any]) -> List[Any]:
    """What a subscription yields of a connection with these messages, and of the next one."""

    async def play() -> List[Any]:
        connections: List[Dict[str, Any]] = []

        async def serve(socket: ServerConnection) -> None:
            request = json.loads(await socket.recv())
            connections.append(request)
            await socket.send(json.dumps({"op": "ack", "id": request["id"], "topics": []}))
            if len(connections) > 1:
                await socket.send(json.dumps(book(99)))
            else:
                for message in messages:
                    await socket.send(json.dumps(message))
            await socket.wait_closed()

        told: List[Any] = []
        async with Gateway() as gateway:
            gateway.answer = serve
            books = Subscription(
                gateway.url, ["book:*"], book_depth=20, book_changes=True, backoff=quick()
            )
            async with books as received:
                async for message in received:
                    if isinstance(message, Book):
                        told.append(message)
                        if message.seq in (99, 50):
                            break
        assert (connections[0]["depth"], connections[0]["changes"]) == (20, True)
        return told

    return list(run(play()))


def test_changes_of_a_book_make_whole_books() -> None:
    text = "61837.63:2,61836:0.00000001,61837.64:1.5,"
    right = changes(
        9, 7, update_id="170",
        bids=[["61837.63", "2"], ["61837", "0"], ["61836", "0.00000001"]],
        asks=[["61900", "0"]], checksum=zlib.crc32(text.encode()),
    )  # fmt: skip
    # Only the best level of each side is followed from now on.
    text = "61837.63:2,61837.64:1.5,"
    cut = changes(50, 9, bids=[], asks=[], checksum=zlib.crc32(text.encode()))
    _, first, second = told_by(book(7), right, {**cut, "depth": 1})
    assert (first.seq, first.update_id, first.is_valid) == (9, "170", True)
    assert [str(level.price) for level in first.bids] == ["61837.63", "61836"]
    assert [str(level.price) for level in first.asks] == ["61837.64"]
    assert [len(second.bids), len(second.asks)] == [1, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"prev_seq": 6},
        {"epoch": 4},
        {"checksum": 1},
        {"bids": [["5", "0"]]},
        {"bids": [["5", "-1"]]},
        {"bids": [["61837.64", "1"]]},
        {"state": "invalid"},
        {"depth": -1},
        {"topic": "book:ETH-USDT"},
    ],
)
def test_after_changes_that_do_not_fit_the_whole_book_comes_again(wrong: Dict[str, Any]) -> None:
    text = "61837.63:3.78826,61837:1,61837.64:1.5,61900:0.5,"
    fitting = changes(8, 7, bids=[], asks=[], checksum=zlib.crc32(text.encode()))
    told = told_by(book(7), fitting, {**fitting, "seq": 9, "prev_seq": 8, **wrong})
    assert [(book.seq, book.state) for book in told] == [
        (7, "valid"), (8, "valid"), (8, "invalid"), (99, "valid"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "token", [None, "", "k1..5", "k1.5.", "k1.5", "k1.-5.5", "k1.٣.4", "k1." + "9" * 5_000 + ".1"]
)
def test_a_token_of_another_form_is_no_place(token: Optional[str]) -> None:
    assert parse_token(token) is None
    assert parse_token("k1.5.6") == (5, 6)
