//! What a round has found and done.

use serde::Serialize;

use super::shown;
use crate::github::ApiError;
use crate::github::webhooks::WebhookState;
use crate::store::relational::webhooks::DeliveryGap;

/// Problems of one kind of request that are shown one by one.
const MAX_PROBLEMS: usize = 5;

/// The result of a round over one organization.
#[derive(Debug, Clone)]
pub struct OrganizationRound {
    /// Its login.
    pub organization: String,
    /// Its webhook.
    pub hook: HookReport,
    /// Pages of the log that were read.
    pub pages: u32,
    /// Entries of the log, one an attempt.
    pub entries: u64,
    /// Events in the log that are to be kept.
    pub deliveries: u64,
    /// Those of them that the inbox has and that wait to be worked.
    pub waiting: u64,
    /// Those of them that the inbox did not have.
    pub missing: u64,
    /// Those that were put into the inbox from the log.
    pub fetched: u64,
    /// Those that GitHub was asked to deliver again.
    pub redelivered: u64,
    /// Times whose deliveries the log could not tell.
    pub gaps: Vec<GapReport>,
    /// What failed.
    pub problems: Vec<String>,
    /// Requests that counted on a rate limit.
    pub requests: u64,
    /// Requests that were free.
    pub free: u64,
}

/// The state of a webhook.
#[derive(Debug, Clone, Default)]
pub struct HookReport {
    /// GitHub's number of it.
    pub id: Option<i64>,
    /// Its state.
    pub state: Option<WebhookState>,
}

/// A gap, and how it was closed.
#[derive(Debug, Clone, Serialize)]
pub struct GapReport {
    /// Its beginning.
    pub from: String,
    /// Its end.
    pub until: String,
    /// Why it is there.
    pub reason: String,
    /// The number of repositories that were queued; `None` as long as it is open.
    pub repositories: Option<u64>,
}

impl OrganizationRound {
    pub(super) fn new(organization: &str) -> Self {
        Self {
            organization: organization.to_owned(),
            hook: HookReport::default(),
            pages: 0,
            entries: 0,
            deliveries: 0,
            waiting: 0,
            missing: 0,
            fetched: 0,
            redelivered: 0,
            gaps: Vec::new(),
            problems: Vec::new(),
            requests: 0,
            free: 0,
        }
    }

    pub(super) fn note_problem(&mut self, error: &ApiError) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(error.to_string());
        } else {
            tracing::warn!(organization = self.organization, %error, "a missed delivery");
        }
    }

    /// Returns what failed or is wrong, in lines for the user.
    pub fn errors(&self) -> Vec<String> {
        let hook = self.hook.state.as_ref().and_then(WebhookState::problem);
        let hint = match &self.hook.state {
            Some(WebhookState::Misconfigured(_)) => " (--repair puts it right)",
            _ => "",
        };
        let hook = hook.map(|problem| format!("webhook: {problem}{hint}"));
        hook.into_iter().chain(self.problems.iter().cloned()).collect()
    }
}

impl GapReport {
    pub(super) fn new(gap: &DeliveryGap, repositories: Option<u64>) -> Self {
        Self { from: shown(gap.from), until: shown(gap.until), reason: gap.reason.clone(), repositories }
    }
}
