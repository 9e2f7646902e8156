//! The contract by which processes that use the same tokens keep GitHub's limits together.
//!
//! GitHub limits a user, not a process. Each request is therefore reserved in a shared store first, which keeps one budget and
//! one rate for each token; every response's limits are reported there; and the requests in flight are divided among the
//! processes at work. `docs/tokens.md` has the guarantees.
//!
//! The client is on one side of this contract, the stores on the other. Tokens appear by their fingerprints only. Times cross it
//! as durations from now: the store has one clock of its own, and the machines' clocks may differ.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;

/// Interval between two requests with one token: 13.5 a second, 810 in a minute.
pub const REQUEST_INTERVAL: Duration = Duration::from_micros(74_075);
/// Requests that one token may send at once. Any minute then holds at most 60 + 810 = 870 of them: GitHub allows fewer than 900
/// points, and some requests bunch up on the way.
pub const MAX_BURST: u32 = 60;
/// Maximum requests in flight over all processes. GitHub allows 100 (GitHub docs: secondary rate limits); the rest is left to
/// the user's other programs, and to new processes whose share others still hold.
pub const MAX_IN_FLIGHT: usize = 90;
/// Time after its last heartbeat for which a process counts as alive: it survives some missed heartbeats, and a dead process
/// does not hold back its share for long.
pub const LIVENESS_TTL: Duration = Duration::from_secs(10);
/// Stands in for a token's fingerprint where the requests in flight of all tokens together are meant.
pub const ALL_TOKENS: &str = "all";

/// The reason for which a token may not be used for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// The hourly budget is spent, down to the reserve.
    RateLimit,
    /// GitHub asked for a pause (`Retry-After`).
    RetryAfter,
    /// GitHub's secondary limit, which names no end.
    SecondaryLimit,
    /// The App got no token for an account.
    NoToken,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RateLimit => "the rate limit",
            Self::RetryAfter => "the pause GitHub asked for",
            Self::SecondaryLimit => "the secondary rate limit",
            Self::NoToken => "a token for the App",
        })
    }
}

/// The store's answer to a request for a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// The request may be sent; it is counted already.
    Granted,
    /// The rate or what is left is taken by requests in flight: try again after this time, milliseconds usually.
    Busy(Duration),
    /// The token is paused or exhausted, for seconds up to an hour.
    Blocked {
        /// Time until it may be reserved again.
        wait: Duration,
        /// The reason.
        reason: WaitReason,
        /// Secondary limits in a row that the token has hit; the next pause grows with them.
        secondary_limit_hits: u32,
    },
}

/// A token's rate-limit window, as a response's headers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateWindow {
    /// Requests that the window allows; never 0.
    pub limit: u64,
    /// Requests left in it.
    pub remaining: u64,
    /// Its end in seconds since the epoch, on GitHub's clock: this identifies the window.
    pub reset: i64,
    /// Time until its end.
    pub wait: Duration,
}

/// A report of what one or more responses said about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageReport {
    /// The window's state.
    Window {
        /// The window.
        window: RateWindow,
        /// Requests granted since the last report that turned out free (304).
        refunded: u32,
    },
    /// The server has no rate limit.
    NoLimit {
        /// The server stated a limit of 0. If it sent no limit headers instead, only a token of unknown limit is affected.
        stated: bool,
    },
}

/// A process's claim to requests in flight, with one token or with [`ALL_TOKENS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConcurrencyClaim {
    /// The token's fingerprint.
    pub token: String,
    /// Requests that the process has in flight, or may still send on its present allocation.
    pub current: usize,
    /// Maximum number that it wants in flight.
    pub max: usize,
}

/// An error of the store; `Display` names the store and says what to do, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RateLimitStoreError(pub String);

/// The store in which processes coordinate their use of tokens. It waits out outages itself: an error is final.
pub trait RateLimitStore: Send + Sync {
    /// Reserves one request with a token of which `floor` requests are to stay unused.
    fn reserve<'a>(&'a self, token: &'a str, floor: u64) -> BoxFuture<'a, Result<Reservation, RateLimitStoreError>>;

    /// Records a report about a token. A later window replaces an earlier one; within a window the remainder only goes down.
    fn report<'a>(&'a self, token: &'a str, report: UsageReport) -> BoxFuture<'a, Result<(), RateLimitStoreError>>;

    /// Pauses a token in every process; a pause that ends later stays. `secondary_limit_hits` is how many the token has hit in a
    /// row.
    fn pause<'a>(
        &'a self,
        token: &'a str,
        wait: Duration,
        reason: WaitReason,
        secondary_limit_hits: u32,
    ) -> BoxFuture<'a, Result<(), RateLimitStoreError>>;

    /// Records a heartbeat and allocates concurrency: for each claim, how many requests the process may have in flight during
    /// [`LIVENESS_TTL`]. Allocations and holdings of live processes never exceed [`MAX_IN_FLIGHT`] together, apart from the one
    /// request that every process is always allowed.
    fn allocate<'a>(
        &'a self,
        process: &'a str,
        claims: &'a [ConcurrencyClaim],
    ) -> BoxFuture<'a, Result<Vec<usize>, RateLimitStoreError>>;

    /// Removes a process that ends.
    fn deregister<'a>(&'a self, process: &'a str) -> BoxFuture<'a, Result<(), RateLimitStoreError>>;

    /// Closes the store's connections; no call may follow.
    fn close(&self) -> BoxFuture<'_, ()>;
}
