//! Retries while a server is away: how long, how often, and what is reported to the user.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Delay after the first failure; each further one is twice as long.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// Upper bound on the delay between attempts: a server that is back is noticed soon.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// Upper bound on the delay after a conflict with another client.
const MAX_CONFLICT_DELAY: Duration = Duration::from_millis(50);
/// Minimum time for which conflicts are retried, whatever the timeout: they are no sign of an outage.
const MIN_CONFLICT_TIMEOUT: Duration = Duration::from_secs(10);
/// Duration from which an outage is reported to the user.
const REPORT_AFTER: Duration = Duration::from_secs(1);

/// The classification of a failure by whether a retry helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retryability {
    /// The same would happen again.
    Permanent,
    /// Another client interfered (a deadlock, a lost race): retry within 50 ms.
    Conflict,
    /// The server is away or accepts no work at the moment: retry with backoff.
    Unavailable,
}

/// The limits of retries, and the receiver of reports about outages. Clones share what was reported.
#[derive(Clone)]
pub struct RetryPolicy {
    timeout: Duration,
    notify: Arc<dyn Fn(&str) + Send + Sync>,
    reported: Arc<AtomicBool>,
    cancel: CancellationToken,
}

impl RetryPolicy {
    /// Creates a policy. `timeout` limits the time of one operation with its retries; zero means a single attempt. `notify`
    /// receives a line when an outage lasts, and when it is over.
    pub fn new(timeout: Duration, notify: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { timeout, notify: Arc::new(notify), reported: Arc::default(), cancel: CancellationToken::new() }
    }

    /// Ends all retries once `cancel` is canceled: an operation then fails at its next failure.
    #[must_use]
    pub fn canceled_by(self, cancel: CancellationToken) -> Self {
        Self { cancel, ..self }
    }

    /// Returns the same policy for another server, whose outages are reported separately.
    pub fn for_backend(&self) -> Self {
        Self { reported: Arc::default(), ..self.clone() }
    }

    /// Returns the limit for one operation with its retries.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs `attempt` until it succeeds, fails permanently or the timeout passes. It must be idempotent: an attempt may have
    /// succeeded although its reply was lost. `server` is shown to users; pass it redacted.
    ///
    /// # Errors
    /// The last attempt's error.
    pub async fn retry<T, E, F>(
        &self,
        server: &str,
        retryability: impl Fn(&E) -> Retryability,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, E>
    where
        E: Display,
        F: Future<Output = Result<T, E>>,
    {
        let started = Instant::now();
        let mut outages = 0;
        let mut last = None;
        loop {
            let done = tokio::select! {
                biased;
                done = attempt() => done,
                // An attempt may itself take long while the server is away.
                () = self.cancel.cancelled(), if last.is_some() => match last.take() {
                    Some(error) => return Err(error),
                    None => continue,
                },
            };
            let error = match done {
                Ok(done) => {
                    if self.reported.swap(false, Ordering::Relaxed) {
                        self.notify(&format!("{server} is back; continuing"));
                    }
                    return Ok(done);
                }
                Err(error) => error,
            };
            let wait = match retryability(&error) {
                Retryability::Permanent => return Err(error),
                Retryability::Conflict => MAX_CONFLICT_DELAY.mul_f64(rand::rng().random_range(0.1..1.0)),
                Retryability::Unavailable => {
                    outages += 1;
                    let wait = INITIAL_BACKOFF.saturating_mul(1 << (outages - 1).min(16)).min(MAX_BACKOFF);
                    wait.mul_f64(rand::rng().random_range(0.5..1.0))
                }
            };
            let spent = started.elapsed();
            let limit = if outages == 0 { self.timeout.max(MIN_CONFLICT_TIMEOUT) } else { self.timeout };
            if spent + wait > limit {
                return Err(error);
            }
            tracing::warn!(server, %error, "retrying");
            if outages > 0 && spent >= REPORT_AFTER && !self.reported.swap(true, Ordering::Relaxed) {
                let left = self.timeout.saturating_sub(spent).as_secs();
                self.notify(&format!("{server} can't be reached ({error}); retrying for up to {left} s"));
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = self.cancel.cancelled(), if outages > 0 => return Err(error),
            }
            last = Some(error).filter(|_| outages > 0);
        }
    }

    /// Reports a line about a server to the user and the log.
    pub fn notify(&self, line: &str) {
        tracing::warn!("{line}");
        (self.notify)(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn retry_policy(seconds: u64) -> (RetryPolicy, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&lines);
        (RetryPolicy::new(Duration::from_secs(seconds), move |line| told.lock().unwrap().push(line.to_owned())), lines)
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_retried_and_reported_once() {
        let (retry_policy, lines) = retry_policy(60);
        let mut attempts = 0;
        let done = retry_policy.retry(
            "mysql://h",
            |_: &String| Retryability::Unavailable,
            || {
                attempts += 1;
                let attempt = attempts;
                async move { if attempt < 12 { Err("refused".to_owned()) } else { Ok(attempt) } }
            },
        );
        assert_eq!(done.await, Ok(12));
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("mysql://h can't be reached (refused)") && lines[1].contains("is back"));
    }

    #[tokio::test(start_paused = true)]
    async fn cancellation_ends_retries() {
        let (retry_policy, _) = retry_policy(300);
        let cancel = CancellationToken::new();
        let retry_policy = retry_policy.canceled_by(cancel.clone());
        let began = Instant::now();
        let stop = async {
            sleep(Duration::from_secs(5)).await;
            cancel.cancel();
        };
        let refused = || async { Err::<(), _>("refused") };
        let (result, ()) = tokio::join!(retry_policy.retry("s", |_| Retryability::Unavailable, refused), stop);
        assert_eq!((result, began.elapsed().as_secs()), (Err("refused"), 5));
        // A hanging attempt is abandoned as well, and a working server is still used.
        let mut attempts = 0;
        let hangs = || {
            attempts += 1;
            let first = attempts == 1;
            async move { if first { Err::<(), _>("refused") } else { std::future::pending().await } }
        };
        assert!(retry_policy.retry("s", |_| Retryability::Unavailable, hangs).await.is_err());
        assert_eq!(retry_policy.retry("s", |_: &&str| Retryability::Unavailable, || async { Ok(1) }).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn retries_end_with_the_timeout_and_at_permanent_failures() {
        let (retry_policy, _) = retry_policy(10);
        let began = Instant::now();
        let refused = || async { Err::<(), _>("refused") };
        assert!(retry_policy.retry("s", |_| Retryability::Unavailable, refused).await.is_err());
        assert!(began.elapsed() <= Duration::from_secs(10) && began.elapsed() > Duration::from_secs(5));
        let began = Instant::now();
        assert!(retry_policy.retry("s", |_| Retryability::Permanent, refused).await.is_err());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
