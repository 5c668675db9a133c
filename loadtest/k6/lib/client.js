// One Klinecast client under k6: what it measures and what counts as a failure.
//
// k6 handles the messages of all sockets of a virtual user one after another,
// so under load the times below are mostly its own queue. It is used here for
// counts and thresholds; the Rust load client measures latency.
import { Counter, Rate, Trend } from 'k6/metrics';
import { WebSocket } from './websocket.js';

export const handshakes = new Rate('klinecast_handshake_ok');
export const handshakeFailures = new Counter('klinecast_handshake_failures');
export const connected = new Counter('klinecast_connected');
export const snapshots = new Rate('klinecast_snapshot_ok');
export const firstSnapshot = new Trend('klinecast_first_snapshot', true);
export const unexpectedCloses = new Counter('klinecast_unexpected_closes');
export const frames = new Counter('klinecast_frames');
export const bars = new Counter('klinecast_bars');

export const url = __ENV.URL || 'ws://127.0.0.1:8080/ws';

const OPEN = 1;

// The objects of a server frame: one per line.
export function messages(frame) {
  return frame.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line));
}

// Opens a socket, sends `subscribe` once it is open, and calls
// `onFrame(socket, text)` for each frame until `close()` or the server ends it.
// Returns an object with `close()`.
export function connect(subscribe, onFrame) {
  const socket = new WebSocket(url);
  const client = {
    opened: false,
    snapshot: false,
    closing: false,
    openedAt: 0,
    close() {
      client.closing = true;
      if (client.opened) {
        snapshots.add(client.snapshot);
      }
      socket.close(1000);
    },
    send(message) {
      if (socket.readyState === OPEN) {
        socket.send(JSON.stringify(message));
      }
    },
  };
  socket.addEventListener('open', () => {
    client.opened = true;
    client.openedAt = Date.now();
    handshakes.add(true);
    connected.add(1);
    client.send(subscribe);
  });
  socket.addEventListener('message', (event) => {
    frames.add(1);
    // Looking for the text is far cheaper than parsing every frame.
    if (event.data.includes('"topic":"kline:')) {
      bars.add(1);
      if (!client.snapshot) {
        client.snapshot = true;
        firstSnapshot.add(Date.now() - client.openedAt);
      }
    }
    if (onFrame) {
      onFrame(client, event.data);
    }
  });
  socket.addEventListener('close', (event) => {
    if (!client.opened) {
      handshakes.add(false);
      handshakeFailures.add(1);
    } else if (!client.closing) {
      snapshots.add(client.snapshot);
      unexpectedCloses.add(1, { code: String(event.code) });
      console.warn(`closed by the server: ${event.code} ${event.reason || ''}`);
    }
  });
  // The close event follows and does the counting.
  socket.addEventListener('error', () => {});
  return client;
}
