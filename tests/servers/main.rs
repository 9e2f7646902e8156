//! What takes servers: MariaDB, MongoDB's protocol, RabbitMQ and Azure's, all started by the tests themselves.
//!
//! The program's behavior over its stores is tested in `tests/program`, over servers too.

// The stricter lints are for the program.
#![allow(unreachable_pub, clippy::pedantic, clippy::print_stderr, clippy::print_stdout)]

mod deliveries;
mod dispatch;
mod documents;
mod families;
mod migrate;
mod mongodb_store;
mod outages;
mod oversized;
mod queue;
mod races;
mod rate_limits;
mod schema;
mod unusable_servers;
