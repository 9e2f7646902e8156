//! From a request to its answer: verified, read, stored, and only then accepted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use chrono::{DateTime, Utc};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};
use tokio::time::timeout;

use super::accounts::MirroredAccounts;
use super::body::{BodyBudget, BodyError};
use super::inbox::{Inbox, InboxError};
use super::metrics::Metrics;
use super::payload::{BodyForm, DeliveryHeaders, PayloadFacts, kept_headers};
use super::signature::{SignatureError, VerifiedDelivery, Verifier};
use crate::store::documents::deliveries::{CompressedBody, NewDelivery, Stored};

/// Maximum bytes of a JSON body; GitHub delivers no payload over 25 MB.
const MAX_JSON_BYTES: usize = 25 * 1024 * 1024;
/// Maximum bytes of a form: percent-encoding makes a payload up to three times as long.
const MAX_FORM_BYTES: usize = 80 * 1024 * 1024;
/// Maximum time from a request's head to its answer; GitHub waits 10 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(9);
/// Bodies from this size on are verified and compressed on a thread of their own.
const LARGE_BODY_BYTES: usize = 128 * 1024;

/// The answer to a delivery: a status that is a contract with GitHub's log, and a line for the person who reads it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 202, 400, 401, 413, 415 or 503.
    pub status: StatusCode,
    /// One line of text.
    pub text: String,
}

impl Answer {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    fn unavailable(text: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

impl From<SignatureError> for Answer {
    fn from(error: SignatureError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error.to_string())
    }
}

impl From<BodyError> for Answer {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(limit) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {limit} bytes"))
            }
            BodyError::OutOfMemory => Self::unavailable("too many deliveries at a time"),
            BodyError::Broken => Self::bad_request("the body ended early"),
        }
    }
}

/// What receives deliveries.
pub struct Intake {
    verifier: Verifier,
    accounts: Arc<MirroredAccounts>,
    /// Events that are answered, but not kept.
    ignored: HashSet<String>,
    inbox: Inbox,
    budget: BodyBudget,
    metrics: Arc<Metrics>,
}

/// A delivery that was read, and whether it is to be kept.
enum Read {
    Kept(Box<NewDelivery>),
    Ignored(String),
    NotMirrored(String),
}

impl Intake {
    /// Creates an intake that keeps deliveries of mirrored accounts, except those of ignored events.
    pub fn new(
        verifier: Verifier,
        accounts: Arc<MirroredAccounts>,
        ignored: &[String],
        inbox: Inbox,
        metrics: Arc<Metrics>,
    ) -> Self {
        let ignored = ignored.iter().cloned().collect();
        Self { verifier, accounts, ignored, inbox, budget: BodyBudget::new(), metrics }
    }

    /// Returns the counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns the bytes of all bodies that are being read or stored.
    pub fn bytes_in_hand(&self) -> usize {
        self.budget.in_hand()
    }

    /// Answers a delivery. With 202 it is stored, or is none to be kept.
    pub async fn receive(&self, request: Request<Body>) -> Answer {
        let began = std::time::Instant::now();
        let answer = match timeout(REQUEST_TIMEOUT, self.accept(request)).await {
            Ok(Ok(answer) | Err(answer)) => answer,
            Err(_) => Answer::bad_request(format!("the body did not arrive within {} s", REQUEST_TIMEOUT.as_secs())),
        };
        self.metrics.answers.count(answer.status.as_str());
        self.metrics.answer_time.record(began.elapsed());
        if answer.status != StatusCode::ACCEPTED {
            tracing::warn!(status = answer.status.as_u16(), reason = answer.text, "delivery rejected");
        }
        answer
    }

    async fn accept(&self, request: Request<Body>) -> Result<Answer, Answer> {
        let received_at = Utc::now();
        let (head, body) = request.into_parts();
        let form = body_form(&head.headers)?;
        self.verifier.signature(&head.headers)?;
        let limit = match form {
            BodyForm::Json => MAX_JSON_BYTES,
            BodyForm::Form => MAX_FORM_BYTES,
        };
        let body = self.budget.read(&head.headers, body, limit).await?;
        // The share of the memory is returned when the delivery is stored.
        let _share = body.share;
        let (verifier, accounts, ignored) = (self.verifier.clone(), Arc::clone(&self.accounts), self.ignored.clone());
        let bytes = body.bytes;
        let size = bytes.len();
        let work = move || {
            let verified = verifier.verify(head.headers, bytes)?;
            read(&verified, form, received_at, &accounts, &ignored)
        };
        let (event, read) = if size < LARGE_BODY_BYTES {
            work()?
        } else {
            tokio::task::spawn_blocking(work).await.map_err(|error| {
                tracing::error!(%error, "reading a delivery");
                Answer::unavailable("the delivery could not be read")
            })??
        };
        self.metrics.deliveries.count(&event);
        self.metrics.bytes.add(size as u64);
        self.keep(read).await
    }

    async fn keep(&self, read: Read) -> Result<Answer, Answer> {
        let accepted = |text: String| Ok(Answer::new(StatusCode::ACCEPTED, text));
        match read {
            Read::Ignored(event) => {
                self.metrics.ignored.count(&event);
                accepted(format!("{event} is ignored"))
            }
            Read::NotMirrored(account) => {
                self.metrics.not_mirrored.add(1);
                accepted(format!("{account} is not mirrored"))
            }
            Read::Kept(delivery) => match self.inbox.store(*delivery).await {
                Ok(Stored::New) => accepted("stored".to_owned()),
                Ok(Stored::Pending) => accepted("known; it will be worked again".to_owned()),
                Ok(Stored::Done) => accepted("known and done".to_owned()),
                Err(InboxError::Unavailable) => Err(Answer::unavailable("the store is not available")),
                Err(InboxError::Busy) => Err(Answer::unavailable("too many deliveries at a time")),
            },
        }
    }
}

/// Returns the form of a body.
fn body_form(headers: &HeaderMap) -> Result<BodyForm, Answer> {
    let unsupported = |text: &str| Answer::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    let has_encoding = headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
    if has_encoding {
        return Err(unsupported("the body must not be compressed"));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.and_then(BodyForm::of).ok_or_else(|| {
        unsupported("the content type is neither application/json nor application/x-www-form-urlencoded")
    })
}

/// Reads a verified delivery, and returns its event and what is to be done with it.
fn read(
    verified: &VerifiedDelivery,
    form: BodyForm,
    received_at: DateTime<Utc>,
    accounts: &MirroredAccounts,
    ignored: &HashSet<String>,
) -> Result<(String, Read), Answer> {
    let DeliveryHeaders { key, event } = DeliveryHeaders::parse(verified.headers()).map_err(Answer::bad_request)?;
    if verified.body().is_empty() {
        return Err(Answer::bad_request("the body is empty"));
    }
    let text = form.text(verified.body()).ok_or_else(|| Answer::bad_request("the form has no field payload"))?;
    let facts = PayloadFacts::parse(&text).ok_or_else(|| Answer::bad_request("the payload is not a JSON object"))?;
    if ignored.contains(&event) {
        return Ok((event.clone(), Read::Ignored(event)));
    }
    let is_about_accounts = facts.has_odd_account || !facts.accounts.is_empty();
    // A ping shows that the way is right, whoever sent it; what names no account may be of any shape.
    if event != "ping" && is_about_accounts && !accounts.contains_any(&facts.accounts) {
        let account = facts.accounts.into_iter().next().unwrap_or_else(|| "the account".to_owned());
        return Ok((event, Read::NotMirrored(account)));
    }
    let (owner, repo) = match &facts.repository {
        Some(name) => (Some(name.owner().to_owned()), Some(name.name().to_owned())),
        None => (facts.accounts.first().cloned(), None),
    };
    let delivery = NewDelivery {
        key,
        event: event.clone(),
        action: facts.action,
        owner,
        repo,
        headers: kept_headers(verified.headers()),
        received_at,
        body: CompressedBody::compress(verified.body()),
    };
    Ok((event, Read::Kept(Box::new(delivery))))
}
