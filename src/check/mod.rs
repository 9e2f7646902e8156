//! Checks everything that a run needs before it is needed; nothing is created or changed.
//!
//! | file | checks |
//! |---|---|
//! | `github.rs` | tokens, the App, and their access to each organization |
//! | `findings.rs` | the problems and remarks that follow from that |
//! | `backends.rs` | the stores and the queue, and the destinations of dumps, telemetry and the log |
//! | `report.rs` | the report's types |

mod backends;
mod findings;
mod github;
mod report;

pub use backends::{BackendCheck, check_outputs, check_stores};
pub use github::check_github;
pub use report::{Access, CheckedApp, CheckedOrganization, CheckedToken, Expected, GithubReport, WebhookAccess};
