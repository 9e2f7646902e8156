//! Settings of a client.

use std::sync::Arc;

use url::Url;

use super::base::is_loopback;
use super::event::ClientEvent;
use crate::rate_limit::RateLimitStore;
use crate::secret::Secret;

/// A token, and how much of its budget to leave.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// The token.
    pub secret: Secret,
    /// Requests an hour to leave unused.
    pub reserve: u32,
}

/// A GitHub App. It adds one token for each account that it is installed on.
#[derive(Debug, Clone)]
pub struct AppConfig {
    /// Its id or its client id.
    pub id: String,
    /// Its private key, the text of a PEM file.
    pub key: Secret,
    /// Requests an hour to leave unused on each of its installations.
    pub reserve: u32,
}

/// Settings of a client.
#[derive(Clone)]
pub struct ClientSettings {
    /// `https://api.github.com/`, or `https://HOST/api/v3/` on GHES.
    pub api_url: Url,
    /// The API's address as the server writes it into its answers, where that is another one. `None`: it is found out.
    pub public_url: Option<Url>,
    /// Read tokens. Without any, and without an App, requests are anonymous.
    pub tokens: Vec<TokenConfig>,
    /// A GitHub App.
    pub app: Option<AppConfig>,
    /// Maximum requests in flight over all tokens. `None`: 16 for each token, at most 90.
    pub concurrency: Option<usize>,
    /// `User-Agent`, without which GitHub rejects requests.
    pub user_agent: String,
    /// The store that coordinates processes with the same tokens. `None`: there are no others.
    pub rate_limit_store: Option<Arc<dyn RateLimitStore>>,
    /// Receives events for the user. It is called from the requests' tasks and must not block.
    pub notify: Arc<dyn Fn(ClientEvent) + Send + Sync>,
}

impl ClientSettings {
    /// Returns a warning where tokens would be sent over the network unencrypted.
    pub fn plain_text_warning(&self) -> Option<String> {
        let has_tokens = !self.tokens.is_empty() || self.app.is_some();
        let is_plain = self.api_url.scheme() == "http" && !is_loopback(&self.api_url);
        (has_tokens && is_plain).then(|| {
            format!(
                "github.api_url is http://{}: tokens are sent unencrypted, and whoever is on the way can read them; use https://",
                self.api_url.host_str().unwrap_or_default()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_over_plain_http_cause_a_warning() {
        let settings = |api_url: &str, token: bool| ClientSettings {
            api_url: api_url.parse().unwrap(),
            public_url: None,
            tokens: token.then(|| TokenConfig { secret: Secret::new("t"), reserve: 0 }).into_iter().collect(),
            app: None,
            concurrency: None,
            user_agent: String::new(),
            rate_limit_store: None,
            notify: Arc::new(|_| {}),
        };
        let warning = settings("http://ghe.example.com/api/v3/", true).plain_text_warning().unwrap();
        assert!(warning.contains("http://ghe.example.com") && warning.contains("unencrypted"), "{warning}");
        for (api_url, token) in
            [("https://ghe.example.com/", true), ("http://127.0.0.1:8080/", true), ("http://ghe.example.com/", false)]
        {
            assert_eq!(settings(api_url, token).plain_text_warning(), None, "{api_url}");
        }
    }
}
