"""ClickHouse's engine (chdb) behind the HTTP interface that Klinecast uses.

    python server.py PORT DIRECTORY

The engine is ClickHouse's own; HTTP is not. A file `fault` in the directory asks for faults:
`slow` (each answer takes half a second), `full` (writes end as on a full disk), `refuse TEXT` (a
write whose rows have TEXT is refused), `torn` (a write ends before its answer), `page` (another server
answers, with a page for browsers), `empty` (another server answers, with nothing).
"""

import os
import re
import sys
import tempfile
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from chdb import session

directory = sys.argv[2]
engine = session.Session(os.path.join(directory, "data"))
lock = threading.Lock()


def fault():
    try:
        with open(os.path.join(directory, "fault"), encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def insert(sql, body):
    """Rows come in a file: the engine has no other way in."""
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        file.write(body)
        file.flush()
        head, settings = re.split(r"(?= SETTINGS )", sql, maxsplit=1)
        engine.query(f"{head} FROM INFILE '{file.name}'{settings}")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        query = parse_qs(urlsplit(self.path).query)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        sql = query.get("query", [""])[0]
        wanted = fault()
        if wanted == "slow":
            time.sleep(0.5)
        if wanted == "empty":
            return self.answer(200, b"")
        if wanted == "page":
            return self.answer(200, b"<html>We are back soon</html>")
        if sql and wanted == "full":
            return self.refuse(243, "Cannot reserve 1.00 MiB, not enough space")
        if sql and wanted.startswith("refuse ") and wanted[7:].encode() in body:
            return self.refuse(469, "Constraint `check` is violated")
        try:
            with lock:
                if sql:
                    insert(sql, body)
                    answer = b""
                else:
                    answer = engine.query(body.decode()).bytes()
        except Exception as error:
            text = str(error)
            code = re.search(r"Code: (\d+)", text)
            return self.refuse(int(code[1]) if code else 0, text)
        if sql and wanted == "torn":
            self.close_connection = True
            return None
        return self.answer(200, answer)

    def refuse(self, code, text):
        self.answer(500, f"Code: {code}. DB::Exception: {text}".encode(), code)

    def answer(self, status, body, code=None):
        self.send_response(status)
        if fault() not in ("page", "empty"):
            self.send_header("X-ClickHouse-Query-Id", str(uuid.uuid4()))
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
