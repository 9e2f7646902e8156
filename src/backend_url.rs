//! Backend URLs: the scheme selects the backend.

use std::fmt;
use std::path::{Path, PathBuf};

/// The kind of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// An SQLite file: `sqlite:PATH`.
    Sqlite,
    /// MongoDB: `mongodb://`, `mongodb+srv://`.
    Mongodb,
    /// MySQL or MariaDB: `mysql://`.
    Mysql,
    /// RabbitMQ: `amqp://`, `amqps://`.
    Amqp,
    /// A local directory: `file:PATH`.
    File,
    /// Azure Blob Storage: `az://CONTAINER/PREFIX`.
    Azure,
}

impl BackendKind {
    fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "sqlite" => Some(BackendKind::Sqlite),
            "mongodb" | "mongodb+srv" => Some(BackendKind::Mongodb),
            "mysql" => Some(BackendKind::Mysql),
            "amqp" | "amqps" => Some(BackendKind::Amqp),
            "file" => Some(BackendKind::File),
            "az" => Some(BackendKind::Azure),
            _ => None,
        }
    }

    fn is_local(self) -> bool {
        matches!(self, BackendKind::Sqlite | BackendKind::File)
    }
}

/// A backend's URL. `Debug` and `Display` show a password as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct BackendUrl {
    kind: BackendKind,
    scheme: String,
    text: String,
    path: Option<PathBuf>,
}

impl BackendUrl {
    /// Returns the URL of a SQLite file.
    pub fn sqlite(path: PathBuf) -> Self {
        Self {
            kind: BackendKind::Sqlite,
            scheme: "sqlite".to_owned(),
            text: format!("sqlite:{}", path.display()),
            path: Some(path),
        }
    }

    /// Returns the URL of a local directory.
    pub fn file(path: PathBuf) -> Self {
        Self {
            kind: BackendKind::File,
            scheme: "file".to_owned(),
            text: format!("file:{}", path.display()),
            path: Some(path),
        }
    }

    /// Parses a URL whose scheme must select one of the allowed backends.
    ///
    /// # Errors
    /// A description of what was found, without anything that could be a password.
    pub fn parse(text: &str, allowed: &[BackendKind]) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err("a text without a scheme".to_owned());
        };
        let scheme = scheme.to_ascii_lowercase();
        let kind = match BackendKind::of_scheme(&scheme) {
            Some(kind) if allowed.contains(&kind) => kind,
            // A text that is not clearly a scheme may be part of a password.
            _ if scheme.len() <= 16 && scheme.chars().all(|c| c.is_ascii_lowercase() || c == '+') => {
                return Err(format!("the scheme {scheme}:"));
            }
            _ => return Err("an unknown scheme".to_owned()),
        };
        let mut path = None;
        if kind.is_local() {
            let location = rest.strip_prefix("//").unwrap_or(rest);
            if location.is_empty() || location == ":memory:" {
                return Err("no path".to_owned());
            }
            if location.contains(['\0', '?']) {
                return Err("a path with a '?' or a NUL".to_owned());
            }
            path = Some(PathBuf::from(location));
        } else {
            let host = rest.strip_prefix("//").ok_or("no // after the scheme")?;
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            if host.is_empty() || host.starts_with(['/', '?', '#', ':']) {
                return Err(match kind {
                    BackendKind::Azure => "no container".to_owned(),
                    _ => "no host".to_owned(),
                });
            }
            if kind == BackendKind::Azure {
                let container = host.split(['/', '?']).next().unwrap_or_default();
                let is_name = (3..=63).contains(&container.len())
                    && container.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                if !is_name {
                    return Err("no container's name (3 to 63 lower-case letters, digits and hyphens)".to_owned());
                }
            }
            if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err("a URL with a space or a control character".to_owned());
            }
        }
        Ok(Self { kind, scheme, text: text.to_owned(), path })
    }

    /// Returns the kind of the backend.
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// Returns the scheme in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Returns the path of a SQLite file.
    pub fn sqlite_path(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.kind == BackendKind::Sqlite)
    }

    /// Returns the directory of a `file:` URL.
    pub fn folder(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.kind == BackendKind::File)
    }

    /// Returns whether a user name or password seems to contain a `/`, `?`, `#` or `@` that should be percent-encoded: parsers
    /// would take part of it for the host or the path. For URLs with no `@` after their host.
    pub(crate) fn has_unescaped_user_part(&self) -> bool {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let ats = rest.matches('@').count();
        ats > 1 || (ats == 1 && !authority.contains('@'))
    }

    /// Returns the whole URL with its password, for the client that connects.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.text))
    }
}

impl fmt::Debug for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", redacted(&self.text))
    }
}

/// Redacts a URL: the password, and the values of query parameters that look like secrets, become `***`. Accepts any text, so
/// that a URL that does not parse is redacted, too; when in doubt it hides too much.
pub fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        // Perhaps a malformed URL: what precedes an '@' may contain a password.
        return text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("***@{rest}"));
    };
    // The last '@' ends the user part even if a password contains an unescaped '/' or '?'.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    let mut shown = format!("{scheme}://");
    if let Some(user) = user {
        match user.split_once(':') {
            Some((name, _)) => shown.extend([name, ":***@"]),
            // A token may be given as a user without a password; a database's user is not secret.
            None if scheme.starts_with("http") => shown.push_str("***@"),
            None => shown.extend([user, "@"]),
        }
    }
    let (before, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    shown.push_str(before);
    for (index, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if is_secret_parameter(name) => shown.extend([name, "=***"]),
            _ => shown.push_str(pair),
        }
    }
    shown
}

fn is_secret_parameter(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token", "key", "sig", "auth", "code"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[BackendKind] = &[
        BackendKind::Sqlite,
        BackendKind::Mongodb,
        BackendKind::Mysql,
        BackendKind::Amqp,
        BackendKind::File,
        BackendKind::Azure,
    ];

    #[test]
    fn passwords_are_redacted() {
        for (url, shown) in [
            ("mongodb://me:s3cret@h1:27017,h2:27017/db?x=1", "mongodb://me:***@h1:27017,h2:27017/db?x=1"),
            ("mysql://root:a/b@c?d@host/github", "mysql://root:***@host/github"),
            ("amqps://host/v?password=s3cret&heartbeat=5", "amqps://host/v?password=***&heartbeat=5"),
            ("az://dumps/msght?sig=s3cret", "az://dumps/msght?sig=***"),
            ("amqp://localhost", "amqp://localhost"),
        ] {
            let parsed = BackendUrl::parse(url, ALL).unwrap();
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(format!("{parsed:?}"), format!("{shown:?}"));
            assert_eq!(parsed.expose(), url);
        }
    }

    #[test]
    fn local_paths_are_relative_or_absolute() {
        for (url, path) in [
            ("sqlite:a/b.db", "a/b.db"),
            ("sqlite:/a/b.db", "/a/b.db"),
            ("sqlite:///a/b.db", "/a/b.db"),
            ("sqlite://a/b.db", "a/b.db"),
        ] {
            assert_eq!(BackendUrl::parse(url, ALL).unwrap().sqlite_path(), Some(Path::new(path)));
        }
        assert_eq!(BackendUrl::parse("file:x", ALL).unwrap().folder(), Some(Path::new("x")));
        assert_eq!(BackendUrl::parse("file:x", ALL).unwrap().sqlite_path(), None);
    }

    #[test]
    fn malformed_urls_are_rejected_without_being_shown() {
        for bad in ["", "s3cret", "sqlite:", "sqlite::memory:", "postgres://u:s3cret@h/d", "mysql:s3cret", "mysql://"] {
            let found = BackendUrl::parse(bad, ALL).unwrap_err();
            assert!(!found.contains("s3cret"), "{found}");
        }
        assert_eq!(BackendUrl::parse("mysql://h/d", &[BackendKind::Sqlite]), Err("the scheme mysql:".to_owned()));
    }
}
