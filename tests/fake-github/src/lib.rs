//! A GitHub to test against: a deterministic world, and a server that answers for it as GitHub's REST API does.
//!
//! It shares no code with the program that it tests, so it is an independent model of the truth:
//!
//! ```no_run
//! # use fake_github::{FakeGitHub, Options, World};
//! # async fn example() {
//! let fake = FakeGitHub::start(World::edge_cases(1), Options::default()).await;
//! // ... point the program at fake.url(), with the token "fake-token"
//! fake.world_mut(|w| { let r = w.repo("contoso/web"); w.close_issue(r, 1, None); });
//! let issues = fake.all("/repos/contoso/web/issues?state=all");
//! # }
//! ```
//!
//! Organizations' webhooks are told of every change, over HTTP and signed, and a log of their deliveries is kept:
//!
//! ```no_run
//! # use fake_github::{FakeGitHub, HOOK_SECRET, Options, World};
//! # async fn example(receiver: &str) {
//! # let fake = FakeGitHub::start(World::edge_cases(1), Options::default()).await;
//! fake.world_mut(|w| w.add_hook("contoso", receiver)); // signs with HOOK_SECRET
//! fake.live(|l| l.duplicated = 5); // hundredths; see `Live` for what else can go wrong
//! fake.world_mut(|w| { let r = w.repo("contoso/web"); w.close_issue(r, 1, None); });
//! fake.delivered().await;
//! assert_eq!(fake.deliveries()[0].status_code, Some(202));
//! # }
//! ```

mod app;
mod changes;
mod connection;
mod decoy;
mod deliveries;
mod edge_cases;
mod faults;
mod feed;
mod generate;
mod graph;
mod hooks;
mod json;
mod limits;
mod lists;
mod mutate;
mod mutate_issues;
mod options;
mod paging;
mod render;
mod render_pull;
mod render_work;
mod routes;
mod server;
mod sha256;
mod shelf;
mod social;
mod teams;
mod world;

pub use app::{APP_KEY, APP_KEY_FILE, APP_NAME, AppSpec, InstallationSpec, Permissions, installation_name};
pub use changes::Change;
pub use decoy::{Decoy, Seen};
pub use deliveries::{Delivery, LOG_KEPT, Live, signature};
pub use edge_cases::names;
pub use faults::{Edit, Fault, FaultKind, Times};
pub use generate::WorldSize;
pub use hooks::{HOOK_SECRET, Hook};
pub use json::HALF_A_PAIR;
pub use limits::{Limits, TokenSpec, Violation, Visible};
pub use mutate_issues::NewPull;
pub use options::Options;
pub use render::ApiVersion;
pub use routes::{Answer, Kind};
pub use server::{FakeGitHub, Record};
pub use shelf::Shelf;
pub use teams::Team;
pub use world::*;
