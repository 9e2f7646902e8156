//! What whole-program tests and benchmarks share: the fake GitHub, the program as a process, its stores, and servers for them.

pub mod backends;
pub mod minimum_cost;
pub mod program;
pub mod servers;
pub mod snapshot;
pub mod stores;
pub mod webhooks;
pub mod workers;
