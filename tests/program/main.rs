//! The whole program against the fake GitHub, over real HTTP.
//!
//! A test that takes `Backends` runs over the embedded stores and over servers; `--skip Servers` leaves the latter out, and
//! no server is needed then.

// The stricter lints are for the program.
#![allow(unreachable_pub, clippy::pedantic, clippy::print_stderr, clippy::print_stdout)]

mod absence;
mod access;
mod answers;
mod app;
mod bad_input;
mod check;
mod cli;
mod completeness;
mod convergence;
mod cost;
mod embedded;
mod events;
mod faults;
mod files;
mod hooks;
mod identity;
mod kills;
mod layout;
mod live;
mod missed;
mod missing;
mod moving;
mod odd_answers;
mod odd_data;
mod organizations;
mod refresh;
mod refreshes;
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
mod webhooks;
mod workers;
