//! How a connection begins: within the limits (`accept`), by a `handshake` that negotiates an
//! `extension`, with the `opening` of its path. `routes` answers every other request.
//! `connection_threads` handle the input of clients; other threads handle everything between the bus
//! and the sockets.

pub(crate) mod accept;
pub(crate) mod connection_threads;
pub(crate) mod extension;
pub(crate) mod handshake;
mod opening;
pub(crate) mod routes;
