//! How long to wait before trying again, and how often to try.

use std::time::Duration;

/// The numbers of trying again. A struct, so that tests need not wait for real.
#[derive(Debug, Clone)]
pub(super) struct ClientLimits {
    /// Attempts in all for server errors, broken connections and broken bodies: with the backoff below they span half a
    /// minute to a minute, which outlasts a deploy or a failing node.
    pub max_attempts: u32,
    /// Attempts in all for a page that the server can't make in time and that can be asked for in smaller parts.
    pub max_timeout_attempts: u32,
    /// Attempts in all while nothing like GitHub ever answered: a wrong address should be told quickly.
    pub max_first_contact_attempts: u32,
    /// The first backoff's upper end; doubled each time.
    pub initial_backoff: Duration,
    /// No backoff is longer.
    pub max_backoff: Duration,
    /// What a failing server asks for with `Retry-After` is kept up to this.
    pub max_retry_after: Duration,
    /// After a secondary limit that names no time: "at least one minute", then exponentially longer (GitHub docs:
    /// exceeding the rate limit).
    pub initial_secondary_pause: Duration,
    /// No such pause is longer.
    pub max_secondary_pause: Duration,
    /// Secondary-limit answers to one request, a token: going on would risk a ban.
    pub max_secondary_limits: u32,
    /// Primary-limit answers to one request, a token: each costs up to an hour, so this only ends what can't be right.
    pub max_primary_limits: u32,
    /// After a limit answer whose time is already over: don't ask again at once.
    pub min_pause: Duration,
    /// A TCP and TLS handshake that takes longer will not succeed.
    pub connect_timeout: Duration,
    /// Silence: GitHub ends its own work after 10 s, so nothing for 30 s means the connection is dead.
    pub read_timeout: Duration,
    /// One request with its body: a server that drips bytes must not hold a slot for ever.
    pub request_timeout: Duration,
    /// The longest body taken in, in bytes after decompression: GitHub's largest pages have some 10 MB; this only
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
            max_retry_after: Duration::from_secs(600),
            initial_secondary_pause: Duration::from_secs(60),
            max_secondary_pause: Duration::from_secs(3600),
            max_secondary_limits: 5,
            max_primary_limits: 10,
            min_pause: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(120),
            max_body_bytes: 256 << 20,
        }
    }
}

impl ClientLimits {
    /// The pause before the attempt after `failed` failed ones: exponential, its second half by chance, so that many
    /// requests that failed together don't come back together. A `Retry-After` of a failing server is kept, up to its cap.
    pub fn backoff(&self, failed: u32, asked: Option<Duration>) -> Duration {
        let most = doubled(self.initial_backoff, failed.saturating_sub(1), self.max_backoff);
        most.mul_f64(0.5 + 0.5 * rand::random::<f64>()).max(asked.unwrap_or_default().min(self.max_retry_after))
    }

    /// The pause after the `strike`-th secondary limit in a row, counted from 0.
    pub fn secondary_pause(&self, strike: u32) -> Duration {
        doubled(self.initial_secondary_pause, strike, self.max_secondary_pause)
    }
}

fn doubled(start: Duration, times: u32, cap: Duration) -> Duration {
    2u32.checked_pow(times).and_then(|factor| start.checked_mul(factor)).map_or(cap, |d| d.min(cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_cap_and_keeps_what_the_server_asked() {
        let limits = ClientLimits::default();
        for failed in 1..100 {
            assert!(limits.backoff(failed, None) <= limits.max_backoff);
            let asked = Duration::from_secs(7);
            assert!(limits.backoff(failed, Some(asked)) >= asked);
        }
        assert!(limits.backoff(1, None) <= limits.initial_backoff);
        assert!(limits.backoff(1, Some(Duration::MAX)) <= limits.max_retry_after);
    }

    #[test]
    fn all_attempts_together_outlast_a_short_outage() {
        let limits = ClientLimits::default();
        let span: Duration = (1..limits.max_attempts).map(|failed| limits.backoff(failed, None)).sum();
        assert!((Duration::from_secs(30)..Duration::from_secs(65)).contains(&span), "{span:?}");
    }

    #[test]
    fn a_secondary_limit_pauses_a_minute_then_longer() {
        let limits = ClientLimits::default();
        assert_eq!([0, 1, 2, 90].map(|strike| limits.secondary_pause(strike).as_secs()), [60, 120, 240, 3600]);
    }
}
