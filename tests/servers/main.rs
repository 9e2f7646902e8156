//! The whole program over servers: MongoDB's protocol and MariaDB in the place of the embedded stores.
//!
//! The modules are the same as those of `tests/program`; `support::family()` tells which stores they run over.

#[path = "../support/mod.rs"]
mod support;

#[path = "../program/access.rs"]
mod access;
#[path = "../program/bad_input.rs"]
mod bad_input;
#[path = "../program/completeness.rs"]
mod completeness;
#[path = "../program/convergence.rs"]
mod convergence;
#[path = "../program/cost.rs"]
mod cost;
mod families;
#[path = "../program/faults.rs"]
mod faults;
#[path = "../program/identity.rs"]
mod identity;
#[path = "../program/kills.rs"]
mod kills;
#[path = "../program/missing.rs"]
mod missing;
#[path = "../program/moving.rs"]
mod moving;
#[path = "../program/odd_data.rs"]
mod odd_data;
#[path = "../program/organizations.rs"]
mod organizations;
mod outages;
mod oversized;
mod races;
#[path = "../program/refresh.rs"]
mod refresh;
#[path = "../program/renames.rs"]
mod renames;
#[path = "../program/repair.rs"]
mod repair;
#[path = "../program/stages.rs"]
mod stages;
#[path = "../program/start.rs"]
mod start;
#[path = "../program/update.rs"]
mod update;
#[path = "../program/users.rs"]
mod users;
#[path = "../program/workers.rs"]
mod workers;
