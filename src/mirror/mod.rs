//! What mirroring a repository or an account means: the plan of stages, how lists are read, and what becomes of what they hold.
//!
//! Data take one way: a stage asks the client for pages (`pages` decides which), maps each item to documents and
//! rows (`mapping`), and hands them to the `writer`, which stores them together with the sync state that is true
//! from then on.

mod accounts;
mod context;
mod entities;
mod error;
mod heads;
mod independent;
mod lists;
mod mapping;
mod options;
mod organizations;
mod page_rows;
mod report;
mod request;
mod resolve;
mod resource;
mod run;
mod session;
pub mod stage;
mod stats;
mod sync_keys;
mod update;
mod writer;

use mapping::item;

pub use error::MirrorError;
pub use options::{ForkCommits, Options};
pub use organizations::{Inventory, OrganizationReport};
pub use report::{Report, StageOutcome, StageReport};
pub use session::{Mirror, account_lease, repository_lease};
pub use update::Update;
