//! The origin of a value: default, file, environment or flag.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The source of a setting's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in default.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable, or several whose values add up.
    Environment(String),
    /// A command-line flag.
    Flag(String),
}

impl Origin {
    /// Returns the kind of source: `default`, `file`, `environment` or `flag`.
    pub fn kind(&self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::File(_) => "file",
            Origin::Environment(_) => "environment",
            Origin::Flag(_) => "flag",
        }
    }

    /// Returns the file's path, or the variable's or flag's name.
    pub fn name(&self) -> Option<String> {
        match self {
            Origin::Default => None,
            Origin::File(path) => Some(path.display().to_string()),
            Origin::Environment(name) | Origin::Flag(name) => Some(name.clone()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The origins of the keys that a source sets.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Origins(pub(super) BTreeMap<&'static str, Origin>);

impl Origins {
    /// Returns a key's origin: the default unless a source sets it.
    pub(super) fn of(&self, key: &str) -> &Origin {
        self.0.get(key).unwrap_or(&Origin::Default)
    }
}
