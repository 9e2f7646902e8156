//! Deliveries that did not arrive, and the webhooks themselves.
//!
//! GitHub delivers an event once, and keeps a log of its attempts for three days. A round reads the log of an organization's
//! webhook since the last one, and takes what the inbox doesn't have from there. What the log can't tell is a gap: the
//! repositories that have changed since it began are retrieved (`docs/webhooks.md`, "Missed deliveries").

mod gaps;
mod log;
mod report;

use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use self::log::{Found, LogScan};
pub use self::report::{GapReport, HookReport, OrganizationRound};
use crate::github::webhooks::{SentDelivery, WebhookInspection, WebhookRef, WebhookSpec, WebhookState};
use crate::github::{ApiError, GitHub, RequestCounter, TokenRef};
use crate::names::is_login;
use crate::queue::Queue;
use crate::store::documents::deliveries::{CompressedBody, DeliveryKey, DeliveryState, NewDelivery};
use crate::store::relational::webhooks::{DeliveryGap, WebhookRecord};
use crate::store::{BackendError, Stores};

/// Time between two rounds.
pub const INTERVAL: Duration = Duration::from_mins(15);
/// Entries appear in the log minutes late: each round reads this much of it again.
const OVERLAP: TimeDelta = TimeDelta::minutes(15);
/// The time that the log reaches back (GitHub docs: handling failed webhook deliveries).
const LOG_KEPT: TimeDelta = TimeDelta::days(3);
/// Payloads fetched at a time.
const CONCURRENT_PAYLOADS: usize = 4;
/// Bytes of payloads stored at a time.
const BATCH_BYTES: usize = 16 << 20;
/// Payloads stored at a time.
const BATCH: usize = 100;
/// Keys looked up in the inbox at a time.
const KEYS_PER_LOOKUP: usize = 500;
/// Time between two requests for a redelivery: 5 points each, of 900 a minute (GitHub docs: secondary rate limits).
const REDELIVERY_INTERVAL: Duration = Duration::from_millis(334);

/// A round over organizations' webhooks.
#[derive(Clone)]
pub struct Rounds {
    /// The inbox, and what is known of the webhooks.
    pub stores: Stores,
    /// The queue of repositories to retrieve.
    pub queue: Queue,
    /// The webhook that each organization should have.
    pub spec: WebhookSpec,
    /// Events whose deliveries are not kept.
    pub ignore: Vec<String>,
    /// Ask GitHub to deliver again instead of reading payloads from the log.
    pub redeliver: bool,
    /// Ends the round.
    pub cancel: CancellationToken,
}

/// A client that may see to an organization's webhook, and the only token to use with it, if there is one.
pub type HookClient = (GitHub, Option<TokenRef>);

impl Rounds {
    /// Inspects an organization's webhook, and takes in what its log has and the inbox doesn't.
    ///
    /// # Errors
    /// A store that could not be read or written. What GitHub refuses is a problem of the report.
    pub async fn organization(
        &self,
        organization: &str,
        clients: &[HookClient],
    ) -> Result<OrganizationRound, BackendError> {
        let counter = RequestCounter::default();
        let mut round = OrganizationRound::new(organization);
        let relational = &self.stores.relational;
        let known = relational.webhook(organization).await?.filter(|known| known.url == self.spec.url.as_str());
        let mut record =
            known.unwrap_or_else(|| WebhookRecord { url: self.spec.url.to_string(), ..Default::default() });
        let client = self.inspect(organization, clients, &mut record, &mut round.hook, &counter).await;
        relational.set_webhook(organization, &record).await?;
        if let (Some((github, token)), Some(id)) = (client, record.hook_id) {
            let hook = WebhookRef { organization: organization.to_owned(), id, token: token.clone() };
            self.take_in(github, &hook, &mut record, &mut round, &counter).await?;
            self.close_gaps(github, &hook, &mut round, &counter).await?;
        }
        (round.requests, round.free) = (counter.counted(), counter.not_modified());
        Ok(round)
    }

    /// Inspects the webhook with one client after the other, and returns the one that could.
    async fn inspect<'a>(
        &self,
        organization: &str,
        clients: &'a [HookClient],
        record: &mut WebhookRecord,
        report: &mut HookReport,
        counter: &RequestCounter,
    ) -> Option<&'a HookClient> {
        if clients.is_empty() {
            report.state = Some(WebhookState::Unknown("no token may see to the organization's webhooks".to_owned()));
        }
        for client in clients {
            let (github, token) = client;
            // What is to be repaired has to be read.
            let validator = record.validator.clone().filter(|_| !(self.spec.repair && record.problem.is_some()));
            let inspected = github.inspect_webhook(organization, &self.spec, validator, token.as_ref(), counter).await;
            let Some(WebhookInspection { state, id, validator }) = inspected else {
                report.id = record.hook_id;
                report.state = Some(record.problem.clone().map_or(WebhookState::Active, WebhookState::Misconfigured));
                return Some(client);
            };
            let is_known = !matches!(state, WebhookState::Unknown(_));
            if is_known {
                record.hook_id = id;
                record.problem = state.problem().map(str::to_owned);
                record.validator = validator;
                report.id = id;
            }
            report.state = Some(state);
            if is_known {
                return Some(client);
            }
        }
        None
    }

    /// Reads the log, and takes in what the inbox doesn't have.
    async fn take_in(
        &self,
        github: &GitHub,
        hook: &WebhookRef,
        record: &mut WebhookRecord,
        round: &mut OrganizationRound,
        counter: &RequestCounter,
    ) -> Result<(), BackendError> {
        let (now, organization) = (Utc::now(), hook.organization.as_str());
        let horizon = now - LOG_KEPT;
        let since = record.scanned_until.map_or(horizon, |until| until - OVERLAP);
        let mut scan = LogScan::new(since.max(horizon));
        let failed = scan.read(github, hook, &self.cancel, counter).await.err();
        round.pages = scan.pages;
        round.entries = scan.entries;
        if let Some(error) = &failed {
            round.problems.push(error.to_string());
        }
        let mut gaps = Vec::new();
        if since < horizon && record.scanned_until.is_some() {
            let reason = "the log of deliveries reaches back three days".to_owned();
            gaps.push(DeliveryGap { from: since, until: horizon, reason, repositories: None });
        }
        if let Some(reached) = scan.cut_off {
            let reason = format!("there are more than {} pages of deliveries in the log", log::MAX_PAGES);
            gaps.push(DeliveryGap { from: scan.since, until: reached, reason, repositories: None });
        }
        let ignored = |found: &Found| found.event == "ping" || self.ignore.contains(&found.event);
        let found: Vec<Found> = scan.found.into_values().filter(|found| !ignored(found)).collect();
        round.deliveries = found.len() as u64;
        let missing = self.missing(hook, found, round).await?;
        round.missing = missing.len() as u64;
        let complete = if self.redeliver {
            self.redeliver(github, hook, &missing, round, counter).await
        } else {
            self.fetch(github, hook, &missing, round, &mut gaps, counter).await?
        };
        for gap in &gaps {
            tracing::warn!(organization, from = %gap.from, until = %gap.until, "deliveries are not in the log: {}", gap.reason);
            self.stores.relational.record_delivery_gap(organization, gap).await?;
        }
        if complete && failed.is_none() && !self.cancel.is_cancelled() {
            record.scanned_until = Some(scan.date.unwrap_or(now).trunc_subsecs(0));
            self.stores.relational.set_webhook(organization, record).await?;
        }
        Ok(())
    }

    /// Returns what the inbox doesn't have or has given up, the oldest first.
    async fn missing(
        &self,
        hook: &WebhookRef,
        found: Vec<Found>,
        round: &mut OrganizationRound,
    ) -> Result<Vec<Found>, BackendError> {
        let mut missing = Vec::new();
        let documents = &self.stores.documents;
        for chunk in found.chunks(KEYS_PER_LOOKUP) {
            let keys: Vec<DeliveryKey> = chunk.iter().map(|found| DeliveryKey::new(&found.guid, hook.id)).collect();
            let states = documents.known_deliveries(&keys).await?;
            for (found, state) in chunk.iter().zip(states) {
                match state {
                    None | Some(DeliveryState::Dead) => missing.push(found.clone()),
                    // It is in the inbox, and will be worked.
                    Some(DeliveryState::Received | DeliveryState::Working | DeliveryState::Failed) => {
                        round.waiting += 1;
                    }
                    Some(DeliveryState::Done) => {}
                }
            }
        }
        missing.sort_by_key(|found| found.id);
        Ok(missing)
    }

    /// Fetches payloads and puts them into the inbox. Returns whether all are there, or never will be.
    async fn fetch(
        &self,
        github: &GitHub,
        hook: &WebhookRef,
        missing: &[Found],
        round: &mut OrganizationRound,
        gaps: &mut Vec<DeliveryGap>,
        counter: &RequestCounter,
    ) -> Result<bool, BackendError> {
        let payloads = futures::stream::iter(missing)
            .map(async |found| (found, github.delivery(hook, found.id, counter).await))
            .buffer_unordered(CONCURRENT_PAYLOADS);
        let mut payloads = std::pin::pin!(payloads);
        let (mut batch, mut bytes, mut complete) = (Vec::new(), 0, true);
        loop {
            let next = tokio::select! {
                biased;
                () = self.cancel.cancelled() => None,
                next = payloads.next() => next,
            };
            let is_last = next.is_none();
            match next {
                None => {}
                Some((found, Ok(Some(sent)))) => {
                    bytes += sent.payload.len();
                    batch.push(new_delivery(hook, found, sent).await);
                }
                Some((found, Ok(None))) => {
                    let reason = format!("GitHub has no payload of the delivery {} any more", found.guid);
                    let (from, until) = (found.at.trunc_subsecs(0), found.at.trunc_subsecs(0));
                    gaps.push(DeliveryGap { from, until, reason, repositories: None });
                }
                Some((_, Err(error))) => {
                    complete = false;
                    round.note_problem(&error);
                    if error.concerns_all_requests() || matches!(error, ApiError::LimitReached { .. }) {
                        break;
                    }
                }
            }
            if !batch.is_empty() && (is_last || batch.len() >= BATCH || bytes >= BATCH_BYTES) {
                self.stores.documents.store_deliveries(&batch).await?;
                round.fetched += batch.len() as u64;
                batch.clear();
                bytes = 0;
            }
            if is_last {
                break;
            }
        }
        if !batch.is_empty() {
            self.stores.documents.store_deliveries(&batch).await?;
            round.fetched += batch.len() as u64;
        }
        Ok(complete && !self.cancel.is_cancelled())
    }

    /// Asks GitHub to deliver again. Returns whether all were asked for.
    async fn redeliver(
        &self,
        github: &GitHub,
        hook: &WebhookRef,
        missing: &[Found],
        round: &mut OrganizationRound,
        counter: &RequestCounter,
    ) -> bool {
        let mut pace = tokio::time::interval(REDELIVERY_INTERVAL);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut complete = true;
        for found in missing {
            tokio::select! {
                () = self.cancel.cancelled() => return false,
                _ = pace.tick() => {}
            }
            match github.redeliver(hook, found.id, counter).await {
                Ok(()) => round.redelivered += 1,
                Err(error) => {
                    complete = false;
                    round.note_problem(&error);
                    if error.concerns_all_requests() {
                        break;
                    }
                }
            }
        }
        complete
    }
}

/// Builds a delivery for the inbox from the log's.
async fn new_delivery(hook: &WebhookRef, found: &Found, sent: SentDelivery) -> NewDelivery {
    let (owner, repo) = subject(&sent.payload);
    let named = |name: &str| name.starts_with("x-github-") || name == "user-agent";
    let headers = sent.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let mut headers: Vec<(String, String)> = headers.filter(|(name, _)| named(name)).collect();
    // However it was sent, the log has the payload alone.
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    let payload = sent.payload;
    let body = tokio::task::spawn_blocking(move || CompressedBody::compress(payload.as_bytes())).await;
    NewDelivery {
        key: DeliveryKey::new(&found.guid, hook.id),
        event: found.event.clone(),
        action: found.action.clone(),
        owner,
        repo,
        headers,
        received_at: Utc::now(),
        body: body.unwrap_or_else(|_| CompressedBody::compress(b"{}")),
    }
}

/// Returns the account and the repository that a payload is about.
fn subject(payload: &str) -> (Option<String>, Option<String>) {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Account {
        login: Option<String>,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Repository {
        name: Option<String>,
        owner: Option<Account>,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Payload {
        repository: Option<Repository>,
        organization: Option<Account>,
    }
    let payload: Payload = serde_json::from_str(payload).unwrap_or_default();
    let repository = payload.repository.unwrap_or_default();
    let owner = repository.owner.or(payload.organization).and_then(|account| account.login);
    (owner.filter(|login| is_login(login)), repository.name)
}

/// Returns a time as users read it.
fn shown(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
