"""Clients as published, each with what it offers unasked, get what a plain one gets.

    every_encoding.py URL PROTO_FOLDER

A client of every library and encoding subscribes. The test publishes bars meanwhile and ends with
one whose `seq` is LAST; what a client got until then is compared bar by bar with the plain one's.
"""

import asyncio
import importlib
import json
import sys
import tempfile
from pathlib import Path

import aiohttp
import websockets
from grpc_tools import protoc

URL, PROTO = sys.argv[1], sys.argv[2]
LAST = 1_000_000
LAST_STATUS = 9
DEADLINE_S = 60
TOPICS = ["kline:1s:*", "system:>"]
ENUMS = {"state", "quality"}


def schema():
    """The published schema, compiled by Google's own compiler."""
    folder = tempfile.mkdtemp()
    file = "klinecast/v1/klinecast.proto"
    if protoc.main(["protoc", f"-I{PROTO}", f"--python_out={folder}", str(Path(PROTO) / file)]):
        sys.exit("the schema does not compile")
    sys.path.insert(0, folder)
    return importlib.import_module("klinecast.v1.klinecast_pb2")


pb = schema()


def from_json(text):
    return [json.loads(line) for line in text.split("\n")]


def from_protobuf(frame):
    """The objects of a Batch, as their JSON would be."""
    batch = pb.Batch()
    batch.ParseFromString(frame)
    objects = []
    for message in batch.messages:
        kind = message.WhichOneof("content")
        if kind == "json":
            objects.append(json.loads(message.json))
            continue
        content = getattr(message, kind)
        fields = {}
        for field in content.DESCRIPTOR.fields:
            value = getattr(content, field.name)
            if field.name in ENUMS:
                value = field.enum_type.values_by_number[value].name.lower()
            elif field.has_presence and not content.HasField(field.name):
                value = None
            fields[field.name] = value
        if message.skipped:
            fields["skipped"] = message.skipped
        if kind != "bar":
            fields["op"] = kind
        objects.append(fields)
    return objects


def subscribe_json():
    return json.dumps({"op": "sub", "id": "first", "topics": TOPICS})


def subscribe_protobuf():
    return pb.Request(id="first", sub=pb.Subscribe(topics=TOPICS)).SerializeToString()


class Seen:
    """What a client got, by topic and `seq`; forming bars may be conflated away."""

    def __init__(self, name):
        self.name = name
        self.bars = {}
        self.statuses = []
        self.has_last_bar = False

    def take(self, objects):
        """Takes a frame; returns whether the last bar and the last status have come."""
        for item in objects:
            if item.get("op") == "ack":
                assert item["id"] == "first", item
            elif str(item.get("topic", "")).startswith("kline:"):
                assert "skipped" not in item, item
                self.bars[item["topic"], item["seq"]] = item
                self.has_last_bar |= item["seq"] == LAST
            else:
                self.statuses.append(item)
        # The bus brings bars and statuses each in their order, and not one after the other.
        has_last_status = any(status["n"] == LAST_STATUS for status in self.statuses)
        return self.has_last_bar and has_last_status


async def with_websockets(name, subprotocols, **options):
    seen = Seen(name)
    async with websockets.connect(URL, subprotocols=subprotocols, **options) as socket:
        names = [extension.name for extension in socket.protocol.extensions]
        offered = options.get("compression", "deflate") is not None
        assert names == (["permessage-deflate"] if offered else []), names
        is_protobuf = socket.subprotocol == "klinecast.protobuf.v1"
        assert is_protobuf == bool(subprotocols), socket.subprotocol
        await socket.send(subscribe_protobuf() if is_protobuf else subscribe_json())
        async for frame in socket:
            if seen.take(from_protobuf(frame) if is_protobuf else from_json(frame)):
                return seen
    raise AssertionError(f"{name}: closed")


async def with_aiohttp(name, compress):
    seen = Seen(name)
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(URL, compress=compress) as socket:
            assert bool(socket.compress) == bool(compress), socket.compress
            await socket.send_str(subscribe_json())
            async for message in socket:
                if seen.take(from_json(message.data)):
                    return seen
    raise AssertionError(f"{name}: closed")


async def main():
    protobuf = ["klinecast.protobuf.v1"]
    plain, *others = await asyncio.wait_for(
        asyncio.gather(
            with_websockets("plain", None, compression=None),
            with_websockets("websockets", None),
            with_websockets("websockets, protobuf", protobuf, compression=None),
            with_websockets("websockets, protobuf and deflate", protobuf),
            with_aiohttp("aiohttp", 15),
            with_aiohttp("aiohttp, small window", 9),
        ),
        DEADLINE_S,
    )
    closed = {key: bar for key, bar in plain.bars.items() if bar["state"] == "closed"}
    assert len(closed) == 30, len(closed)
    assert plain.statuses, "system topics come, too"
    for seen in others:
        for key, bar in closed.items():
            assert seen.bars.get(key) == bar, (seen.name, key, bar, seen.bars.get(key))
        for key, bar in seen.bars.items():
            assert plain.bars.get(key, bar) == bar, (seen.name, key)
        assert seen.statuses[-1] == plain.statuses[-1], (seen.name, seen.statuses)
        print(f"{seen.name}: {len(seen.bars)} bars are those of the plain client")


asyncio.run(main())
