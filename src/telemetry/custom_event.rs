//! Custom events, with the names and properties of the first msght.

use std::fmt;

/// An event that operators count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomEvent<'a> {
    /// A run over all repositories begins.
    DataCollectionStarting,
    /// A repository's retrieval begins.
    BeginningDataAcquisition {
        /// Its owner.
        organization: &'a str,
        /// Its name.
        repository: &'a str,
    },
    /// A repository's retrieval is complete.
    RepoDataGathered {
        /// Its owner.
        organization: &'a str,
        /// Its name.
        repository: &'a str,
    },
    /// A token was denied access to a repository.
    KeyDoesNotHaveAccess {
        /// The hint of the token.
        hint: &'a str,
        /// The repository's owner.
        organization: &'a str,
        /// The repository's name.
        repository: &'a str,
    },
    /// No token can read a repository.
    InaccessibleRepo {
        /// Its owner.
        organization: &'a str,
        /// Its name.
        repository: &'a str,
    },
    /// A run over all repositories has ended.
    DataCollectionComplete,
    /// The webhook server has received an event.
    ReceivedEvent {
        /// Its type, as its delivery names it.
        kind: &'a str,
        /// The number of its delivery.
        id: &'a str,
    },
}

impl fmt::Display for CustomEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataCollectionStarting => "Data Collection Starting",
            Self::BeginningDataAcquisition { .. } => "Beginning Data Acquisition",
            Self::RepoDataGathered { .. } => "Repo Data Gathered",
            Self::KeyDoesNotHaveAccess { .. } => "Key Does Not Have Access to Repo",
            Self::InaccessibleRepo { .. } => "Inaccessible Repo",
            Self::DataCollectionComplete => "Data Collection Complete",
            Self::ReceivedEvent { .. } => "WEBHOOKS: Received Event",
        })
    }
}

impl CustomEvent<'_> {
    /// Returns the properties by name.
    fn properties(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::DataCollectionStarting | Self::DataCollectionComplete => Vec::new(),
            Self::BeginningDataAcquisition { organization, repository }
            | Self::RepoDataGathered { organization, repository }
            | Self::InaccessibleRepo { organization, repository } => {
                vec![("Repository", (*repository).to_owned()), ("Organization", (*organization).to_owned())]
            }
            Self::KeyDoesNotHaveAccess { hint, organization, repository } => vec![
                ("Key", hint.trim_end_matches('…').to_owned()),
                ("Repository", (*repository).to_owned()),
                ("Org", (*organization).to_owned()),
            ],
            Self::ReceivedEvent { kind, id } => vec![("Type", (*kind).to_owned()), ("ID", (*id).to_owned())],
        }
    }

    /// Writes the event to the log.
    pub fn emit(&self) {
        let properties: Vec<String> =
            self.properties().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        tracing::info!(target: "msght::event", event = %self, properties = properties.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_properties_are_stable() {
        let event = CustomEvent::KeyDoesNotHaveAccess { hint: "ghp_…", organization: "contoso", repository: "web" };
        assert_eq!(event.to_string(), "Key Does Not Have Access to Repo");
        let of =
            |name: &str, value: &str| (Box::leak(name.to_owned().into_boxed_str()) as &'static str, value.to_owned());
        assert_eq!(event.properties(), [of("Key", "ghp_"), of("Repository", "web"), of("Org", "contoso")]);
    }
}
