//! Addresses within the API, and the one place where names become parts of a path.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use crate::names::RepoName;

/// RFC 3986's unreserved characters stay as they are; every other byte is percent-encoded, `/` included.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const OTHER_SERVER: &str =
    "it leads to another server; if that is the public address of this one, set github.public_url to it";

/// An address within the API: path and query below the API's base address.
///
/// A value can't leave the API: it is built from encoded segments ([`ApiUrl::path`]) or parsed and checked against
/// the API's origin and base path (from what the server sends). It holds no host, so that a page has the same identity whatever
/// name the server is reached by; `Display` gives `/path?query`, fit for logs and for storing ([`FromStr`] reads it back).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiUrl {
    /// Starts with `/`, relative to the API's base path, encoded.
    path: String,
    /// Without the `?`, encoded.
    query: Option<String>,
}

/// An error: a text is not an address within the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} is not an address below {api_url}: {problem}")]
pub struct UrlProblem {
    /// The address as found, without userinfo, query and fragment, which may hold credentials.
    pub found: String,
    /// The API's base address, or `/` when none was at hand.
    pub api_url: String,
    /// The problem.
    pub problem: &'static str,
}

impl ApiUrl {
    /// Builds the address of these path segments; each is encoded whole, so a `/`, `?` or `%` inside a label's name
    /// or a branch stays inside its segment.
    ///
    /// The segments `.` and `..` can't be written in a URL (RFC 3986 removes even their encoded forms): they are
    /// encoded twice, so they name something that doesn't exist rather than something else that does.
    pub fn path(segments: &[&str]) -> Self {
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            match *segment {
                "." => path.push_str("%252E"),
                ".." => path.push_str("%252E%252E"),
                segment => path.extend(utf8_percent_encode(segment, NOT_UNRESERVED)),
            }
        }
        if path.is_empty() {
            path.push('/');
        }
        Self { path, query: None }
    }

    /// Builds the address `repos/OWNER/NAME/...` below a repository.
    pub fn repo(repo: &RepoName, segments: &[&str]) -> Self {
        let mut all = Vec::with_capacity(segments.len() + 3);
        all.extend(["repos", repo.owner(), repo.name()]);
        all.extend(segments);
        Self::path(&all)
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, key: &str, value: &str) -> Self {
        let query = self.query.get_or_insert_default();
        if !query.is_empty() {
            query.push('&');
        }
        query.extend(utf8_percent_encode(key, NOT_UNRESERVED));
        query.push('=');
        query.extend(utf8_percent_encode(value, NOT_UNRESERVED));
        self
    }

    /// Replaces a query parameter where it stands, or adds it: a smaller `per_page` in a page's address.
    #[must_use]
    pub fn with_query(mut self, key: &str, value: &str) -> Self {
        let Some(query) = self.query.take() else { return self.query(key, value) };
        let mut replaced = false;
        let mut parts = Vec::new();
        for part in query.split('&') {
            if decode(part.split_once('=').map_or(part, |(k, _)| k)) != key {
                parts.push(part.to_owned());
            } else if !replaced {
                replaced = true;
                let value = utf8_percent_encode(value, NOT_UNRESERVED);
                parts.push(format!("{}={value}", utf8_percent_encode(key, NOT_UNRESERVED)));
            }
        }
        self.query = Some(parts.join("&"));
        if replaced { self } else { self.query(key, value) }
    }

    /// Appends a path segment and drops the query.
    #[must_use]
    pub fn child(mut self, segment: &str) -> Self {
        self.path.push('/');
        self.path.extend(utf8_percent_encode(segment, NOT_UNRESERVED));
        self.query = None;
        self
    }

    /// Returns the last segment of the path, still encoded: the kind of data that is asked for.
    pub(super) fn last_segment(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the first value of a query parameter, decoded.
    pub fn query_value(&self, key: &str) -> Option<String> {
        self.query.as_deref()?.split('&').find_map(|part| {
            let (found, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(found) == key).then(|| decode(value))
        })
    }

    /// Parses an address that came from the server (a `Link`, a `Location`, a `url` in a document); a relative one is
    /// resolved against `from`, the address it was found at.
    ///
    /// # Errors
    /// Not a URL, another origin than the API's, a path outside the API's base path, or userinfo in it. `public_url` is
    /// another address that the server itself uses for the API, if it has one.
    pub(super) fn parse(
        api_url: &Url,
        public_url: Option<&Url>,
        from: &ApiUrl,
        text: &str,
    ) -> Result<Self, UrlProblem> {
        let fail = |url: Option<&Url>, problem| UrlProblem {
            found: url.map_or_else(|| "a text that is no URL".to_owned(), shown),
            api_url: shown(api_url),
            problem,
        };
        let url = from.resolve(api_url).join(text).map_err(|_| fail(None, "it can't be parsed"))?;
        let mut bases = [Some(api_url), public_url].into_iter().flatten().filter(|base| base.origin() == url.origin());
        if bases.clone().next().is_none() {
            return Err(fail(Some(&url), OTHER_SERVER));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fail(Some(&url), "it holds a user name or password"));
        }
        let below = |base: &Url| url.path().strip_prefix(base.path().trim_end_matches('/'));
        match bases.find_map(|base| below(base).filter(|path| path.starts_with('/'))) {
            Some(path) => Ok(Self { path: path.to_owned(), query: url.query().map(str::to_owned) }),
            None => Err(fail(Some(&url), "it is outside the API's base path")),
        }
    }

    /// Returns the full URL of this address on a server.
    pub(super) fn resolve(&self, api_url: &Url) -> Url {
        let mut url = api_url.clone();
        let base = api_url.path().trim_end_matches('/');
        // Both parts are encoded already; these setters encode only what can't stand in a URL at all.
        url.set_path(&format!("{base}{}", self.path));
        url.set_query(self.query.as_deref());
        url.set_fragment(None);
        url
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Formats a foreign URL for users, without userinfo, query and fragment.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // These fail only for URLs that can't have a user name, which then have none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ApiUrl {
    type Err = UrlProblem;

    /// Parses `/path?query` as `Display` gave it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |problem| UrlProblem { found: "a stored address".to_owned(), api_url: "/".to_owned(), problem };
        if !text.starts_with('/') || text.starts_with("//") {
            return Err(fail("it does not start with one '/'"));
        }
        let base = Url::parse("http://api.invalid/").map_err(|_| fail("it can't be parsed"))?;
        Self::parse(&base, None, &Self::path(&[]), text)
    }
}
