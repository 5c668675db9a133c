// One Klinecast client under k6: what it measures and what counts as a failure.
//
// k6 handles the messages of all sockets of a virtual user one after another,
// so under load the times below are mostly its own queue. It is used here for
// counts and thresholds; the Rust load client measures latency.
import { Counter, Rate, Trend } from 'k6/metrics';
import { text } from './settings.js';
import { WebSocket } from './websocket.js';

const handshakes = new Rate('klinecast_handshake_ok');
const handshakeFailures = new Counter('klinecast_handshake_failures');
const connected = new Counter('klinecast_connected');
const snapshots = new Rate('klinecast_snapshot_ok');
const firstSnapshot = new Trend('klinecast_first_snapshot', true);
const updateGap = new Trend('klinecast_update_gap', true);
const unexpectedCloses = new Counter('klinecast_unexpected_closes');
const frames = new Counter('klinecast_frames');
const bars = new Counter('klinecast_bars');

export const url = text('URL', 'ws://127.0.0.1:8080/ws');

const OPEN = 1;

// The objects of a server frame: one per line.
export function messages(frame) {
  return frame.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line));
}

// What becomes of one connection, whichever of k6's modules it is made with.
export function tally() {
  const state = { openedAt: 0, barsAt: 0 };
  return {
    opened() {
      state.openedAt = Date.now();
      handshakes.add(true);
      connected.add(1);
    },
    refused() {
      handshakes.add(false);
      handshakeFailures.add(1);
    },
    frame(data) {
      frames.add(1);
      // Looking for the text is far cheaper than parsing every frame.
      if (!data.includes('"topic":"kline:')) {
        return;
      }
      const now = Date.now();
      bars.add(1);
      if (state.barsAt === 0) {
        firstSnapshot.add(now - state.openedAt);
      } else {
        updateGap.add(now - state.barsAt);
      }
      state.barsAt = now;
    },
    // The connection is over; `code` is that of a close nobody asked for.
    over(code) {
      snapshots.add(state.barsAt !== 0);
      if (code !== undefined) {
        unexpectedCloses.add(1, { code: String(code) });
        console.warn(`closed by the server: ${code}`);
      }
    },
  };
}

// Opens a socket, sends `subscribe` once it is open, and calls
// `onFrame(socket, text)` for each frame until `close()` or the server ends it.
// Returns an object with `send(message)` and `close()`.
export function connect(subscribe, onFrame) {
  const socket = new WebSocket(url);
  const counted = tally();
  let isOpen = false;
  let isOver = false;
  const over = (code) => {
    if (!isOver) {
      isOver = true;
      counted.over(code);
    }
  };
  const client = {
    close() {
      if (isOpen) {
        over();
      }
      isOver = true;
      socket.close(1000);
    },
    send(message) {
      if (socket.readyState === OPEN) {
        socket.send(JSON.stringify(message));
      }
    },
  };
  socket.addEventListener('open', () => {
    isOpen = true;
    counted.opened();
    client.send(subscribe);
  });
  socket.addEventListener('message', (event) => {
    counted.frame(event.data);
    if (onFrame) {
      onFrame(client, event.data);
    }
  });
  socket.addEventListener('close', (event) => {
    if (isOpen) {
      over(event.code);
    } else {
      counted.refused();
    }
  });
  // The close event follows and does the counting.
  socket.addEventListener('error', () => {});
  return client;
}
