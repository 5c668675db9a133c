#!/usr/bin/env python3
"""What each user of docker/nats.roles.conf may not do, and what the users without a program may.

    scripts/test-fleet-roles.py PORT CREDENTIALS

Talks to a cluster that `make fleet NATS=3` has started. That the users of programs may do what these
need is seen from the fleet's logs: a refusal is a line there.
"""

import json
import pathlib
import socket
import ssl
import sys

DEADLINE_SECONDS = 60

DENIED = {
    "marketdata": {
        "PUB": ["fleet.rebalance", "history.query", "$JS.API.STREAM.DELETE.CLOSED", "$JS.API.STREAM.PURGE.CLOSED",
                "$JS.API.STREAM.CREATE.OTHER", "_INBOX.gateway.a", "other.a"],
        "SUB": [">", "fleet.>", "history.query", "_INBOX.>", "_INBOX.gateway.>"],
    },
    "gateway": {
        "PUB": ["kline.1m.A-B", "closed.1m.A-B", "closed.lease.binance.A-B", "journal.1m.A-B", "state.epoch.marketdata",
                "presence.beat", "system.feed.binance", "archive.bars.binance", "$JS.API.STREAM.CREATE.CLOSED",
                "$JS.API.STREAM.UPDATE.CLOSED", "$JS.API.STREAM.DELETE.CLOSED", "$JS.API.STREAM.PURGE.KLINE",
                "$JS.API.CONSUMER.CREATE.STATE.a", "$JS.API.CONSUMER.PAUSE.CLOSED.a", "$JS.API.CONSUMER.UNPIN.CLOSED.a",
                "_INBOX.marketdata.a", "_INBOX.history.a"],
        "SUB": [">", "state.>", "history.query", "_INBOX.>", "_INBOX.history.>"],
    },
    "history": {
        "PUB": ["kline.1m.A-B", "closed.1m.A-B", "journal.1m.A-B", "state.epoch.marketdata", "presence.beat",
                "fleet.rebalance", "$JS.API.STREAM.DELETE.JOURNAL", "$JS.API.STREAM.PURGE.JOURNAL",
                "$JS.API.STREAM.UPDATE.CLOSED", "$JS.API.CONSUMER.PAUSE.CLOSED.a", "_INBOX.gateway.a"],
        "SUB": [">", "fleet.>", "archive.bars.*", "_INBOX.>", "_INBOX.gateway.>"],
    },
    "alerts": {
        "PUB": ["kline.1m.A-B", "closed.1m.A-B", "journal.1m.A-B", "quote.A-B", "state.epoch.marketdata", "presence.beat",
                "system.feed.binance", "system.service.marketdata.gap", "fleet.rebalance", "history.query",
                "archive.bars.binance", "$JS.API.STREAM.DELETE.ALERT", "$JS.API.STREAM.PURGE.ALERT",
                "$JS.API.STREAM.UPDATE.ALERT", "$JS.API.STREAM.DELETE.JOURNAL", "$JS.API.CONSUMER.CREATE.JOURNAL.a",
                "$JS.API.DIRECT.GET.STATE.state.a", "_INBOX.history.a"],
        "SUB": [">", "alert.>", "kline.>", "fleet.>", "history.query", "_INBOX.>", "_INBOX.history.>"],
    },
    "reader": {
        # The server would send an answer to any subject, so a reader may not ask either.
        "PUB": ["kline.1m.A-B", "closed.1m.A-B", "fleet.rebalance", "history.query", "archive.bars.binance",
                "$JS.API.STREAM.INFO.KLINE", "$JS.API.STREAM.INFO.STATE", "$JS.API.STREAM.DELETE.KLINE",
                "$JS.API.DIRECT.GET.KLINE.kline.1m.A-B", "$JS.API.CONSUMER.CREATE.KLINE.a",
                "_INBOX.reader.a", "_INBOX.gateway.a"],
        "SUB": [">", "state.>", "fleet.>", "presence.>", "history.query", "_INBOX.>"],
    },
}


class Refused(Exception):
    pass


class Connection:
    """One connection of a user, by NATS's protocol of text lines."""

    def __init__(self, port, authority, user=None, password=None):
        plain = socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS)
        line = self._line_of(plain)
        assert line.startswith(b"INFO "), line
        assert json.loads(line[5:]).get("tls_required"), "the server does not demand TLS"
        context = ssl.create_default_context(cafile=authority)
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.lines = self.socket.makefile("rb")
        login = {"verbose": False, "pedantic": False, "tls_required": True, "headers": True}
        if user:
            login.update(user=user, password=password, **{"pass": password})
        self.send(b"CONNECT " + json.dumps(login).encode())
        self.until_pong()

    @staticmethod
    def _line_of(plain):
        # Byte by byte: what follows the line is TLS.
        line = b""
        while not line.endswith(b"\r\n"):
            byte = plain.recv(1)
            assert byte, "the server closed the connection"
            line += byte
        return line

    def send(self, line):
        self.socket.sendall(line + b"\r\n")

    def until_pong(self):
        """Sends a PING, and gives the messages that came before its PONG."""
        self.send(b"PING")
        messages, refusal = [], None
        while True:
            line = self.lines.readline()
            if not line:
                raise Refused(refusal or "the server closed the connection")
            if line.startswith(b"PONG"):
                if refusal:
                    raise Refused(refusal)
                return messages
            if line.startswith(b"-ERR"):
                refusal = line.decode().strip()
            elif line.startswith((b"MSG ", b"HMSG ")):
                body = self.lines.read(int(line.split()[-1]) + 2)
                messages.append((line.split()[1].decode(), body))

    def publish(self, subject, payload=b"", reply=""):
        parts = ["PUB", subject, reply, str(len(payload))]
        self.send(" ".join(part for part in parts if part).encode() + b"\r\n" + payload)

    def subscribe(self, subject, number):
        self.send(f"SUB {subject} {number}".encode())

    def request(self, user, subject, payload=b""):
        self.subscribe(f"_INBOX.{user}.answer", 9)
        self.publish(subject, payload, f"_INBOX.{user}.answer")
        while True:
            for got, body in self.until_pong():
                if got == f"_INBOX.{user}.answer":
                    return body

    def close(self):
        self.socket.close()


def main():
    port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    authority = str(folder / "ca.pem")
    passwords = dict(line.split("=", 1) for line in (folder / "passwords.env").read_text().splitlines())

    def login(user):
        return Connection(port, authority, user, passwords[f"NATS_{user.upper()}_PASSWORD"])

    failures = []

    def must_refuse(what, act):
        try:
            act()
        except Refused as refusal:
            if "iolation" in str(refusal):
                return
            failures.append(f"{what}: refused for another reason: {refusal}")
        else:
            failures.append(f"{what} is allowed")

    must_refuse("a login without a user", lambda: Connection(port, authority))
    must_refuse("a login with a wrong password", lambda: Connection(port, authority, "gateway", "wrong"))
    for user, subjects in DENIED.items():
        connection = login(user)
        for verb, names in subjects.items():
            for name in names:
                def act(verb=verb, name=name):
                    if verb == "PUB":
                        connection.publish(name)
                    else:
                        connection.subscribe(name, 1)
                    connection.until_pong()
                must_refuse(f"{verb} {name} as {user}", act)
        connection.close()

    reader = login("reader")
    reader.subscribe("kline.>", 1)
    while not any(subject.startswith("kline.") for subject, _ in reader.until_pong()):
        pass
    reader.close()

    broker = login("broker")
    info = json.loads(broker.request("broker", "$JS.API.STREAM.INFO.CLOSED", b"{}"))
    if len(info["cluster"]["replicas"]) != 2 or info["config"]["num_replicas"] != 3:
        failures.append(f"closed bars have no three copies: {info}")
    settings = json.dumps({"name": "TESTS", "subjects": ["tests.>"], "max_msgs": 1, "storage": "memory"}).encode()
    for subject, body in [("$JS.API.STREAM.CREATE.TESTS", settings), ("$JS.API.STREAM.DELETE.TESTS", b"")]:
        answer = json.loads(broker.request("broker", subject, body))
        if "error" in answer:
            failures.append(f"{subject} as broker: {answer}")
    broker.close()

    for failure in failures:
        print(failure)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
