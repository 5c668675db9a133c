"""uWebSockets through socketify: the whole fan-out is native, Python only names the topics.

Usage: python uws_peer.py PORT
Clients connect to /ws?topics=a,b; the feed sends `topic\nbar` to /feed.
"""

import sys

from socketify import App, CompressOptions, OpCode

app = App()


def upgrade(response, request, context):
    response.upgrade(
        request.get_header("sec-websocket-key"),
        request.get_header("sec-websocket-protocol"),
        request.get_header("sec-websocket-extensions"),
        context,
        request.get_query("topics") or "",
    )


def opened(socket):
    for topic in socket.get_user_data().split(","):
        socket.subscribe(topic)


def fed(_socket, message, _opcode):
    topic, bar = bytes(message).split(b"\n", 1)
    app.publish(topic, bar, OpCode.TEXT)


options = {
    "compression": CompressOptions.DISABLED,
    "max_payload_length": 1024 * 1024,
    "idle_timeout": 0,
    "send_pings_automatically": False,
}
app.ws("/ws", {**options, "upgrade": upgrade, "open": opened})
app.ws("/feed", {**options, "message": fed})
app.listen({"port": int(sys.argv[1]), "host": "127.0.0.1"}, lambda _: None)
app.run()
