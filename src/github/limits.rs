//! Timeouts, numbers of attempts, and bounds of the backoff of requests.

use std::time::Duration;

/// The limits of a client. Tests set lower ones.
#[derive(Debug, Clone)]
pub(super) struct ClientLimits {
    /// Maximum attempts after server errors, broken connections and incomplete bodies. With the backoff below they span 30 to 60
    /// s, which outlasts a deployment or a failing node.
    pub max_attempts: u32,
    /// Maximum attempts for a page that the server can't make in time, if the caller can ask for smaller parts.
    pub max_timeout_attempts: u32,
    /// Maximum attempts while nothing like GitHub ever answered: a wrong address should be reported soon.
    pub max_first_contact_attempts: u32,
    /// Upper end of the first backoff; doubles each time.
    pub initial_backoff: Duration,
    /// Maximum backoff.
    pub max_backoff: Duration,
    /// Maximum `Retry-After` respected of a failing server.
    pub max_retry_after: Duration,
    /// Pause after a secondary limit that names no time: "at least one minute", then exponentially longer (GitHub docs:
    /// exceeding the rate limit).
    pub initial_secondary_pause: Duration,
    /// Maximum pause after a secondary limit.
    pub max_secondary_pause: Duration,
    /// Maximum secondary limits that one request may hit, per token: more would risk a ban.
    pub max_secondary_limits: u32,
    /// Maximum primary limits that one request may hit, per token. Each costs up to an hour: this only stops a broken server.
    pub max_primary_limits: u32,
    /// Minimum pause after a limit, even if its time is over already.
    pub min_pause: Duration,
    /// Timeout of the TCP and TLS handshakes.
    pub connect_timeout: Duration,
    /// Maximum silence: GitHub ends its own work after 10 s, so that nothing for 30 s means a dead connection.
    pub read_timeout: Duration,
    /// Timeout of one request with its body: a server that sends byte by byte must not hold a permit forever.
    pub request_timeout: Duration,
    /// Maximum body size in bytes, after decompression. GitHub's largest pages have some 10 MB; this only
    /// keeps a hostile server from filling the memory.
    pub max_body_bytes: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            max_timeout_attempts: 2,
            max_first_contact_attempts: 3,
            initial_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(30),
            max_retry_after: Duration::from_mins(10),
            initial_secondary_pause: Duration::from_mins(1),
            max_secondary_pause: Duration::from_hours(1),
            max_secondary_limits: 5,
            max_primary_limits: 10,
            min_pause: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_mins(2),
            max_body_bytes: 256 << 20,
        }
    }
}
