//! How long to wait before trying again, and how often to try.

use std::time::Duration;

/// The numbers of trying again. A struct, so that tests need not wait for real.
#[derive(Debug, Clone)]
pub(super) struct Tuning {
    /// Attempts in all for server errors, broken connections and broken bodies: with the backoff below they span half a
    /// minute to a minute, which outlasts a deploy or a failing node.
    pub attempts: u32,
    /// Attempts in all for a page that the server can't make in time and that can be asked for in smaller parts.
    pub heavy_attempts: u32,
    /// Attempts in all while nothing like GitHub ever answered: a wrong address should be told quickly.
    pub first_contact_attempts: u32,
    /// The first backoff's upper end; doubled each time.
    pub backoff_start: Duration,
    /// No backoff is longer.
    pub backoff_cap: Duration,
    /// What a failing server asks for with `Retry-After` is kept up to this.
    pub retry_after_cap: Duration,
    /// After a secondary limit that names no time: "at least one minute", then exponentially longer (GitHub docs:
    /// exceeding the rate limit).
    pub secondary_start: Duration,
    /// No such pause is longer.
    pub secondary_cap: Duration,
    /// Secondary-limit answers to one request, a token: going on would risk a ban.
    pub secondary_tries: u32,
    /// Primary-limit answers to one request, a token: each costs up to an hour, so this only ends what can't be right.
    pub primary_tries: u32,
    /// After a limit answer whose time is already over: don't ask again at once.
    pub least_pause: Duration,
    /// A TCP and TLS handshake that takes longer will not succeed.
    pub connect_timeout: Duration,
    /// Silence: GitHub ends its own work after 10 s, so nothing for 30 s means the connection is dead.
    pub read_timeout: Duration,
    /// One request with its body: a server that drips bytes must not hold a slot for ever.
    pub whole_timeout: Duration,
    /// The longest body taken in, in bytes after decompression: GitHub's largest pages have some 10 MB; this only
    /// keeps a hostile server from filling the memory.
    pub body_cap: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            attempts: 8,
            heavy_attempts: 2,
            first_contact_attempts: 3,
            backoff_start: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(30),
            retry_after_cap: Duration::from_secs(600),
            secondary_start: Duration::from_secs(60),
            secondary_cap: Duration::from_secs(3600),
            secondary_tries: 5,
            primary_tries: 10,
            least_pause: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            whole_timeout: Duration::from_secs(120),
            body_cap: 256 << 20,
        }
    }
}

impl Tuning {
    /// The pause before the attempt after `failed` failed ones: exponential, its second half by chance, so that many
    /// requests that failed together don't come back together. A `Retry-After` of a failing server is kept, up to its cap.
    pub fn backoff(&self, failed: u32, asked: Option<Duration>) -> Duration {
        let most = doubled(self.backoff_start, failed.saturating_sub(1), self.backoff_cap);
        most.mul_f64(0.5 + 0.5 * rand::random::<f64>()).max(asked.unwrap_or_default().min(self.retry_after_cap))
    }

    /// The pause after the `strike`-th secondary limit in a row, counted from 0.
    pub fn secondary(&self, strike: u32) -> Duration {
        doubled(self.secondary_start, strike, self.secondary_cap)
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
        let tuning = Tuning::default();
        for failed in 1..100 {
            assert!(tuning.backoff(failed, None) <= tuning.backoff_cap);
            let asked = Duration::from_secs(7);
            assert!(tuning.backoff(failed, Some(asked)) >= asked);
        }
        assert!(tuning.backoff(1, None) <= tuning.backoff_start);
        assert!(tuning.backoff(1, Some(Duration::MAX)) <= tuning.retry_after_cap);
    }

    #[test]
    fn all_attempts_together_outlast_a_short_outage() {
        let tuning = Tuning::default();
        let span: Duration = (1..tuning.attempts).map(|failed| tuning.backoff(failed, None)).sum();
        assert!((Duration::from_secs(30)..Duration::from_secs(65)).contains(&span), "{span:?}");
    }

    #[test]
    fn a_secondary_limit_pauses_a_minute_then_longer() {
        let tuning = Tuning::default();
        assert_eq!([0, 1, 2, 90].map(|strike| tuning.secondary(strike).as_secs()), [60, 120, 240, 3600]);
    }
}
