//! Mirroring of repositories, accounts and organizations: stages, lists, mapping, sync state.
//!
//! Data flow one way: a stage fetches pages (`lists` decides which), maps each item to documents and rows (`mapping`),
//! and hands them to the `writer`, which stores them with the sync state that is true from then on.
//!
//! | module | does |
//! |---|---|
//! | `session` | holds what every run needs: the client, the stores, the console |
//! | `run`, `stage`, `options` | run the stages of a repository; the table of stages; what a run may leave out |
//! | `context`, `stats` | hold what the stages of a run share, and what a stage counts and notes |
//! | `resource` | describes what is mirrored: a repository, an account, a team |
//! | `request`, `independent` | send a request unless the run is canceled; work on items whose failures are their own |
//! | `refresh` | reads again what deliveries name |
//! | `resolve`, `update` | find a repository, follow its rename, recognize its deletion |
//! | `entities` | mirror one family of entities each |
//! | `accounts`, `organizations` | mirror accounts, and list organizations |
//! | `events` | pulls events feeds, and publishes each event once |
//! | `lists` | sync one list each |
//! | `mapping` | turn JSON into documents and rows; one that takes more than the item stands beside its list |
//! | `sync_keys` | names the lists of the sync state, and what their watermarks hold |
//! | `writer`, `page_rows` | store documents, then rows and sync state; handle rows that the database rejects |
//! | `report`, `event`, `error` | tell the result of a run, what users are told during one, and what ends it |

mod accounts;
mod context;
mod entities;
mod error;
mod event;
pub mod events;
mod independent;
mod lists;
mod mapping;
mod options;
mod organizations;
mod page_rows;
mod refresh;
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

pub use crate::store::relational::outbox::EventPublishing;
pub use error::MirrorError;
pub use options::{ForkCommits, Options};
pub use organizations::{Inventory, OrganizationReport};
pub use refresh::Refreshed;
pub use report::{Report, StageOutcome, StageReport};
pub use session::{Mirror, account_lease_name, repository_lease_name};
pub use update::Update;
