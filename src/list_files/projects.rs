//! `projects.txt`: the repositories to mirror.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::{ListError, atomic_write, lines, read};
use crate::names::RepoName;

/// The repositories of a `projects.txt`, by owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projects {
    path: PathBuf,
    text: String,
    owners: Vec<Owner>,
    /// Indices into `owners` by lower-case login.
    indices: HashMap<String, usize>,
    /// Comments after the last repository.
    trailing_comments: Vec<String>,
    /// The repositories that [`set`](Self::set) replaced, by the owner's lower-case login.
    replaced: HashMap<String, Vec<RepoName>>,
}

/// The repositories of one owner, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    login: String,
    /// Comments before any of them.
    comments: Vec<String>,
    repositories: Vec<RepoName>,
}

impl Projects {
    /// Reads the file; one that does not exist names no repository.
    ///
    /// # Errors
    /// A file that can't be read or contains a malformed line.
    pub fn read(path: &Path) -> Result<Self, ListError> {
        let text = read(path)?.unwrap_or_default();
        let mut projects = Self {
            path: path.to_owned(),
            text: String::new(),
            owners: Vec::new(),
            indices: HashMap::new(),
            trailing_comments: Vec::new(),
            replaced: HashMap::new(),
        };
        let mut seen = HashSet::new();
        for line in lines(&text) {
            if line.word.is_empty() {
                if !line.text.trim().is_empty() {
                    projects.trailing_comments.push(line.text.to_owned());
                }
                continue;
            }
            let name = RepoName::parse_line(line.word).map_err(|error| ListError::Malformed {
                path: path.to_owned(),
                line: line.number,
                problem: error.to_string(),
            })?;
            let comments = std::mem::take(&mut projects.trailing_comments);
            let owner = projects.owner(name.owner());
            owner.comments.extend(comments);
            if seen.insert(name.folded()) {
                owner.repositories.push(name);
            }
        }
        projects.text = text;
        Ok(projects)
    }

    fn owner(&mut self, login: &str) -> &mut Owner {
        let at = *self.indices.entry(login.to_ascii_lowercase()).or_insert_with(|| {
            self.owners.push(Owner { login: login.to_owned(), comments: Vec::new(), repositories: Vec::new() });
            self.owners.len() - 1
        });
        &mut self.owners[at]
    }

    /// Checks that the file can be replaced.
    ///
    /// # Errors
    /// It can't.
    pub fn check_writable(&self) -> Result<(), ListError> {
        atomic_write::check(&self.path)
    }

    /// Returns all repositories, in the file's order.
    pub fn repositories(&self) -> impl Iterator<Item = &RepoName> {
        self.owners.iter().flat_map(|owner| &owner.repositories)
    }

    /// Returns the repositories of one owner.
    pub fn of(&self, login: &str) -> Vec<RepoName> {
        let owner = self.indices.get(&login.to_ascii_lowercase()).and_then(|at| self.owners.get(*at));
        owner.map(|owner| owner.repositories.clone()).unwrap_or_default()
    }

    /// Replaces an owner's repositories.
    pub fn set(&mut self, login: &str, mut repositories: Vec<RepoName>) {
        repositories.sort_by_cached_key(|name| (name.name().to_lowercase(), name.name().to_owned()));
        let before = std::mem::replace(&mut self.owner(login).repositories, repositories);
        self.replaced.entry(login.to_ascii_lowercase()).or_insert(before);
    }

    /// Writes the file if its content changes. Comments stay before their owner's repositories.
    ///
    /// The file is read again first: lines that were added meanwhile, and the lines of other owners, stay.
    ///
    /// # Errors
    /// The file now contains a malformed line, or can't be written; it is unchanged then.
    pub fn write(&mut self) -> Result<(), ListError> {
        let _lock = atomic_write::lock(&self.path);
        let mut current = Self::read(&self.path)?;
        for Owner { login, repositories, .. } in &self.owners {
            let Some(before) = self.replaced.get(&login.to_ascii_lowercase()) else { continue };
            let known: HashSet<String> = before.iter().map(RepoName::folded).collect();
            let mut repositories = repositories.clone();
            let set: HashSet<String> = repositories.iter().map(RepoName::folded).collect();
            let added = current.of(login).into_iter().filter(|name| {
                let name = name.folded();
                !known.contains(&name) && !set.contains(&name)
            });
            repositories.extend(added);
            current.set(login, repositories);
        }
        let text = current.as_text();
        if text != current.text || !self.path.exists() {
            atomic_write::replace(&self.path, &text)?;
            current.text = text;
        }
        current.replaced.clear();
        *self = current;
        Ok(())
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        for owner in &self.owners {
            text.extend(owner.comments.iter().map(|comment| format!("{comment}\n")));
            text.extend(owner.repositories.iter().map(|name| format!("{} {}\n", name.owner(), name.name())));
        }
        text.extend(self.trailing_comments.iter().map(|comment| format!("{comment}\n")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<RepoName> {
        list.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn replacing_an_owners_repositories_keeps_all_other_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("projects.txt");
        std::fs::write(&path, "# by hand\r\nother/thing\r\n# ours\ncontoso b\ncontoso B\ncontoso a\n# end\n").unwrap();
        let mut projects = Projects::read(&path).unwrap();
        projects.set("Contoso", names(&["contoso/zeta", "contoso/Alpha"]));
        projects.set("fabrikam", names(&["fabrikam/x"]));
        projects.write().unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written, "# by hand\nother thing\n# ours\ncontoso Alpha\ncontoso zeta\nfabrikam x\n# end\n");
        let left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["projects.txt"]);
    }

    #[test]
    fn lines_added_meanwhile_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("projects.txt");
        std::fs::write(&path, "contoso a\ncontoso gone\n").unwrap();
        let mut projects = Projects::read(&path).unwrap();
        projects.set("contoso", names(&["contoso/a", "contoso/new"]));
        std::fs::write(&path, "contoso a\ncontoso gone\nContoso Mine\n# theirs\nother/thing\n").unwrap();
        projects.write().unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written, "contoso a\nContoso Mine\ncontoso new\n# theirs\nother thing\n");
        assert_eq!(projects.repositories().count(), 4, "what is added is mirrored by the same run");
        std::fs::write(&path, "half a li").unwrap();
        assert!(projects.write().unwrap_err().to_string().contains("line 1"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "half a li");
    }

    #[test]
    fn unreplaceable_files_are_detected_before_writing() {
        let directory = tempfile::tempdir().unwrap();
        let projects = Projects::read(&directory.path().join("missing/projects.txt")).unwrap();
        assert!(projects.check_writable().unwrap_err().to_string().contains("missing/projects.txt"));
        std::fs::create_dir(directory.path().join("projects.txt")).unwrap();
        assert!(Projects::read(&directory.path().join("projects.txt")).is_err());
        let path = directory.path().join("bad.txt");
        std::fs::write(&path, "contoso a\nnonsense\n").unwrap();
        assert!(Projects::read(&path).unwrap_err().to_string().contains("line 2"));
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_are_kept() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real.txt"), directory.path().join("projects.txt"));
        std::fs::write(&real, "contoso a\n").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut projects = Projects::read(&link).unwrap();
        projects.set("contoso", names(&["contoso/b"]));
        projects.write().unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "contoso b\n");
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
