//! The inbox of webhook deliveries: each as it came, with its state, until it is worked and some time beyond.
//!
//! ```text
//!  received ──▶ working ──▶ done
//!     ▲            │ └────▶ dead      after too many attempts
//!     └── failed ◀─┘        worked again at its time
//! ```
//!
//! A delivery is worked under a lease, which a process that dies leaves to expire; until it is done it is found again
//! (`docs/webhooks.md`, "What is kept").

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::{Backend, Documents};
use crate::process_id;
use crate::store::BackendError;

/// The key of a delivery. GitHub gives the deliveries of one event to two webhooks the same GUID.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryKey {
    /// The value of `X-GitHub-Delivery`, in lower case.
    pub guid: String,
    /// The value of `X-GitHub-Hook-ID`; 0 if it was missing.
    pub hook_id: i64,
}

impl DeliveryKey {
    /// Creates a key; GUIDs are compared regardless of case.
    pub fn new(guid: &str, hook_id: i64) -> Self {
        Self { guid: guid.to_ascii_lowercase(), hook_id }
    }
}

impl fmt::Display for DeliveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.guid, self.hook_id)
    }
}

/// A delivery's body, compressed with gzip.
#[derive(Clone, PartialEq, Eq)]
pub struct CompressedBody {
    pub(super) gzip: Vec<u8>,
    pub(super) size: u64,
}

impl CompressedBody {
    /// Compresses a body. A large one takes some hundred milliseconds: not on an asynchronous thread.
    pub fn compress(body: &[u8]) -> Self {
        let write = || -> io::Result<Vec<u8>> {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4 + 64), Compression::fast());
            encoder.write_all(body)?;
            encoder.finish()
        };
        // Writing to memory does not fail; if it ever did, a body that can't be read back would be found at once.
        Self { gzip: write().unwrap_or_default(), size: body.len() as u64 }
    }

    /// Returns the number of bytes that the compressed body takes.
    pub fn compressed_size(&self) -> usize {
        self.gzip.len()
    }

    /// Returns the exact bytes.
    ///
    /// # Errors
    /// What is stored is not what was written.
    pub fn decompress(&self) -> io::Result<Vec<u8>> {
        let mut body = Vec::with_capacity(usize::try_from(self.size).unwrap_or_default());
        GzDecoder::new(self.gzip.as_slice()).take(self.size.saturating_add(1)).read_to_end(&mut body)?;
        if body.len() as u64 == self.size {
            Ok(body)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the body has another length than before"))
        }
    }
}

impl fmt::Debug for CompressedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {} compressed", self.size, self.gzip.len())
    }
}

/// A verified delivery to be stored.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Its key.
    pub key: DeliveryKey,
    /// The value of `X-GitHub-Event`, such as `pull_request`.
    pub event: String,
    /// The payload's `action`, where it has one.
    pub action: Option<String>,
    /// The login of the account that it is about, where the payload tells.
    pub owner: Option<String>,
    /// The name of the repository that it is about, without its owner.
    pub repo: Option<String>,
    /// The headers worth keeping, by lower-case name. Never a signature.
    pub headers: Vec<(String, String)>,
    /// Time of receipt.
    pub received_at: DateTime<Utc>,
    /// The exact bytes.
    pub body: CompressedBody,
}

/// The outcome of storing a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was not there.
    New,
    /// It was there and was not done: it is worked again, at once.
    Pending,
    /// It was there and is done: nothing changed.
    Done,
}

/// The state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeliveryState {
    /// Stored, and not worked yet.
    Received,
    /// Being worked, under a lease.
    Working,
    /// The last attempt failed; another one follows.
    Failed,
    /// Worked.
    Done,
    /// Given up.
    Dead,
}

impl DeliveryState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Received, Self::Working, Self::Failed, Self::Done, Self::Dead];

    /// Returns the state's name, as it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Working => "working",
            Self::Failed => "failed",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    /// Returns the state of a name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A delivery that this process works, until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// Its key.
    pub key: DeliveryKey,
    /// The value of `X-GitHub-Event`.
    pub event: String,
    /// The headers that were kept.
    pub headers: Vec<(String, String)>,
    /// Time of receipt.
    pub received_at: DateTime<Utc>,
    /// Number of failed attempts before this one.
    pub attempts: u32,
    /// Names this claim: what another process has claimed since is left to it.
    pub(super) lease: String,
}

/// The number of deliveries by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Stored, and not worked yet.
    pub received: u64,
    /// Being worked.
    pub working: u64,
    /// Waiting for another attempt.
    pub failed: u64,
    /// Worked.
    pub done: u64,
    /// Given up.
    pub dead: u64,
    /// Time of receipt of the oldest one that is neither done nor dead.
    pub oldest_pending: Option<DateTime<Utc>>,
}

impl DeliveryCounts {
    /// Returns the number of those that are neither done nor dead.
    pub fn pending(&self) -> u64 {
        self.received + self.working + self.failed
    }

    pub(super) fn set(&mut self, state: DeliveryState, count: u64) {
        match state {
            DeliveryState::Received => self.received = count,
            DeliveryState::Working => self.working = count,
            DeliveryState::Failed => self.failed = count,
            DeliveryState::Done => self.done = count,
            DeliveryState::Dead => self.dead = count,
        }
    }
}

/// The numbers that a purge removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PurgedDeliveries {
    /// Bodies.
    pub bodies: u64,
    /// Heads, with all that was left of the delivery.
    pub heads: u64,
}

/// A time in which nobody received deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListeningGap {
    /// The last time that anybody was known to listen.
    pub from: DateTime<Utc>,
    /// The time at which listening began again.
    pub until: DateTime<Utc>,
    /// The last listener stopped in an orderly way, so that `from` is exact.
    pub stopped_cleanly: bool,
}

/// A claim to be made: how many, under which lease.
pub(super) struct Claim {
    pub limit: u32,
    pub now: i64,
    pub until: i64,
    pub lease: String,
    /// The process, where the system tells: its claims are released when it has ended.
    pub holder: Option<String>,
}

/// Returns milliseconds since 1970, as times of deliveries are stored.
pub(super) fn millis(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
}

/// Returns the time of stored milliseconds.
pub(super) fn from_millis(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}

/// Returns headers as the JSON object that is stored.
pub(super) fn headers_to_json(headers: &[(String, String)]) -> String {
    let members = headers.iter().map(|(name, value)| (name.clone(), serde_json::Value::from(value.as_str())));
    serde_json::Value::Object(members.collect()).to_string()
}

/// Returns the headers of a stored JSON object.
pub(super) fn headers_from_json(json: &str) -> Vec<(String, String)> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    object.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
}

/// Calls the same method of either backend.
macro_rules! dispatch {
    ($store:expr, $backend:ident => $call:expr) => {
        match $store {
            Backend::Sqlite($backend) => $call.await,
            Backend::Mongodb($backend) => $call.await,
        }
    };
}

impl Documents {
    /// Stores deliveries and makes them durable. A repeated one that is done changes nothing; one that is not is worked
    /// again at once, even if it had been given up. Returns an outcome per delivery, in their order.
    ///
    /// # Errors
    /// The store could not be written. An embedded store has none of them then; a server may have some, and storing them
    /// again completes them.
    pub async fn store_deliveries(&self, deliveries: &[NewDelivery]) -> Result<Vec<Stored>, BackendError> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        dispatch!(&self.backend, store => store.store_deliveries(deliveries))
    }

    /// Claims deliveries that wait for work, the longest waiting first: received ones, failed ones whose time has come,
    /// and those whose lease ended. `lease` is the time after which others may claim them.
    ///
    /// # Errors
    /// The store could not be read or written.
    pub async fn claim_deliveries(&self, limit: u32, lease: Duration) -> Result<Vec<ClaimedDelivery>, BackendError> {
        let now = Utc::now();
        let until = now + TimeDelta::from_std(lease).unwrap_or(TimeDelta::MAX);
        let claim = Claim {
            limit,
            now: millis(now),
            until: millis(until),
            lease: format!("{:016x}", rand::random::<u64>()),
            holder: process_id::this_process(),
        };
        dispatch!(&self.backend, store => store.claim_deliveries(&claim))
    }

    /// Returns a delivery's exact bytes; `None` if they were purged.
    ///
    /// # Errors
    /// The store could not be read, or the body is damaged.
    pub async fn delivery_body(&self, key: &DeliveryKey) -> Result<Option<Vec<u8>>, BackendError> {
        let Some(body) = dispatch!(&self.backend, store => store.delivery_body(key))? else { return Ok(None) };
        body.decompress().map(Some).map_err(|error| BackendError {
            operation: format!("reading the delivery {key}"),
            cause: error.to_string(),
            hint: "let GitHub deliver it again",
            before_start: false,
        })
    }

    /// Marks claimed deliveries as done, except those that another process has claimed since. Returns their number.
    ///
    /// # Errors
    /// The store could not be written; marking again completes them.
    pub async fn finish_deliveries(&self, claimed: &[ClaimedDelivery]) -> Result<u64, BackendError> {
        if claimed.is_empty() {
            return Ok(0);
        }
        dispatch!(&self.backend, store => store.finish_deliveries(claimed, millis(Utc::now())))
    }

    /// Records a failed attempt: the delivery is worked again at `retry_at`, or is dead without one. Changes nothing if
    /// another process has claimed it since.
    ///
    /// # Errors
    /// The store could not be written.
    pub async fn fail_delivery(
        &self,
        claimed: &ClaimedDelivery,
        retry_at: Option<DateTime<Utc>>,
        reason: &str,
    ) -> Result<(), BackendError> {
        let retry_at = retry_at.map(millis);
        dispatch!(&self.backend, store => store.fail_delivery(claimed, retry_at, reason, millis(Utc::now())))
    }

    /// Gives claimed deliveries back without an attempt.
    ///
    /// # Errors
    /// The store could not be written; the leases end by themselves.
    pub async fn release_deliveries(&self, claimed: &[ClaimedDelivery]) -> Result<(), BackendError> {
        if claimed.is_empty() {
            return Ok(());
        }
        dispatch!(&self.backend, store => store.release_deliveries(claimed, millis(Utc::now())))
    }

    /// Releases what processes of this machine that have ended had claimed. Returns the number released.
    ///
    /// # Errors
    /// The store could not be read or written.
    pub async fn release_abandoned_deliveries(&self) -> Result<u64, BackendError> {
        let holders = dispatch!(&self.backend, store => store.delivery_holders())?;
        let gone: Vec<String> = holders.into_iter().filter(|holder| process_id::has_ended(holder)).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        dispatch!(&self.backend, store => store.release_deliveries_of(&gone, millis(Utc::now())))
    }

    /// Counts the deliveries by state.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn delivery_counts(&self) -> Result<DeliveryCounts, BackendError> {
        dispatch!(&self.backend, store => store.delivery_counts())
    }

    /// Returns the state of each of these deliveries, in their order; `None` for those that are not there.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn known_deliveries(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<DeliveryState>>, BackendError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let known = dispatch!(&self.backend, store => store.known_deliveries(keys))?;
        Ok(keys.iter().map(|key| known.get(key).copied()).collect())
    }

    /// Removes the bodies of deliveries that were done or given up before `bodies_before`, and all of those from before
    /// `heads_before`, at most `limit` of each.
    ///
    /// # Errors
    /// The store could not be written; purging again completes it.
    pub async fn purge_deliveries(
        &self,
        bodies_before: DateTime<Utc>,
        heads_before: DateTime<Utc>,
        limit: u32,
    ) -> Result<PurgedDeliveries, BackendError> {
        let (bodies, heads) = (millis(bodies_before), millis(heads_before));
        dispatch!(&self.backend, store => store.purge_deliveries(bodies, heads, limit))
    }

    /// Records that deliveries are received from now on, and returns the time before in which nobody did; `None` at the
    /// first start. The gap is kept until the next one ([`last_listening_gap`](Self::last_listening_gap)).
    ///
    /// # Errors
    /// The store could not be written.
    pub async fn begin_listening(&self, now: DateTime<Utc>) -> Result<Option<ListeningGap>, BackendError> {
        let Some((last, stopped_cleanly)) = dispatch!(&self.backend, store => store.last_listened())? else {
            self.record_listening(now, false).await?;
            return Ok(None);
        };
        let from = from_millis(last).min(now);
        dispatch!(&self.backend, store => store.record_gap(millis(from), millis(now), stopped_cleanly))?;
        Ok(Some(ListeningGap { from, until: now, stopped_cleanly }))
    }

    /// Records that somebody has listened until now; `stopped`: and has stopped in an orderly way.
    ///
    /// # Errors
    /// The store could not be written.
    pub async fn record_listening(&self, now: DateTime<Utc>, stopped: bool) -> Result<(), BackendError> {
        dispatch!(&self.backend, store => store.record_listening(millis(now), stopped))
    }

    /// Returns the last time in which nobody listened.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn last_listening_gap(&self) -> Result<Option<ListeningGap>, BackendError> {
        dispatch!(&self.backend, store => store.last_listening_gap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bodies_keep_their_bytes(body: Vec<u8>) {
            prop_assert_eq!(CompressedBody::compress(&body).decompress().unwrap(), body);
        }

        #[test]
        fn headers_round_trip(headers in proptest::collection::btree_map("[a-z-]{1,20}", "\\PC{0,40}", 0..6)) {
            let headers: Vec<_> = headers.into_iter().collect();
            prop_assert_eq!(headers_from_json(&headers_to_json(&headers)), headers);
        }
    }

    #[test]
    fn damaged_bodies_are_detected() {
        let mut body = CompressedBody::compress(b"{\"zen\": \"Design for failure.\"}");
        body.size += 1;
        assert!(body.decompress().is_err());
        body.gzip.truncate(8);
        assert!(body.decompress().is_err());
        assert!(CompressedBody { gzip: Vec::new(), size: 3 }.decompress().is_err());
    }
}
