//! The whole program against the fake GitHub, over real HTTP and the embedded stores.

#[path = "../support/mod.rs"]
mod support;

mod absence;
mod access;
mod answers;
mod app;
mod bad_input;
mod check;
mod completeness;
mod convergence;
mod cost;
mod embedded;
mod faults;
mod files;
mod hooks;
mod identity;
mod kills;
mod missing;
mod moving;
mod odd_answers;
mod odd_data;
mod organizations;
mod refresh;
mod refused;
mod renames;
mod repair;
mod snapshots;
mod stages;
mod start;
mod tombstones;
mod turns;
mod update;
mod users;
mod workers;
