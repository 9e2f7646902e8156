//! Events that the client reports to its user while it works.

use std::fmt;

use chrono::{DateTime, Local, Utc};

use crate::rate_limit::WaitReason;

/// An event that the user should know of; `Display` gives the line to show. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// No token is configured: GitHub allows 60 requests an hour.
    Anonymous,
    /// No token has requests left: requests wait.
    Waiting {
        /// Time at which the next token is available, on this machine's clock.
        until: DateTime<Utc>,
        /// The reason of the wait.
        reason: WaitReason,
    },
    /// The wait reported last is over.
    Resumed,
    /// GitHub rejected a token (401); it is disabled for the rest of the run.
    TokenRejected {
        /// The token's first characters.
        hint: String,
    },
    /// A token is disabled for the rest of the run, for another reason.
    TokenDisabled {
        /// The token's first characters, or the App's name.
        hint: String,
        /// GitHub's message, or what is wrong with it.
        why: String,
    },
    /// A token expires soon.
    TokenExpiring {
        /// The token's first characters.
        hint: String,
        /// Its expiry.
        at: DateTime<Utc>,
    },
    /// A request failed and is retried.
    Retrying {
        /// Path and query.
        what: String,
        /// The attempt that failed, counted from 1.
        attempt: u32,
        /// The response or failure.
        why: String,
    },
}

impl fmt::Display for ClientEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str(
                "no token is set: GitHub allows 60 requests an hour and shows public data only; set GITHUB_TOKEN",
            ),
            Self::Waiting { until, reason } => {
                write!(f, "waiting {} for {reason}, until {}", span(*until - Utc::now()), clock(*until))
            }
            Self::Resumed => f.write_str("resuming"),
            Self::TokenRejected { hint } => {
                write!(
                    f,
                    "GitHub rejected the token {hint} (401): it is expired, revoked or mistyped; continuing without it"
                )
            }
            Self::TokenDisabled { hint, why } => write!(f, "{hint} is disabled ({why}); continuing without it"),
            Self::TokenExpiring { hint, at } => {
                write!(f, "the token {hint} expires at {}", at.format("%Y-%m-%d %H:%M UTC"))
            }
            Self::Retrying { what, attempt, why } => {
                write!(f, "{what}: attempt {attempt} failed ({why}), retrying")
            }
        }
    }
}

/// Formats a span in the unit a person would use, rounded up.
fn span(span: chrono::TimeDelta) -> String {
    let seconds = span.num_milliseconds().max(0).div_euclid(1000) + 1;
    match seconds {
        ..=90 => format!("{seconds} s"),
        91..=5400 => format!("{} min", (seconds + 59) / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Formats the user's local time of day, with the date if it is not today.
fn clock(at: DateTime<Utc>) -> String {
    let at = at.with_timezone(&Local);
    let form = if at.date_naive() == Local::now().date_naive() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    at.format(form).to_string()
}
