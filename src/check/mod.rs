//! A look at all that a run needs, before it is needed: what each token may do, what the App may, which organisations can
//! be read, and whether the stores, the queue and the files are there. Nothing is made or changed.
//!
//! | file | looks at |
//! |---|---|
//! | `github.rs` | tokens, the App, and what they are shown of each organisation |
//! | `judge.rs` | what of that is missing, and what is worth knowing |
//! | `parts.rs` | the stores, the queue, where dumps, telemetry and the log go |

mod github;
mod judge;
mod parts;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use github::{Wanted, look_at_github};
pub use parts::{Part, look_at_outlets, look_at_stores};

/// What GitHub said.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GithubSide {
    /// Each token, in the order of the settings; then the App's installations.
    pub tokens: Vec<CheckedToken>,
    /// The App, where there is one.
    pub app: Option<CheckedApp>,
    /// Each organisation of `orgs.txt`.
    pub organizations: Vec<CheckedOrganization>,
    /// How many seconds GitHub's clock is ahead of this machine's; `None` where it was not told.
    pub clock_ahead_seconds: Option<i64>,
    /// Requests that count on a rate limit.
    pub requests: u64,
    /// What is missing that a run needs.
    pub problems: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// One token.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckedToken {
    /// The first characters of it; for an installation, where it is.
    pub token: String,
    /// What it is for: `read`, `webhooks`, or both.
    pub uses: Vec<&'static str>,
    /// Whose it is; `None` where GitHub does not say.
    pub login: Option<String>,
    /// `classic`, `fine-grained`, `App` or `none`.
    pub kind: &'static str,
    /// A classic token's scopes, an installation's permissions.
    pub rights: Option<String>,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// Requests an hour; `None` on a server without limits, or where it was not told.
    pub limit: Option<u64>,
    /// Requests that are left of this hour.
    pub remaining: Option<u64>,
    /// When the hour ends.
    pub resets_at: Option<DateTime<Utc>>,
    /// Why it can't be used; `None` where it can.
    pub problem: Option<String>,
}

/// The App.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedApp {
    /// Its id, as it is set.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// The accounts that it is installed on, suspended ones too.
    pub installed_on: Vec<String>,
    /// Why it can't be used; `None` where it can.
    pub problem: Option<String>,
}

/// An organisation, and what each token is shown of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckedOrganization {
    /// Its login in `orgs.txt`.
    pub organization: String,
    /// Whether it is a person instead.
    pub person: bool,
    /// What each token that can be used is shown.
    pub access: Vec<Access>,
    /// Why it can't be read; `None` where it can.
    pub problem: Option<String>,
}

/// What one token is shown of an organisation.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Access {
    /// The token, as in [`CheckedToken::token`].
    pub token: String,
    /// How many private and internal repositories it is shown; `None` where it can't list them.
    pub private_repositories: Option<u64>,
    /// Whether it is shown the teams, as members are.
    pub member: bool,
    /// Whether it can manage webhooks, as far as that can be seen without making one.
    pub webhooks: Webhooks,
    /// Why it can't list the repositories.
    pub problem: Option<String>,
}

/// Whether a token can manage an organisation's webhooks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Webhooks {
    /// It is not shown them.
    #[default]
    No,
    /// It is shown them; whether it may change them, GitHub says when it does.
    Seen,
    /// It may.
    Yes,
}
