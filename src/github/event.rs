//! What the client tells its user while it works.

use std::fmt;

use chrono::{DateTime, Local, Utc};

use crate::rate_limit::WaitReason;

/// Something the user should know now; `Display` gives the line to show. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// There is no token: GitHub allows 60 requests an hour.
    Anonymous,
    /// No token has anything left: requests wait until then.
    Waiting {
        /// When the next token may go on, on this machine's clock.
        until: DateTime<Utc>,
        /// What is waited for.
        reason: WaitReason,
    },
    /// The wait announced last is over.
    Resumed,
    /// GitHub refused a token (401); it is not used any more in this run.
    TokenRejected {
        /// The token's first characters.
        hint: String,
    },
    /// A token is not used any more in this run, for another reason.
    TokenDisabled {
        /// What users are shown of it.
        hint: String,
        /// GitHub's words, or what was missing.
        why: String,
    },
    /// A token ends soon.
    TokenExpiring {
        /// The token's first characters.
        hint: String,
        /// When GitHub will refuse it.
        at: DateTime<Utc>,
    },
    /// A request failed and is tried again.
    Retrying {
        /// Path and query.
        what: String,
        /// The attempt that failed, counted from 1.
        attempt: u32,
        /// What came back.
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
            Self::Resumed => f.write_str("going on"),
            Self::TokenRejected { hint } => {
                write!(
                    f,
                    "GitHub refused the token {hint} (401): it is expired, revoked or mistyped; going on without it"
                )
            }
            Self::TokenDisabled { hint, why } => write!(f, "{hint} is of no use ({why}); going on without it"),
            Self::TokenExpiring { hint, at } => {
                write!(f, "the token {hint} expires at {}", at.format("%Y-%m-%d %H:%M UTC"))
            }
            Self::Retrying { what, attempt, why } => {
                write!(f, "{what}: attempt {attempt} failed ({why}), trying again")
            }
        }
    }
}

/// A span in the unit a person would use, rounded up.
fn span(span: chrono::TimeDelta) -> String {
    let seconds = span.num_milliseconds().max(0).div_euclid(1000) + 1;
    match seconds {
        ..=90 => format!("{seconds} s"),
        91..=5400 => format!("{} min", (seconds + 59) / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The user's local time of day, with the date when it is not today.
fn clock(at: DateTime<Utc>) -> String {
    let at = at.with_timezone(&Local);
    let form = if at.date_naive() == Local::now().date_naive() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    at.format(form).to_string()
}
