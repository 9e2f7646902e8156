//! Waiting for a server that is away: how long, how often it is tried again, and what the user is told.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The first wait after a failure; each further one is twice as long.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// The longest wait between two attempts: a server that is back is noticed soon.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// After a collision with another client the next attempt comes within this time.
const MAX_CONFLICT_DELAY: Duration = Duration::from_millis(50);
/// Collisions are tried through for this long at least: they say nothing of the server.
const MIN_CONFLICT_TIMEOUT: Duration = Duration::from_secs(10);
/// An outage shorter than this is no news for the user.
const REPORT_AFTER: Duration = Duration::from_secs(1);

/// Whether a failure passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retryability {
    /// It would be the same again.
    Permanent,
    /// Another client was in the way (a deadlock, a lost race): try again at once.
    Conflict,
    /// The server is away, or does not take work at the moment: it may come back.
    Unavailable,
}

/// How long a server that fails is waited for, and who is told. Clones share what was told.
#[derive(Clone)]
pub struct RetryPolicy {
    timeout: Duration,
    notify: Arc<dyn Fn(&str) + Send + Sync>,
    told: Arc<AtomicBool>,
    cancel: CancellationToken,
}

impl RetryPolicy {
    /// `timeout`: how long one piece of work is tried before its error counts; zero for a single attempt.
    /// `notify` gets a line when an outage begins to last, and when it is over.
    pub fn new(timeout: Duration, notify: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { timeout, notify: Arc::new(notify), told: Arc::default(), cancel: CancellationToken::new() }
    }

    /// Waits for no server any more once this is cancelled: work that a server is needed for fails at its next failure.
    #[must_use]
    pub fn cancelled_by(self, cancel: CancellationToken) -> Self {
        Self { cancel, ..self }
    }

    /// The same timeout for another server, whose outages are told by themselves.
    pub fn for_backend(&self) -> Self {
        Self { told: Arc::default(), ..self.clone() }
    }

    /// How long one piece of work is tried.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Tries until it succeeds, fails for good, or the time is over. `server` names it to the user, without secrets.
    /// What is attempted has to be safe to repeat: an attempt may have succeeded without the answer coming back.
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
                // An attempt at a server that is away may itself take long.
                () = self.cancel.cancelled(), if last.is_some() => match last.take() {
                    Some(error) => return Err(error),
                    None => continue,
                },
            };
            let error = match done {
                Ok(done) => {
                    if self.told.swap(false, Ordering::Relaxed) {
                        self.notify(&format!("{server} is back, going on"));
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
            let most = if outages == 0 { self.timeout.max(MIN_CONFLICT_TIMEOUT) } else { self.timeout };
            if spent + wait > most {
                return Err(error);
            }
            tracing::warn!(server, %error, "trying again");
            if outages > 0 && spent >= REPORT_AFTER && !self.told.swap(true, Ordering::Relaxed) {
                let left = self.timeout.saturating_sub(spent).as_secs();
                self.notify(&format!("{server} can't be reached ({error}); waiting up to {left} s for it"));
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = self.cancel.cancelled(), if outages > 0 => return Err(error),
            }
            last = Some(error).filter(|_| outages > 0);
        }
    }

    /// Tells the user something about a store.
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
    async fn an_outage_is_waited_through_and_told_once() {
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
    async fn cancellation_ends_waiting() {
        let (retry_policy, _) = retry_policy(300);
        let cancel = CancellationToken::new();
        let retry_policy = retry_policy.cancelled_by(cancel.clone());
        let began = Instant::now();
        let stop = async {
            sleep(Duration::from_secs(5)).await;
            cancel.cancel();
        };
        let refused = || async { Err::<(), _>("refused") };
        let (result, ()) = tokio::join!(retry_policy.retry("s", |_| Retryability::Unavailable, refused), stop);
        assert_eq!((result, began.elapsed().as_secs()), (Err("refused"), 5));
        // An attempt that hangs is given up as well, and what is there is still done.
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
    async fn patience_ends_and_what_does_not_pass_is_not_waited_for() {
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
