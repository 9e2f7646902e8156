//! Reading the log of deliveries: all entries, grouped by their event.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::github::webhooks::{LoggedDelivery, WebhookRef};
use crate::github::{ApiError, ApiUrl, GitHub, RequestCounter, VisitedUrls};

/// Maximum number of pages that one round reads.
pub(super) const MAX_PAGES: u32 = 200;

/// An event that the log has attempts of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The number that all attempts share.
    pub guid: String,
    /// The number of the newest attempt.
    pub id: u64,
    /// The value of `X-GitHub-Event`.
    pub event: String,
    /// The payload's `action`.
    pub action: Option<String>,
    /// Time of the first attempt that was found.
    pub at: DateTime<Utc>,
}

/// What was read of a log.
#[derive(Debug)]
pub(super) struct LogScan {
    /// Up to where it is read; the newest entries come first.
    pub since: DateTime<Utc>,
    /// The events, by their numbers.
    pub found: HashMap<String, Found>,
    /// Entries read.
    pub entries: u64,
    /// Pages read.
    pub pages: u32,
    /// GitHub's clock when reading began.
    pub date: Option<DateTime<Utc>>,
    /// The oldest entry read, if there were too many pages to go on.
    pub cut_off: Option<DateTime<Utc>>,
}

impl LogScan {
    pub(super) fn new(since: DateTime<Utc>) -> Self {
        Self { since, found: HashMap::new(), entries: 0, pages: 0, date: None, cut_off: None }
    }

    /// Reads the log from its end.
    ///
    /// # Errors
    /// What GitHub refuses; what was read until then is kept.
    pub(super) async fn read(
        &mut self,
        github: &GitHub,
        hook: &WebhookRef,
        cancel: &CancellationToken,
        counter: &RequestCounter,
    ) -> Result<(), ApiError> {
        let mut next: Option<ApiUrl> = None;
        let mut visited = VisitedUrls::default();
        loop {
            if let Some(url) = &next {
                visited.visit(url)?;
            }
            let page = tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                page = github.delivery_log(hook, next.take(), counter) => page?,
            };
            self.pages += 1;
            self.date = self.date.or(page.date);
            let oldest = page.entries.iter().map(|entry| entry.delivered_at).min();
            for entry in page.entries {
                self.add(entry);
            }
            next = page.next;
            match (&next, oldest) {
                (None, _) => return Ok(()),
                (_, Some(oldest)) if oldest < self.since => return Ok(()),
                (_, oldest) if self.pages >= MAX_PAGES => {
                    self.cut_off = Some(oldest.unwrap_or_else(Utc::now));
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    fn add(&mut self, entry: LoggedDelivery) {
        if entry.delivered_at < self.since {
            return;
        }
        self.entries += 1;
        let guid = entry.guid.to_ascii_lowercase();
        if let Some(known) = self.found.get_mut(&guid) {
            known.id = known.id.max(entry.id);
            known.at = known.at.min(entry.delivered_at);
        } else {
            let LoggedDelivery { id, event, action, delivered_at, .. } = entry;
            self.found.insert(guid.clone(), Found { guid, id, event, action, at: delivered_at });
        }
    }
}
