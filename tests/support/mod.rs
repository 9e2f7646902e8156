//! What whole-program tests and benchmarks share: the fake GitHub, the program as a process, and its stores on disk.

#![allow(dead_code, reason = "each includer uses a part")]

pub mod fake_github;
pub mod least;
pub mod program;
pub mod servers;
pub mod stores;
