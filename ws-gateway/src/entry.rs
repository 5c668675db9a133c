//! How a connection comes to be: within the limits (`accept`), by a `handshake` that agrees on
//! an `extension`, for the client that proxies say (`forwarded`). What clients send is
//! handled on `connection_threads`, and everything between the bus and the sockets on others.

pub(crate) mod accept;
pub(crate) mod connection_threads;
pub(crate) mod extension;
pub(crate) mod forwarded;
pub(crate) mod handshake;
