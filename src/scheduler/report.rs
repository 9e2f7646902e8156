//! What a run over all repositories came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::github::ApiError;
use crate::mirror::{self, MirrorError};

/// How a repository's retrieval ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetrievalStatus {
    /// All there is was read.
    Done,
    /// GitHub has it no more, and it is marked so.
    Gone,
    /// Some stages did not come to their end.
    Partial(String),
    /// No token can read it.
    Inaccessible(String),
    /// It could not be retrieved.
    Failed(String),
    /// Another process was at it all the time.
    Busy(String),
    /// The run ended before it.
    NotReached,
}

impl RetrievalStatus {
    /// What an error means for the repository alone.
    pub(super) fn of_error(error: &MirrorError) -> Self {
        match error {
            // That it was marked is all there is to do.
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

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::Gone)
    }

    /// Why it is not done.
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

/// One repository's line.
#[derive(Debug, Clone)]
pub struct RepositoryResult {
    /// The name that it was asked for by.
    pub repository: String,
    /// How it ended.
    pub state: RetrievalStatus,
    /// The same on one line, with what was stored.
    pub summary: String,
    /// Documents stored for the first time, changed, gone; requests that count and that don't.
    numbers: [u64; 5],
    /// How long it took.
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

/// How all went.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// Each repository.
    pub results: Vec<RepositoryResult>,
    /// How long all of it took.
    pub time: Duration,
}

impl RunReport {
    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.results.iter().all(|result| result.state.is_done())
    }

    /// How many repositories ended how: `3 done, 1 failed`.
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
