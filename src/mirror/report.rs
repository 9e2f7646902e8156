//! Report of a run: one line a stage, and what is not complete.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::error::MirrorError;
use super::stats::StageStats;
use crate::github::ApiError;

/// Maximum number of notes shown of one stage; the log has all of them.
const MAX_NOTES: usize = 20;

/// The outcome of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageOutcome {
    /// Complete.
    Done,
    /// The tokens are not permitted to read it; all else is complete.
    NotPermitted(Vec<String>),
    /// The repository has the feature disabled.
    Disabled(Vec<String>),
    /// Complete, but for gaps that no later request can close.
    Limited(Vec<String>),
    /// Incomplete, with what is missing.
    Partial(Vec<String>),
    /// Failed with an error.
    Failed(String),
    /// GitHub could not be reached.
    Unreachable(String),
    /// The run ended before it.
    NotReached(String),
}

impl StageOutcome {
    /// Returns whether nothing failed and nothing readable is missing.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Done | Self::NotPermitted(_) | Self::Disabled(_) | Self::Limited(_))
    }

    /// Returns the notes on it.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Done => &[],
            Self::NotPermitted(notes) | Self::Disabled(notes) | Self::Limited(notes) | Self::Partial(notes) => notes,
            Self::Failed(note) | Self::Unreachable(note) | Self::NotReached(note) => std::slice::from_ref(note),
        }
    }
}

impl fmt::Display for StageOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::NotPermitted(_) => "not permitted",
            Self::Disabled(_) => "disabled",
            Self::Limited(_) => "limited",
            Self::Partial(_) => "incomplete",
            Self::Failed(_) | Self::Unreachable(_) => "failed",
            Self::NotReached(_) => "not reached",
        })
    }
}

/// The line of one stage.
#[derive(Debug, Clone)]
pub struct StageReport {
    /// Name of the stage.
    pub stage: &'static str,
    /// Outcome.
    pub outcome: StageOutcome,
    /// Documents stored for the first time.
    pub new: u64,
    /// Documents whose content changed.
    pub changed: u64,
    /// Documents that were fetched again unchanged.
    pub unchanged: u64,
    /// Documents marked as deleted on GitHub.
    pub deleted: u64,
    /// Requests that count on the rate limit.
    pub requests: u64,
    /// Requests answered 304, which do not.
    pub free: u64,
    /// Duration.
    pub time: Duration,
}

/// The end of a stage that was reached.
pub struct StageEnd<'a> {
    /// Result.
    pub result: &'a Result<(), MirrorError>,
    /// Reason why it was aborted, if that ended the whole run.
    pub aborted_by: Option<&'a str>,
    /// Duration.
    pub time: Duration,
}

impl StageReport {
    /// Builds a stage's line from its statistics and its end, if it was reached.
    pub fn of(stage: &'static str, stats: &StageStats, end: Option<&StageEnd<'_>>) -> Self {
        let notes = |list: &Mutex<Vec<String>>| list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let incomplete = [notes(&stats.incomplete), stats.counts.rejected()].concat();
        let refusals = notes(&stats.not_permitted);
        let (disabled, final_gaps) = (notes(&stats.disabled), notes(&stats.final_gaps));
        let outcome = match end {
            None => StageOutcome::NotReached("the run ended before it".to_owned()),
            Some(StageEnd { aborted_by: Some(why), .. }) => StageOutcome::NotReached((*why).to_owned()),
            Some(StageEnd { result: Err(error @ MirrorError::Api(ApiError::Connect { .. })), .. }) => {
                StageOutcome::Unreachable(error.to_string())
            }
            Some(StageEnd { result: Err(error), .. }) => StageOutcome::Failed(error.to_string()),
            // The worst outcome wins; other notes follow.
            Some(_) if !incomplete.is_empty() => {
                StageOutcome::Partial([incomplete, refusals, disabled, final_gaps].concat())
            }
            Some(_) if !refusals.is_empty() => StageOutcome::NotPermitted([refusals, disabled, final_gaps].concat()),
            Some(_) if !disabled.is_empty() => StageOutcome::Disabled([disabled, final_gaps].concat()),
            Some(_) if !final_gaps.is_empty() => StageOutcome::Limited(final_gaps),
            Some(_) => StageOutcome::Done,
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            stage,
            outcome,
            new: count(&stats.counts.new),
            changed: count(&stats.counts.changed),
            unchanged: count(&stats.counts.unchanged),
            deleted: count(&stats.counts.deleted),
            requests: stats.counter.counted(),
            free: stats.counter.not_modified(),
            time: end.map_or(Duration::ZERO, |end| end.time),
        }
    }
}

/// The report of a repository or an account.
#[derive(Debug, Clone)]
pub struct Report {
    /// Repository or account, in GitHub's spelling.
    pub resource: String,
    /// Stages, in the order of the command's help.
    pub stages: Vec<StageReport>,
    /// Duration.
    pub time: Duration,
}

impl Report {
    /// Returns whether every stage is complete.
    pub fn is_complete(&self) -> bool {
        self.incomplete_stages() == 0
    }

    /// Returns whether only GitHub's unavailability kept it from being complete.
    pub fn is_cut_off_by_an_outage(&self) -> bool {
        let mut incomplete = self.stages.iter().map(|stage| &stage.outcome).filter(|outcome| !outcome.is_complete());
        let any = self.stages.iter().any(|stage| matches!(stage.outcome, StageOutcome::Unreachable(_)));
        any && incomplete.all(|outcome| matches!(outcome, StageOutcome::Unreachable(_) | StageOutcome::NotReached(_)))
    }

    /// Returns the number of incomplete stages.
    pub fn incomplete_stages(&self) -> usize {
        self.stages.iter().filter(|stage| !stage.outcome.is_complete()).count()
    }
}

impl Report {
    /// Formats the report on one line: what was stored at which cost, or what is not complete.
    pub fn summary(&self) -> String {
        let sum = |number: fn(&StageReport) -> u64| self.stages.iter().map(number).sum::<u64>();
        let stored = format!(
            "{} new, {} changed, {} gone, {} requests, {} free, {}",
            sum(|stage| stage.new),
            sum(|stage| stage.changed),
            sum(|stage| stage.deleted),
            sum(|stage| stage.requests),
            sum(|stage| stage.free),
            seconds(self.time)
        );
        if self.is_complete() {
            let refused = self.stages.iter().filter(|stage| matches!(stage.outcome, StageOutcome::NotPermitted(_)));
            let refused: String = refused.map(|stage| format!("; {} {}", stage.stage, stage.outcome)).collect();
            return format!("done: {stored}{refused}");
        }
        format!("incomplete: {}; {stored}", self.incomplete_summary())
    }

    /// Formats the incomplete stages, with the first reason of each.
    pub fn incomplete_summary(&self) -> String {
        let incomplete = self.stages.iter().filter(|stage| !stage.outcome.is_complete());
        let notes: Vec<String> = incomplete
            .map(|stage| {
                let note = stage.outcome.notes().first().map(|note| format!(": {note}")).unwrap_or_default();
                format!("{} {}{note}", stage.stage, stage.outcome)
            })
            .collect();
        notes.join("; ")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["stage", "result", "new", "changed", "unchanged", "gone", "requests", "free (304)", "time"]);
        let mut total = [0_u64; 6];
        for stage in &self.stages {
            let numbers = [stage.new, stage.changed, stage.unchanged, stage.deleted, stage.requests, stage.free];
            for (sum, number) in total.iter_mut().zip(numbers) {
                *sum += number;
            }
            let mut row = vec![stage.stage.to_string(), stage.outcome.to_string()];
            row.extend(numbers.map(|number| number.to_string()));
            row.push(seconds(stage.time));
            table.add_row(row);
        }
        let mut row = vec!["total".to_owned(), String::new()];
        row.extend(total.map(|number| number.to_string()));
        row.push(seconds(self.time));
        table.add_row(row);
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{}", self.resource)?;
        writeln!(f, "{table}")?;
        for stage in &self.stages {
            let notes = stage.outcome.notes();
            for note in notes.iter().take(MAX_NOTES) {
                writeln!(f, "{}: {}: {note}", stage.stage, stage.outcome)?;
            }
            if let Some(more) = notes.len().checked_sub(MAX_NOTES).filter(|more| *more > 0) {
                writeln!(f, "{}: {}: and {more} more, each in the log", stage.stage, stage.outcome)?;
            }
        }
        Ok(())
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: &[StageOutcome]) -> Report {
        let stage = |outcome: &StageOutcome| StageReport {
            stage: "repo",
            outcome: outcome.clone(),
            new: 0,
            changed: 0,
            unchanged: 0,
            deleted: 0,
            requests: 0,
            free: 0,
            time: Duration::ZERO,
        };
        Report { resource: "a/b".to_owned(), stages: outcomes.iter().map(stage).collect(), time: Duration::ZERO }
    }

    #[test]
    fn only_what_nothing_but_an_outage_has_cut_off_is_no_fault_of_its_own() {
        let unreachable = || StageOutcome::Unreachable("refused".to_owned());
        let not_reached = || StageOutcome::NotReached("before".to_owned());
        assert!(report(&[StageOutcome::Done, unreachable(), not_reached()]).is_cut_off_by_an_outage());
        assert!(!report(&[unreachable(), StageOutcome::Failed("422".to_owned())]).is_cut_off_by_an_outage());
        assert!(!report(&[unreachable(), StageOutcome::Partial(vec!["3 of 4".to_owned()])]).is_cut_off_by_an_outage());
        assert!(!report(&[StageOutcome::Done, not_reached()]).is_cut_off_by_an_outage());
        assert!(!report(&[StageOutcome::Done]).is_cut_off_by_an_outage());
    }
}
