//! Options of `msght load`.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use clap::Args;

use super::{UsageError, parsers};
use crate::config::parse_duration;
use crate::queue::Route;

/// Options of `msght load`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    msght load --route projects --file projects.txt\n  \
    msght load --route users --file -\n  \
    msght load --dead --type PushEvent\n  \
    msght load --since 2026-11-20 --until 2026-11-21T12:00 --rate 600/min\n\n\
    Stored events and dead letters go straight onto msght's own queues: other consumers don't see them. With --republish \
    the events go to the exchange, and every consumer of it gets them a second time.")]
pub struct LoadArgs {
    /// Route: projects or users; with --dead also log or evt.TYPE
    #[arg(long, value_name = "ROUTE", required_unless_present_any = ["dead", "since"], conflicts_with = "kind")]
    pub route: Option<Route>,
    /// File with one message per line: ORG REPO, ORG/REPO or a login; # starts a comment; - for standard input
    #[arg(long, value_name = "FILE", required_unless_present_any = ["dead", "since"], conflicts_with_all = ["dead", "since"])]
    pub file: Option<PathBuf>,
    /// Requeue dead letters instead: the route's, or those of events, of one type or of all
    #[arg(long, conflicts_with = "since")]
    pub dead: bool,
    /// Requeue stored events since this time: a date, a date with a time (UTC), or a duration before now such as 6h
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "route")]
    pub since: Option<DateTime<Utc>>,
    /// Requeue only events before this time
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "since")]
    pub until: Option<DateTime<Utc>>,
    /// Requeue only events, or dead letters of events, of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = parsers::event_type)]
    pub kind: Option<String>,
    /// Maximum number of events per minute, such as 600/min
    #[arg(long, value_name = "N/min", value_parser = rate, requires = "since")]
    pub rate: Option<u32>,
    /// Publish the events to the exchange again: every consumer gets them a second time
    #[arg(long, requires = "since")]
    pub republish: bool,
}

impl LoadArgs {
    /// Checks that messages of the route can be named in a file: repositories and users can.
    pub(super) fn check(&self) -> Result<(), UsageError> {
        if let (Some(route), Some(_)) = (&self.route, &self.file)
            && !matches!(route, Route::Projects | Route::Users)
        {
            return Err(UsageError(format!("--route {route} takes no file: expected projects or users, or --dead")));
        }
        if self.file.is_some() && self.kind.is_some() {
            return Err(UsageError("--type goes with --dead or --since, not with --file".to_owned()));
        }
        if self.since.zip(self.until).is_some_and(|(since, until)| since >= until) {
            return Err(UsageError("--until is not after --since".to_owned()));
        }
        Ok(())
    }
}

/// Parses a moment: a date, a date with a time in UTC, or a duration before now.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let expected = || "expected 2026-11-20, 2026-11-20T08:00, 2026-11-20T08:00:00Z, or a time before now such as 6h";
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    for format in ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(text, format) {
            return Ok(at.and_utc());
        }
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(date.and_time(NaiveTime::MIN).and_utc());
    }
    let before = parse_duration(text).and_then(|before| chrono::Duration::from_std(before).ok());
    before.and_then(|before| Utc::now().checked_sub_signed(before)).ok_or_else(|| expected().to_owned())
}

/// Parses a rate of events per minute.
fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/min").unwrap_or(text).trim().parse().ok();
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| "expected a number of events per minute, such as 600/min".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_times_and_durations() {
        let at = |text: &str| moment(text).unwrap().to_rfc3339();
        assert_eq!(at("2026-11-20"), "2026-11-20T00:00:00+00:00");
        assert_eq!(at("2026-11-20T08:30"), "2026-11-20T08:30:00+00:00");
        assert_eq!(at("2026-11-20T08:30:00+01:00"), "2026-11-20T07:30:00+00:00");
        assert!(moment("6h").unwrap() < Utc::now());
        for bad in ["", "yesterday", "2026-13-01", "-1h"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
        assert_eq!((rate("600/min"), rate("5")), (Ok(600), Ok(5)));
        assert!(rate("0/min").is_err() && rate("x").is_err());
    }
}
