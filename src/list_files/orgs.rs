//! `orgs.txt`: the organizations to mirror.

use std::path::{Path, PathBuf};

use super::{ListError, atomic_write, lines, read};
use crate::names::is_login;

const ADVICE: &str = "write one organization's login a line into it, name another file with --orgs, or create it with \
                      `msght get-repos --discover`";

/// The organizations of an `orgs.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orgs {
    path: PathBuf,
    text: String,
    /// The logins as written, each once, regardless of case.
    pub logins: Vec<String>,
    /// Repetitions of logins.
    pub duplicates: Vec<String>,
}

impl Orgs {
    /// Reads the file. With `may_be_empty` it may lack organizations or not exist yet, because some will be added.
    ///
    /// # Errors
    /// A file that can't be read, contains a line that is not a login, or names no organization.
    pub fn read(path: &Path, may_be_empty: bool) -> Result<Self, ListError> {
        let text = match read(path)? {
            Some(text) => text,
            None if may_be_empty => String::new(),
            None => return Err(ListError::Missing { path: path.to_owned(), advice: ADVICE }),
        };
        let mut orgs = Self { path: path.to_owned(), logins: Vec::new(), duplicates: Vec::new(), text: String::new() };
        for line in lines(&text).filter(|line| !line.word.is_empty()) {
            if !is_login(line.word) {
                let problem = format!("{:?} is not an organization's login: letters, digits, '-' and '_'", line.word);
                return Err(ListError::Malformed { path: path.to_owned(), line: line.number, problem });
            }
            let list = if orgs.contains(line.word) { &mut orgs.duplicates } else { &mut orgs.logins };
            list.push(line.word.to_owned());
        }
        if orgs.logins.is_empty() && !may_be_empty {
            return Err(ListError::Empty { path: path.to_owned() });
        }
        orgs.text = text;
        Ok(orgs)
    }

    /// Checks that organizations can be added.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn check_writable(&self) -> Result<(), ListError> {
        atomic_write::check(&self.path)
    }

    /// Returns whether the list contains an organization.
    pub fn contains(&self, login: &str) -> bool {
        self.logins.iter().any(|known| known.eq_ignore_ascii_case(login))
    }

    /// Appends organizations to the file, which is read again first: what was added to it meanwhile stays.
    /// Returns those that were not among them.
    ///
    /// # Errors
    /// The file holds a line that is no login by now, or can't be written; it is as it was.
    pub fn add(&mut self, logins: &[String]) -> Result<Vec<String>, ListError> {
        let _lock = atomic_write::lock(&self.path);
        *self = Self::read(&self.path, true)?;
        let mut added: Vec<String> = Vec::new();
        for login in logins {
            if !self.contains(login) {
                self.logins.push(login.clone());
                added.push(login.clone());
            }
        }
        if !added.is_empty() {
            if !self.text.is_empty() && !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            self.text.extend(added.iter().map(|login| format!("{login}\n")));
            atomic_write::replace(&self.path, &self.text)?;
        }
        Ok(added)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8]) -> Result<Orgs, ListError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("orgs.txt");
        std::fs::write(&path, text).unwrap();
        Orgs::read(&path, false)
    }

    #[test]
    fn comments_blank_lines_crlf_and_duplicates_are_accepted() {
        let orgs = of(b"\xef\xbb\xbf# all of them\r\ncontoso\r\n\r\n  fabrikam # the other\r\nContoso\r\n").unwrap();
        assert_eq!(orgs.logins, ["contoso", "fabrikam"]);
        assert_eq!(orgs.duplicates, ["Contoso"]);
    }

    #[test]
    fn malformed_lines_are_reported_by_number() {
        for (text, expected) in [
            (&b"contoso\nno good\n"[..], "line 2: \"no good\""),
            (b"contoso\nx\xff\n", "line 2: it is not UTF-8"),
            (b"# none\n\n", "names no organization"),
            (b"contoso/web\n", "\"contoso/web\""),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let missing = Orgs::read(Path::new("/nowhere/orgs.txt"), false).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/orgs.txt is not there") && missing.contains("--orgs"), "{missing}");
    }

    #[test]
    fn organizations_are_appended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("orgs.txt");
        std::fs::write(&path, "# ours\ncontoso").unwrap();
        let mut orgs = Orgs::read(&path, true).unwrap();
        assert_eq!(orgs.add(&["Contoso".to_owned(), "fabrikam".to_owned()]).unwrap(), ["fabrikam"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# ours\ncontoso\nfabrikam\n");
        // What a user has added meanwhile stays.
        std::fs::write(&path, "contoso\nmine\n").unwrap();
        assert_eq!(orgs.add(&["Mine".to_owned(), "found".to_owned()]).unwrap(), ["found"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "contoso\nmine\nfound\n");
        assert_eq!(orgs.logins, ["contoso", "mine", "found"]);
    }
}
