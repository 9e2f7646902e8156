//! What processes that use the same tokens tell each other, so that together they keep GitHub's limits.
//!
//! A limit is a user's, not a process's. Each request is asked for once more in the ledger, in which every process takes
//! its requests off one budget and keeps to one pace; what GitHub says of a token is told there at once; and the requests
//! that may be in flight are divided among the processes that are at work. `docs/tokens.md` has the guarantees.
//!
//! The ledger is kept by a store; this is what one has to offer. Tokens appear by their fingerprints, never by themselves.
//! Moments cross this border as durations from now: the ledger has one clock of its own, and the machines' may differ.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;

/// Between two requests with one token: 13.5 a second, 810 in a minute.
pub const INTERVAL: Duration = Duration::from_micros(74_075);
/// Requests that may go at once. With them a minute holds at most 60 + 810 = 870, which leaves room for requests that bunch
/// up on the way.
pub const BURST: u32 = 60;
/// GitHub allows 100 concurrent requests (GitHub docs: secondary rate limits); the rest is left to the user's other
/// programs, and to processes that have just come and whose share is still another's.
pub const IN_FLIGHT_MOST: usize = 90;
/// How long a process counts after it was last heard of: some missed beats are no death, and what a dead one held is
/// not held back for long.
pub const PRESENCE: Duration = Duration::from_secs(10);
/// What the requests in flight of all tokens together are called where a token's fingerprint stands.
pub const ALL_TOKENS: &str = "all";

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// The hourly budget is spent (down to the reserve).
    RateLimit,
    /// GitHub asked to pause (`Retry-After`).
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
            Self::NoToken => "a token that GitHub did not give the App",
        })
    }
}

/// Whether a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// It may, and is counted.
    Go,
    /// Not now: the pace is used up, or all that is left is in flight. Ask again after this time.
    Soon(Duration),
    /// Not for long: the token pauses or is exhausted.
    Later {
        /// Until it may be asked for again.
        wait: Duration,
        /// Why.
        reason: WaitReason,
        /// Secondary limits in a row that the token had; the next pause is as much longer.
        strikes: u32,
    },
}

/// A token's hour, as an answer's headers tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hour {
    /// Requests in it; not 0.
    pub limit: u64,
    /// Requests that are left of it.
    pub remaining: u64,
    /// Its end in seconds since the epoch, on GitHub's clock: which hour it is.
    pub reset: i64,
    /// How long until then.
    pub wait: Duration,
}

/// What an answer, or several, told of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Its hour. `unspent` requests, granted since the last news, have cost nothing (304).
    Hour {
        /// The hour.
        hour: Hour,
        /// Requests to give back to it.
        unspent: u32,
    },
    /// The server has no limits. `said`: it said so with a limit of 0; else it said nothing, which counts for a token of
    /// which nothing was ever known.
    NoLimit {
        /// Whether it was said.
        said: bool,
    },
}

/// What a process does with a token, or with all of them ([`ALL_TOKENS`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The token's fingerprint.
    pub token: String,
    /// Requests that the process has in flight, or may put in flight on what it was told before.
    pub holding: usize,
    /// The most that it wants to have in flight.
    pub most: usize,
}

/// The ledger can't be reached or used; `Display` names the store and says what to do, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LedgerError(pub String);

/// Where processes that use the same tokens meet. An outage is waited out in here; an error is for good.
pub trait Ledger: Send + Sync {
    /// Asks for one request with a token of which `floor` requests are to be left unused.
    fn reserve<'a>(&'a self, token: &'a str, floor: u64) -> BoxFuture<'a, Result<Grant, LedgerError>>;

    /// Takes in what was told of a token. A later hour replaces an earlier one; within one what is left only goes down.
    fn report<'a>(&'a self, token: &'a str, news: News) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Leaves a token alone for a time, in every process. A longer pause stays. `strikes`: secondary limits in a row.
    fn pause<'a>(
        &'a self,
        token: &'a str,
        wait: Duration,
        reason: WaitReason,
        strikes: u32,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Says that a process is at work, and divides: for each use, how many requests it may have in flight for as long as
    /// [`PRESENCE`]. All shares and holdings of the living are at most [`IN_FLIGHT_MOST`] together, but for the one
    /// request that every process may always have in flight.
    fn share<'a>(&'a self, process: &'a str, uses: &'a [Use]) -> BoxFuture<'a, Result<Vec<usize>, LedgerError>>;

    /// Says that a process has ended.
    fn leave<'a>(&'a self, process: &'a str) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Closes what it has open; nothing may be asked after that.
    fn close(&self) -> BoxFuture<'_, ()>;
}
