//! The levels of the log.

use std::fmt;

use clap::ValueEnum;

/// A log level, from the most severe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Failures
    Error,
    /// Warnings
    Warn,
    /// Completed work
    Info,
    /// Every request
    Debug,
    /// Everything
    Trace,
}

impl Level {
    /// Returns the level's name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
