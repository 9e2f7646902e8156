//! The API's base address: where requests go, and the public address that the server writes into its responses.
//!
//! The two differ where an Enterprise Server is reached at an internal address, through a gateway for example. Requests go only
//! to the first, whatever a response says: of a link below the second, path and query are used.

use tokio::sync::OnceCell;
use url::Url;

use super::url::{ApiUrl, UrlProblem};

/// Version of the API. Still returns a pull request's `merge_commit_sha`, which 2026-03-10 dropped; supported until 2028-03-10
/// (GitHub docs: API versions).
pub(super) const API_VERSION: &str = "2022-11-28";

/// The API's two addresses.
pub(super) struct ApiBase {
    /// The address that requests go to.
    pub api_url: Url,
    /// The public address, from the settings or from a response; `None` inside if the server shows none.
    public_url: OnceCell<Option<Url>>,
}

impl ApiBase {
    pub(super) fn new(api_url: Url, public_url: Option<Url>) -> Self {
        let public_url = OnceCell::new_with(public_url.map(|url| Some(with_slash(url))));
        Self { api_url, public_url }
    }

    /// Returns the public address if it is known.
    pub(super) fn public_url(&self) -> Option<&Url> {
        self.public_url.get()?.as_ref()
    }

    /// Returns whether the public address is still to be found.
    pub(super) fn is_undetermined(&self) -> bool {
        !self.public_url.initialized()
    }

    /// Parses an address that came from the server; see [`ApiUrl::parse`].
    pub(super) fn parse(&self, from: &ApiUrl, text: &str) -> Result<ApiUrl, UrlProblem> {
        ApiUrl::parse(&self.api_url, self.public_url(), from, text)
    }

    /// Takes the public address from a response that shows its own: an object whose `url` ends with the requested path.
    pub(super) fn record(&self, requested: &ApiUrl, body: &[u8]) {
        if self.is_undetermined()
            && let Some(found) = base_url_in(requested, body)
        {
            // A concurrent response has shown the same.
            let _ = self.public_url.set(Some(found));
        }
    }

    /// Looks up the public address, once for all requests; after a failure the next one tries again.
    pub(super) async fn discover<F: Future<Output = Result<Option<Url>, ()>>>(&self, ask: impl FnOnce() -> F) {
        // A failure leaves it undetermined.
        let _ = self.public_url.get_or_try_init(ask).await;
    }
}

/// Returns the base address that a response shows: the API's root lists its addresses, an object has its own.
pub(super) fn base_url_in(requested: &ApiUrl, body: &[u8]) -> Option<Url> {
    #[derive(serde::Deserialize)]
    struct Object {
        url: Option<String>,
        current_user_url: Option<String>,
    }
    let object: Object = serde_json::from_slice(body).ok()?;
    let path = requested.to_string();
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

/// Returns whether an address is this machine's own: no proxy is used for it, and nobody can listen on the way.
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
    fn public_base_is_read_from_responses() {
        let repo = ApiUrl::path(&["repos", "contoso", "web"]);
        let base = |requested: &ApiUrl, body: &str| base_url_in(requested, body.as_bytes()).map(String::from);
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
