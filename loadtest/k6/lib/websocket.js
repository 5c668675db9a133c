// The one place that names k6's WebSocket modules.
//
// The module with an event loop is `k6/websockets` since k6 1.6, and was under
// `experimental` before; only `require` can ask for the one and take the other.
let standard;
try {
  standard = require('k6/websockets');
} catch (_) {
  standard = require('k6/experimental/websockets');
}

// Many sockets per virtual user. Reads whatever comes, however slow the handler
// is: it cannot be a slow client.
exports.WebSocket = standard.WebSocket;
