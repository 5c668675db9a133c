//! The protocols that clients speak.

pub(crate) mod protobuf;
