//! Update of a repository's own row and document by one request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::MirrorError;
use super::options::Options;
use super::resolve::ResolvedRepository;
use super::session::Mirror;
use super::stats::StageStats;
use super::writer::Writer;
use crate::names::RepoName;

/// The result of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Not known before.
    New,
    /// Unchanged.
    Unchanged,
    /// Changed.
    Changed,
    /// Renamed since it was requested or stored.
    Renamed {
        /// Former name.
        from: String,
    },
    /// Deleted on GitHub, and marked as deleted.
    Gone,
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::Unchanged => f.write_str("unchanged"),
            Self::Changed => f.write_str("changed"),
            Self::Renamed { from } => write!(f, "renamed from {from}"),
            Self::Gone => f.write_str("gone, marked deleted"),
        }
    }
}

impl Mirror {
    /// Fetches a repository alone and stores its row and document. Returns its name in GitHub's spelling and the
    /// result.
    ///
    /// # Errors
    /// No token can read the repository and it is not known, GitHub does not answer for it, or a store can't be used.
    pub async fn update_repository(&self, name: &RepoName) -> Result<(String, Update), MirrorError> {
        let stats = StageStats::default();
        let (writer, tasks) = Writer::start(&self.stores);
        let resolved = self.resolve(name, &Options::of(Vec::new()), &stats, &writer).await;
        let stored = if resolved.is_ok() { writer.flush().await } else { Ok(()) };
        drop(writer);
        tasks.finished().await;
        let ResolvedRepository { repository, renamed_from, .. } = match resolved {
            Err(MirrorError::Gone(_)) => return Ok((name.to_string(), Update::Gone)),
            resolved => resolved?,
        };
        stored?;
        let counts = Arc::clone(&stats.counts);
        let present = repository.name.to_string();
        let asked = name.to_string();
        let from = renamed_from.or_else(|| (!asked.eq_ignore_ascii_case(&present)).then_some(asked));
        let update = match from {
            Some(from) => Update::Renamed { from },
            None if counts.new.load(Ordering::Relaxed) > 0 => Update::New,
            None if counts.changed.load(Ordering::Relaxed) > 0 => Update::Changed,
            None => Update::Unchanged,
        };
        Ok((present, update))
    }
}
