//! Conditions that stop a run.

use chrono::{DateTime, Days, Local, NaiveTime};

use crate::github::GitHub;

/// Conditions that stop a run before all is done. The next run resumes where it stopped.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopConditions {
    /// Stop at this time.
    pub until: Option<DateTime<Local>>,
    /// Stop after so many requests that count on a rate limit.
    pub max_requests: Option<u64>,
}

impl StopConditions {
    /// Builds the conditions from a time of day, today's or, if that has passed, tomorrow's, and a number of requests.
    pub fn new(until: Option<NaiveTime>, max_requests: Option<u64>, now: DateTime<Local>) -> Self {
        let until = until.and_then(|time| {
            let days = u64::from(time <= now.time());
            // A time that the clock leaves out when summer time begins is an hour later.
            let day = now.date_naive().checked_add_days(Days::new(days))?;
            day.and_time(time)
                .and_local_timezone(Local)
                .earliest()
                .or_else(|| (day.and_time(time) + chrono::TimeDelta::hours(1)).and_local_timezone(Local).earliest())
        });
        Self { until, max_requests }
    }

    /// Applies the conditions to the client. Requests that it has sent already count.
    pub fn apply(&self, github: &GitHub) {
        let left = self.max_requests.map(|most| most.saturating_sub(github.counted()));
        let time = self.until.map(|until| (until - Local::now()).to_std().unwrap_or_default());
        if left.is_some() || time.is_some() {
            github.set_run_quota(left, time, [self.requests_used(), self.time_over()]);
        }
    }

    /// Returns the condition that is met, if any.
    pub fn reached(&self, github: &GitHub) -> Option<String> {
        if self.until.is_some_and(|until| Local::now() >= until) {
            return Some(self.time_over());
        }
        if self.max_requests.is_some_and(|most| github.counted() >= most) {
            return Some(self.requests_used());
        }
        github.run_quota_reached()
    }

    fn time_over(&self) -> String {
        self.until.map_or_else(String::new, |until| format!("it is {} (--until)", until.format("%H:%M")))
    }

    fn requests_used(&self) -> String {
        self.max_requests.map_or_else(String::new, |most| format!("{most} requests are used (--max-requests)"))
    }
}

/// Parses a time of day, `HH:MM`.
///
/// # Errors
/// The expected form.
pub fn parse_time_of_day(text: &str) -> Result<NaiveTime, &'static str> {
    NaiveTime::parse_from_str(text, "%H:%M").map_err(|_| "expected a time of day as HH:MM, 06:30 for example")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeDelta, TimeZone};

    #[test]
    fn a_time_that_has_passed_today_is_tomorrows() {
        let now = Local.with_ymd_and_hms(2026, 11, 25, 22, 0, 0).unwrap();
        let until = |text: &str| StopConditions::new(Some(parse_time_of_day(text).unwrap()), None, now).until.unwrap();
        assert_eq!(until("23:30") - now, TimeDelta::minutes(90));
        assert_eq!(until("06:00") - now, TimeDelta::hours(8));
        assert_eq!(until("22:00") - now, TimeDelta::hours(24));
        assert!(parse_time_of_day("25:00").is_err() && parse_time_of_day("6").is_err());
    }
}
