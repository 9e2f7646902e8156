//! The API's base address: the one that it is reached at, and the public one that the server writes into its answers.
//!
//! The two differ where an Enterprise Server is reached by an inner address, through a gateway for example. Requests go to
//! the first alone, whatever an answer says: a link below the second is read by its path and query.

use tokio::sync::OnceCell;
use url::Url;

use super::url::{ApiUrl, UrlProblem};

/// Version of the API. Still returns a pull request's `merge_commit_sha`, which 2026-03-10 dropped; supported until 2028-03-10
/// (GitHub docs: API versions).
pub(super) const API_VERSION: &str = "2022-11-28";

/// Where the API is, and what it calls itself.
pub(super) struct ApiBase {
    /// Where requests go.
    pub api_url: Url,
    /// The public address, as set or as an answer told; `None` inside where the server tells none.
    public_url: OnceCell<Option<Url>>,
}

impl ApiBase {
    pub fn new(api_url: Url, public_url: Option<Url>) -> Self {
        let public_url = OnceCell::new_with(public_url.map(|url| Some(with_slash(url))));
        Self { api_url, public_url }
    }

    /// The public address, where it is known.
    pub fn public_url(&self) -> Option<&Url> {
        self.public_url.get()?.as_ref()
    }

    /// Returns whether an answer could still tell the public address.
    pub fn is_undetermined(&self) -> bool {
        !self.public_url.initialized()
    }

    /// Parses an address that came from the server; see [`ApiUrl::parse`].
    pub fn parse(&self, from: &ApiUrl, text: &str) -> Result<ApiUrl, UrlProblem> {
        ApiUrl::parse(&self.api_url, self.public_url(), from, text)
    }

    /// Takes the public address from an answer that says where it is itself: an object whose `url` ends with the path that was
    /// asked for.
    pub fn record(&self, asked: &ApiUrl, body: &[u8]) {
        if self.is_undetermined()
            && let Some(found) = base_url_in(asked, body)
        {
            // Whoever told it first has told the same.
            let _ = self.public_url.set(Some(found));
        }
    }

    /// Finds the public address by asking, once for all; where there was no answer, the next one asks again.
    pub async fn discover<F: Future<Output = Result<Option<Url>, ()>>>(&self, ask: impl FnOnce() -> F) {
        // No answer leaves it open.
        let _ = self.public_url.get_or_try_init(ask).await;
    }
}

/// The base address that an answer shows: the API's root names its addresses, an object its own.
pub(super) fn base_url_in(asked: &ApiUrl, body: &[u8]) -> Option<Url> {
    #[derive(serde::Deserialize)]
    struct Object {
        url: Option<String>,
        current_user_url: Option<String>,
    }
    let object: Object = serde_json::from_slice(body).ok()?;
    let path = asked.to_string();
    let (text, path) = match (object.current_user_url, object.url) {
        (Some(text), _) if path == "/" => (text, "/user".to_owned()),
        (_, Some(text)) if path != "/" => (text, path),
        _ => return None,
    };
    let mut url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    let at = url.path().len().checked_sub(path.len())?;
    let (base, rest) = url.path().split_at_checked(at)?;
    if !rest.eq_ignore_ascii_case(&path) {
        return None;
    }
    let base = base.to_owned();
    url.set_path(&base);
    Some(with_slash(url))
}

/// Whether an address is this machine's own: a proxy from the environment is not meant for it, and nobody listens on the way.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn with_slash(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_base_is_read_from_answers() {
        let repo = ApiUrl::path(&["repos", "contoso", "web"]);
        let base = |asked: &ApiUrl, body: &str| base_url_in(asked, body.as_bytes()).map(String::from);
        for (body, expected) in [
            (r#"{"url":"https://ghe.example.com/api/v3/repos/Contoso/web"}"#, Some("https://ghe.example.com/api/v3/")),
            (r#"{"url":"https://ghe.example.com/repos/contoso/web"}"#, Some("https://ghe.example.com/")),
            (r#"{"url":"https://ghe.example.com/repos/contoso/other"}"#, None),
            (r#"{"url":"https://u:p@ghe.example.com/repos/contoso/web"}"#, None),
            (r#"{"url":"ftp://ghe.example.com/repos/contoso/web"}"#, None),
            (r#"{"url":null}"#, None),
            ("[]", None),
        ] {
            assert_eq!(base(&repo, body).as_deref(), expected, "{body}");
        }
        let root = r#"{"current_user_url":"https://ghe.example.com/api/v3/user"}"#;
        assert_eq!(base(&ApiUrl::path(&[]), root).as_deref(), Some("https://ghe.example.com/api/v3/"));
    }

    #[test]
    fn public_links_are_read_by_path_and_query() {
        let url = |text: &str| Url::parse(text).unwrap();
        let from = ApiUrl::path(&["repos", "contoso", "web", "labels"]);
        let base = ApiBase::new(url("http://gateway.internal/"), Some(url("https://ghe.example.com/api/v3")));
        let link = "https://ghe.example.com/api/v3/repositories/7/labels?page=2";
        assert_eq!(base.parse(&from, link).unwrap().to_string(), "/repositories/7/labels?page=2");
        let inner = "http://gateway.internal/repositories/7/labels?page=2";
        assert_eq!(base.parse(&from, inner).unwrap().to_string(), "/repositories/7/labels?page=2");
        for foreign in [
            "https://evil.example/api/v3/repositories/7/labels?page=2",
            "http://ghe.example.com/api/v3/repositories/7/labels?page=2",
            "https://ghe.example.com/other/repositories/7/labels?page=2",
            "https://u@ghe.example.com/api/v3/repositories/7/labels?page=2",
        ] {
            let problem = base.parse(&from, foreign).unwrap_err().to_string();
            assert!(!foreign.contains("evil") || problem.contains("github.public_url"), "{problem}");
        }
    }
}
