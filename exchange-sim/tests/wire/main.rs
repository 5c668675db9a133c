//! The simulator from outside: real sockets, real HTTP, one module a venue.

mod harness;

mod binance;
mod capture;
mod coinbase;
mod control;
mod faults;
mod okx;
