// Connects, waits for a first bar, runs the command that stops the fleet, and
// succeeds if the connection is closed with 1012 (restart: reconnect).
//
//   node scripts/test-fleet-client.mjs URL COMMAND...
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../web/package.json', import.meta.url));
const { WebSocket } = require('ws');
const [url, command, ...args] = process.argv.slice(2);

const fail = (why) => {
  console.error(why);
  process.exit(1);
};
setTimeout(() => fail('no close frame within two minutes'), 120_000);

let closeCode;
let stopped = false;
const finishOnce = () => {
  if (stopped && closeCode !== undefined) process.exit(closeCode === 1012 ? 0 : 1);
};

let stopping = false;
const socket = new WebSocket(url);
socket.on('error', (error) => fail(error.message));
socket.on('message', (frame) => {
  if (stopping || !frame.toString().includes('"topic":"kline:')) return;
  stopping = true;
  spawn(command, args, { stdio: 'inherit' }).on('exit', (code) => {
    if (code !== 0) fail(`${command} ended with ${code}`);
    stopped = true;
    finishOnce();
  });
});
socket.on('close', (code, reason) => {
  console.log(`closed with ${code} ${reason}`);
  if (!stopping) fail('closed before a bar came');
  closeCode = code;
  finishOnce();
});
