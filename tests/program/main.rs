//! The whole program against the fake GitHub, over real HTTP and real stores.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod bad_input;
mod completeness;
mod cost;
mod faults;
mod identity;
mod kills;
mod moving;
mod refresh;
mod repair;
mod stages;
