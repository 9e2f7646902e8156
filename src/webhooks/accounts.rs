//! The accounts that are mirrored: those of `orgs.txt`, and the owners of `projects.txt`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use crate::list_files::{ListError, Orgs, Projects};

/// A file as it was last read: its time of change and its size.
type Stamp = Option<(SystemTime, u64)>;

/// The mirrored accounts, which follow their files.
#[derive(Debug)]
pub struct MirroredAccounts {
    orgs: PathBuf,
    projects: PathBuf,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    /// Logins in lower case.
    logins: HashSet<String>,
    stamps: [Stamp; 2],
}

impl MirroredAccounts {
    /// Reads both files.
    ///
    /// # Errors
    /// A file that can't be read or is malformed, or both name no account.
    pub fn read(orgs: &Path, projects: &Path) -> Result<Self, ListError> {
        let stamps = [stamp(orgs), stamp(projects)];
        let logins = read(orgs, projects)?;
        Ok(Self { orgs: orgs.to_owned(), projects: projects.to_owned(), state: RwLock::new(State { logins, stamps }) })
    }

    /// Returns whether any of these logins is mirrored.
    pub fn contains_any(&self, logins: &[String]) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        logins.iter().any(|login| state.logins.contains(&login.to_ascii_lowercase()))
    }

    /// Returns the number of accounts.
    pub fn len(&self) -> usize {
        self.state.read().unwrap_or_else(PoisonError::into_inner).logins.len()
    }

    /// Returns whether no account is mirrored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the files again if one of them has changed; returns whether they were read. The accounts stay as they are
    /// if that fails.
    ///
    /// # Errors
    /// As [`read`](Self::read) has them; each change is reported once.
    pub fn reload(&self) -> Result<bool, ListError> {
        let stamps = [stamp(&self.orgs), stamp(&self.projects)];
        if self.state.read().unwrap_or_else(PoisonError::into_inner).stamps == stamps {
            return Ok(false);
        }
        let logins = read(&self.orgs, &self.projects);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.stamps = stamps;
        state.logins = logins?;
        Ok(true)
    }
}

fn read(orgs: &Path, projects: &Path) -> Result<HashSet<String>, ListError> {
    let listed = Orgs::read(orgs, true)?;
    let projects = Projects::read(projects)?;
    let owners = projects.repositories().map(|name| name.owner().to_ascii_lowercase());
    let logins: HashSet<String> = listed.logins.iter().map(|login| login.to_ascii_lowercase()).chain(owners).collect();
    if logins.is_empty() {
        // Says what is wrong with the file, or that it is missing.
        Orgs::read(orgs, false)?;
    }
    Ok(logins)
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_follow_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let (orgs, projects) = (directory.path().join("orgs.txt"), directory.path().join("projects.txt"));
        assert!(MirroredAccounts::read(&orgs, &projects).unwrap_err().to_string().contains("orgs.txt is not there"));
        std::fs::write(&projects, "octocat Hello-World\n").unwrap();
        let accounts = MirroredAccounts::read(&orgs, &projects).unwrap();
        let has = |login: &str| accounts.contains_any(&[login.to_owned()]);
        assert!(has("Octocat") && !has("contoso") && !accounts.contains_any(&[]));
        assert!(!accounts.reload().unwrap());
        std::fs::write(&orgs, "Contoso\n").unwrap();
        assert!(accounts.reload().unwrap() && has("contoso") && has("octocat"));
        // A file that is being written keeps what was known, and is reported once.
        std::fs::write(&orgs, "no good\n").unwrap();
        assert!(accounts.reload().is_err() && has("contoso") && !accounts.reload().unwrap());
        std::fs::write(&orgs, "fabrikam\n").unwrap();
        assert!(accounts.reload().unwrap() && has("fabrikam") && !has("contoso"));
    }
}
