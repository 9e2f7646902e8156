//! What whole-program tests and benchmarks share: the fake GitHub, the program as a process, its stores, and servers for them.

#![allow(dead_code, reason = "each includer uses a part")]

pub mod fake_github;
pub mod family;
pub mod least;
pub mod program;
pub mod servers;
pub mod snapshot;
pub mod stores;
pub mod work;
