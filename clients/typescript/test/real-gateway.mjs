/** A real `klinecast` with simulated exchanges, for tests. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROGRAMS = ["debug", "release"].map((profile) => fileURLToPath(new URL(`../../../target/${profile}/klinecast`, import.meta.url)));
const program = process.env.KLINECAST_BIN ?? PROGRAMS.find((path) => existsSync(path));

/** Why tests beside a real gateway are skipped; false if they run. `KLINECAST_REQUIRE_GATEWAY` makes a missing program a failure. */
export const skipped = program === undefined && process.env.KLINECAST_REQUIRE_GATEWAY === undefined ? "no klinecast is built: cargo build --bin klinecast" : false;

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts a program and resolves to its addresses once it is ready; `stop` ends it. */
export async function startGateway(args = []) {
  if (program === undefined) throw new Error("no klinecast is built: run `cargo build --bin klinecast`, or set KLINECAST_BIN");
  const folder = await mkdtemp(join(tmpdir(), "klinecast-client-"));
  const [port, admin] = [await freePort(), await freePort()];
  const options = ["--feed", "sim", "--listen", `127.0.0.1:${port}`, "--admin-listen", `127.0.0.1:${admin}`, "--data-dir", folder, "--log-level", "warn"];
  const child = spawn(program, [...options, ...args], { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.on("data", (data) => (log = (log + data).slice(-20_000)));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const stop = async () => {
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), 15_000);
    await ended;
    clearTimeout(timer);
    await rm(folder, { recursive: true, force: true });
  };
  const deadlineMs = Date.now() + 120_000;
  for (;;) {
    const isReady = await fetch(`http://127.0.0.1:${admin}/readyz`).then(({ ok }) => ok, () => false);
    if (isReady) break;
    if (child.exitCode !== null || Date.now() > deadlineMs) {
      await stop();
      throw new Error(`klinecast did not become ready:\n${log}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { port, url: `ws://127.0.0.1:${port}/ws`, http: `http://127.0.0.1:${port}`, stop };
}
