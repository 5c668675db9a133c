/**
 * The client of the Klinecast market data gateway: live bars over a WebSocket, stored bars over HTTP,
 * and both in one call. No dependencies; for browsers and Node 20.
 *
 * @packageDocumentation
 */
export { BAR_VERSIONS_DEFAULT, type BarVersion, BarVersions, type BarVersionsConfig, isFlawed, isNewerVersion } from "./bar-versions.js";
export { KlinecastClient } from "./client.js";
export { type Clock } from "./client-clock.js";
export { type ClientConfig, type ClientStats, KlinecastError, type StreamOptions } from "./client-config.js";
export { type ClientEvents } from "./client-events.js";
export { type ConnectionState, type ConnectionStatus, type Socket, type SocketConstructor } from "./connection.js";
export * from "./decimal.js";
export { barFault, decodeFrame } from "./decode.js";
export { type EventStream } from "./event-stream.js";
export * from "./history-api.js";
export { History, type HistoryConfig, HistoryError } from "./history.js";
export * from "./messages.js";
export { pauseWhileHidden } from "./page-visibility.js";
export { HEALING_DEFAULT, type HealingConfig } from "./pasts.js";
export { BACKOFF_DEFAULT, type BackoffConfig, type CloseAdvice, type CloseReason, closeReason, reconnectDelayMs } from "./reconnect.js";
export { parseToken, placeAfter, type ResumePlace, tokenText } from "./resume-token.js";
export * from "./stream-events.js";
export { type TokenSource } from "./token-keeper.js";
export { isPattern, topicMatches } from "./topics.js";
export * from "./width.js";
