// The page of the broker: it reads the API like any other client. Texts of messages and names come
// from anywhere, so they are only ever set as text.
"use strict";

const REFRESH_MS = 2000;
const MESSAGES_SHOWN = 50;

const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const before = new Map();
// What is shown: a change of it makes an answer that is still on its way one of the past.
let shown = { stream: "", subject: ">", next: null, follows: true, turn: 0 };

async function ask(path) {
  const token = byId("token").value.trim();
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok && path !== "/health") throw new Error(body.error ? body.error.message : answer.statusText);
  return body;
}

function cell(text, kind) {
  const element = document.createElement("td");
  element.textContent = text ?? "";
  if (kind) element.className = kind;
  return element;
}

function row(...cells) {
  const element = document.createElement("tr");
  element.append(...cells);
  return element;
}

function note(columns, text) {
  const element = cell(text);
  element.colSpan = columns;
  return row(element);
}

function say(id, text, kind) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
  element.className = kind || "";
}

function showServer(status) {
  const server = status.nats_server.server_info || {};
  const stats = status.message_stats;
  const facts = {
    Status: status.nats_server.status,
    Name: server.server_name,
    Version: server.version,
    Connections: server.connections,
    "Messages stored": number.format(stats.published),
    "Messages read": number.format(stats.consumed),
    "Failed publications": number.format(stats.errors),
    "Up, seconds": number.format(status.uptime_seconds),
  };
  byId("server").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
    const [term, fact] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    fact.textContent = value ?? "unknown";
    const pair = document.createElement("div");
    pair.append(term, fact);
    return [pair];
  }));
  byId("problems").replaceChildren(...status.problems.map((problem) => {
    const item = document.createElement("li");
    item.className = "bad";
    item.textContent = problem;
    return item;
  }));
  const good = status.problems.length === 0;
  say("state", good ? "healthy" : "unhealthy", good ? "good" : "bad");
}

function showStreams(streams) {
  const now = performance.now();
  const rows = streams.map((stream) => {
    const last = before.get(stream.name);
    const passed = last ? (now - last.at) / 1000 : 0;
    const rate = passed > 0.2 ? Math.max(0, (stream.last_seq - last.seq) / passed) : null;
    before.set(stream.name, { at: now, seq: stream.last_seq });
    return row(
      cell(stream.name),
      cell(stream.subjects.join(", ")),
      cell(number.format(stream.messages), "number"),
      cell(number.format(stream.bytes), "number"),
      cell(rate === null ? "" : number.format(Math.round(rate)), "number"),
      cell(number.format(stream.consumer_count), "number"),
      cell(stream.storage),
      cell(stream.leader || ""),
      cell(stream.owner),
    );
  });
  byId("streams").replaceChildren(...(rows.length ? rows : [note(9, "No streams")]));
  const names = streams.map((stream) => stream.name);
  const select = byId("stream");
  if (names.join() !== [...select.options].map((option) => option.value).join()) {
    const chosen = select.value || "MARKET_DATA";
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(chosen)) select.value = chosen;
  }
}

function showConsumers(consumers) {
  const worst = [...consumers].sort((one, other) => other.lag - one.lag).slice(0, 200);
  const rows = worst.map((consumer) => row(
    cell(consumer.stream),
    cell(consumer.name),
    cell(consumer.filter_subject || (consumer.filter_subjects || []).join(", ")),
    cell(number.format(consumer.lag), "number"),
    cell(number.format(consumer.ack_pending), "number"),
    cell(number.format(consumer.redelivered), "number"),
    cell(consumer.last_active || "never"),
  ));
  if (consumers.length > worst.length) rows.push(note(7, `and ${consumers.length - worst.length} more with less lag`));
  byId("consumers").replaceChildren(...(rows.length ? rows : [note(7, "No consumers")]));
}

function messageRow(message) {
  const text = message.data ?? `base64 ${message.data_base64}`;
  return row(
    cell(number.format(message.seq), "number"),
    cell(message.time),
    cell(message.subject),
    cell(number.format(message.size), "number"),
    cell(message.truncated ? `${text} …` : text, "message"),
  );
}

async function showMessages() {
  const { stream, subject, next, turn } = shown;
  if (!stream) return;
  const query = new URLSearchParams({ subject: subject || ">", limit: String(MESSAGES_SHOWN) });
  if (next !== null) query.set("from_seq", String(next));
  try {
    const page = await ask(`/api/v1/streams/${encodeURIComponent(stream)}/messages?${query}`);
    if (turn !== shown.turn) return;
    // A stream that was made again counts from 1 again.
    shown.next = page.next_seq > page.last_seq + 1 ? null : page.next_seq;
    // Whoever looks at the newest messages stays with them: what is too much to show is skipped.
    const newest = page.last_seq + 1 - MESSAGES_SHOWN;
    const skipped = shown.follows && shown.next !== null ? Math.max(0, newest - shown.next) : 0;
    if (skipped > 0) shown.next = newest;
    const table = byId("messages");
    for (const message of page.messages) table.prepend(messageRow(message));
    while (table.rows.length > MESSAGES_SHOWN) table.deleteRow(-1);
    const range = `${stream}: sequences ${number.format(page.first_seq)} to ${number.format(page.last_seq)}`;
    say("browsed", skipped > 0 ? `${range}; ${number.format(skipped)} not shown, they come too fast` : range);
  } catch (error) {
    if (turn === shown.turn) say("browsed", error.message, "bad");
  }
}

function choose() {
  const from = Number.parseInt(byId("from").value, 10);
  shown = {
    stream: byId("stream").value,
    subject: byId("subject").value.trim(),
    next: Number.isFinite(from) && from > 0 ? from : null,
    turn: shown.turn + 1,
  };
  shown.follows = shown.next === null;
  byId("messages").replaceChildren();
  return showMessages();
}

async function refresh() {
  try {
    const [status, consumers] = await Promise.all([ask("/api/v1/status"), ask("/api/v1/consumers")
      .catch(() => ({ consumers: [] }))]);
    showServer(status);
    showStreams(status.jetstream_streams);
    showConsumers(consumers.consumers);
    if (shown.turn === 0) await choose();
    else if (byId("live").checked) await showMessages();
  } catch (error) {
    say("state", error.message, "bad");
  } finally {
    setTimeout(refresh, REFRESH_MS);
  }
}

byId("browse").addEventListener("submit", (event) => {
  event.preventDefault();
  choose();
});
byId("stream").addEventListener("change", choose);
refresh();
