//! What mirroring a repository or an account means: the plan of stages, how lists are read, and what becomes of what they hold.
//!
//! Data take one way: a stage asks the client for pages (`pages` decides which), maps each item to documents and
//! rows (`item`), and hands them to the `writer`, which stores them together with the sync state that is true
//! from then on.

mod commits;
mod context;
mod counts;
mod details;
mod embedded;
mod error;
mod events;
mod fork_commits;
mod heads;
mod independent;
mod issues;
mod item;
mod labels;
mod missing;
mod open;
mod organizations;
mod owner_rights;
mod page_rows;
mod pages;
mod people;
mod profile;
mod profiles;
mod pulls;
mod readers;
mod refs;
mod refusals;
mod report;
mod repository;
mod run;
pub mod stage;
mod stars;
mod ties;
mod update;
mod users;
mod writer;

pub use context::{ForkCommits, Options};
pub use error::MirrorError;
pub use organizations::{Inventory, Organization};
pub use report::{Outcome, Report, StageReport};
pub use run::{Mirror, lease_of, lease_of_account};
pub use update::Update;
