//! Report of a run over all repositories.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::github::ApiError;
use crate::mirror::{self, MirrorError};

/// The outcome of a repository's retrieval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetrievalStatus {
    /// Complete.
    Done,
    /// Deleted on GitHub, and marked as deleted.
    Gone,
    /// Some stages are incomplete.
    Partial(String),
    /// No token can read it.
    Inaccessible(String),
    /// It could not be retrieved.
    Failed(String),
    /// Another process held its lease all the time.
    Busy(String),
    /// The run ended before it.
    NotReached,
}

impl RetrievalStatus {
    /// Returns the status of a repository that failed with an error.
    pub(super) fn of_error(error: &MirrorError) -> Self {
        match error {
            // Gone and marked: nothing is left to retry.
            MirrorError::Gone(_) => Self::Gone,
            MirrorError::Api(
                ApiError::NoAccess { .. }
                | ApiError::NotFound { .. }
                | ApiError::Forbidden { .. }
                | ApiError::Legal { .. }
                | ApiError::SsoRequired { .. },
            ) => Self::Inaccessible(error.to_string()),
            MirrorError::Busy(who) => Self::Busy(who.clone()),
            error => Self::Failed(error.to_string()),
        }
    }

    /// Returns whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::Gone)
    }

    /// Returns the reason why it is not done.
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Partial(why) | Self::Inaccessible(why) | Self::Failed(why) | Self::Busy(why) => Some(why),
            Self::Done | Self::Gone | Self::NotReached => None,
        }
    }
}

impl fmt::Display for RetrievalStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Gone => "gone",
            Self::Partial(_) => "partial",
            Self::Inaccessible(_) => "inaccessible",
            Self::Failed(_) => "failed",
            Self::Busy(_) => "busy",
            Self::NotReached => "not reached",
        })
    }
}

/// The line of one repository.
#[derive(Debug, Clone)]
pub struct RepositoryResult {
    /// Name that was requested.
    pub repository: String,
    /// Outcome.
    pub state: RetrievalStatus,
    /// Outcome on one line, with what was stored.
    pub summary: String,
    /// Documents new, changed, deleted; requests that count and that don't.
    numbers: [u64; 5],
    /// Duration.
    time: Duration,
}

impl RepositoryResult {
    pub(super) fn new(repository: String, state: RetrievalStatus, time: Duration) -> Self {
        let summary = match &state {
            RetrievalStatus::Gone => "gone, marked as deleted".to_owned(),
            state => state.reason().map_or_else(|| state.to_string(), |why| format!("{state}: {why}")),
        };
        Self { repository, state, summary, numbers: [0; 5], time }
    }

    pub(super) fn not_reached(repository: String) -> Self {
        Self::new(repository, RetrievalStatus::NotReached, Duration::ZERO)
    }

    pub(super) fn of(repository: String, report: &mirror::Report) -> Self {
        let sum = |number: fn(&mirror::StageReport) -> u64| report.stages.iter().map(number).sum();
        let state = if report.is_complete() {
            RetrievalStatus::Done
        } else {
            RetrievalStatus::Partial(report.incomplete_summary())
        };
        Self {
            repository,
            state,
            summary: report.summary(),
            numbers: [
                sum(|stage| stage.new),
                sum(|stage| stage.changed),
                sum(|stage| stage.deleted),
                sum(|stage| stage.requests),
                sum(|stage| stage.free),
            ],
            time: report.time,
        }
    }
}

/// Results of all repositories.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// Result of each repository.
    pub results: Vec<RepositoryResult>,
    /// Duration of the whole run.
    pub time: Duration,
}

impl RunReport {
    /// Returns whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.results.iter().all(|result| result.state.is_done())
    }

    /// Formats the number of repositories by outcome: `3 done, 1 failed`.
    pub fn totals(&self) -> String {
        let mut counts: BTreeMap<u8, (String, usize)> = BTreeMap::new();
        for result in &self.results {
            let place = match result.state {
                RetrievalStatus::Done => 0,
                RetrievalStatus::Gone => 1,
                RetrievalStatus::Partial(_) => 2,
                RetrievalStatus::Inaccessible(_) => 3,
                RetrievalStatus::Failed(_) => 4,
                RetrievalStatus::Busy(_) => 5,
                RetrievalStatus::NotReached => 6,
            };
            counts.entry(place).or_insert_with(|| (result.state.to_string(), 0)).1 += 1;
        }
        let counts: Vec<String> = counts.into_values().map(|(state, count)| format!("{count} {state}")).collect();
        if counts.is_empty() { "nothing was due".to_owned() } else { counts.join(", ") }
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["repository", "result", "new", "changed", "gone", "requests", "free (304)", "time"]);
        let mut total = [0_u64; 5];
        for result in &self.results {
            for (sum, number) in total.iter_mut().zip(result.numbers) {
                *sum += number;
            }
            table.add_row(row(&result.repository, &result.state.to_string(), result.numbers, result.time));
        }
        table.add_row(row("total", "", total, self.time));
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim())?;
        }
        for result in &self.results {
            if let Some(why) = result.state.reason() {
                writeln!(f, "{}: {}: {why}", result.repository, result.state)?;
            }
        }
        writeln!(f, "{}", self.totals())
    }
}

fn row(name: &str, result: &str, numbers: [u64; 5], time: Duration) -> Vec<String> {
    let mut row = vec![name.to_owned(), result.to_owned()];
    row.extend(numbers.map(|number| number.to_string()));
    row.push(format!("{:.1} s", time.as_secs_f64()));
    row
}
