//! The types of the report on GitHub: what is expected, and what was found.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::secret::Secret;

/// The settings that GitHub is checked against.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Organizations to read.
    pub organizations: Vec<String>,
    /// True if there is a secret to sign webhook deliveries with; `None` where no webhooks are wanted.
    pub webhooks: Option<bool>,
    /// The tokens to read with.
    pub read_tokens: Vec<Secret>,
    /// The token that manages webhooks, and whether it was set for that alone: otherwise the App may stand in for it.
    pub hook_token: Option<(Secret, bool)>,
    /// The App's id, where one is set.
    pub app: Option<String>,
}

/// GitHub's side of the check: each token, the App and each organization.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GithubReport {
    /// Each token in the order of the settings, then the App's installations.
    pub tokens: Vec<CheckedToken>,
    /// The App, where one is set.
    pub app: Option<CheckedApp>,
    /// Each organization of `orgs.txt`.
    pub organizations: Vec<CheckedOrganization>,
    /// Seconds by which GitHub's clock is ahead of this machine's; `None` where no answer had a date.
    pub clock_ahead_seconds: Option<i64>,
    /// Requests that counted on a rate limit.
    pub requests: u64,
    /// Missing things that a run needs.
    pub problems: Vec<String>,
    /// Remarks that don't keep a run from working.
    pub notes: Vec<String>,
}

/// A token, its owner, its permissions and its rate limit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckedToken {
    /// The token's first characters; for an installation, its account.
    pub token: String,
    /// The uses it is set for: `read`, `webhooks`, or both.
    pub uses: Vec<&'static str>,
    /// The owner's login; `None` where GitHub does not say.
    pub login: Option<String>,
    /// `classic`, `fine-grained`, `App` or `none`.
    pub kind: &'static str,
    /// A classic token's scopes, or an installation's permissions.
    #[serde(rename = "rights")]
    pub permissions: Option<String>,
    /// The time of its expiry.
    pub expires_at: Option<DateTime<Utc>>,
    /// Requests per hour; `None` on a server without limits, or where GitHub did not say.
    pub limit: Option<u64>,
    /// Requests remaining in this hour.
    pub remaining: Option<u64>,
    /// The end of the hour.
    pub resets_at: Option<DateTime<Utc>>,
    /// The reason why it is unusable; `None` where it is usable.
    pub problem: Option<String>,
}

/// The GitHub App and its installations.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedApp {
    /// The App's id, as it is set.
    pub id: String,
    /// The App's name.
    pub name: Option<String>,
    /// The accounts that it is installed on, suspended installations too.
    pub installed_on: Vec<String>,
    /// The reason why it is unusable; `None` where it is usable.
    pub problem: Option<String>,
}

/// An organization, and each token's access to it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckedOrganization {
    /// Its login in `orgs.txt`.
    pub organization: String,
    /// True if the account is a person's instead.
    pub person: bool,
    /// The access of each usable token.
    pub access: Vec<Access>,
    /// The reason why it can't be read; `None` where it can.
    pub problem: Option<String>,
}

/// One token's access to an organization.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Access {
    /// The token, as in [`CheckedToken::token`].
    pub token: String,
    /// Private and internal repositories that it can see; `None` where it can't list them.
    pub private_repositories: Option<u64>,
    /// True if it can see the teams, as members can.
    pub member: bool,
    /// Its access to webhooks, as far as that shows without creating one.
    pub webhooks: WebhookAccess,
    /// The reason why it can't list the repositories.
    pub problem: Option<String>,
}

/// A token's access to an organization's webhooks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum WebhookAccess {
    /// It can't see them.
    #[default]
    #[serde(rename = "no")]
    None,
    /// It can see them; GitHub says only on a change whether it may make one.
    #[serde(rename = "seen")]
    Read,
    /// It can manage them.
    #[serde(rename = "yes")]
    Write,
}
