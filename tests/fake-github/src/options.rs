//! How the server behaves.
use super::app::AppSpec;
use super::deliveries::Live;
use super::limits::{Limits, TokenSpec};
use std::time::Duration;

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    pub tokens: Vec<TokenSpec>,
    /// The app that there is, if one.
    pub app: Option<AppSpec>,
    /// Seconds by which the server's clock is ahead: in `Date`, in its judgment of an app, and in when tokens expire.
    pub clock_skew: i64,
    pub limits: Limits,
    /// Whether requests without a token are answered, about public repositories.
    pub anonymous: bool,
    pub latency: Duration,
    /// Before every path: `api/v3/` as on a GitHub Enterprise Server.
    pub prefix: String,
    /// Port, or 0 for a free one.
    pub port: u16,
    /// Base of addresses in `Link` and in documents, when it is not the server's own.
    pub link_base: Option<String>,
    /// Whether to compress for those who accept gzip.
    pub gzip: bool,
    /// GitHub: the same document has another tag for another token.
    pub etag_per_token: bool,
    /// The page at which long lists end silently, if they do.
    pub deep_page_cap: Option<usize>,
    /// Whether `Link` tells the last page; GitHub sometimes leaves it out.
    pub last_link: bool,
    /// Rows that a page may hold before the server gives up, as GitHub does when a page takes too long.
    pub heavy_page: Option<usize>,
    /// Whether repositories are git's newer kind, whose ids have 64 digits.
    pub sha256: bool,
    /// How it gives up: 502, 504, or 500 in JSON.
    pub heavy_status: u16,
    /// How deliveries, the API and the feeds keep up with the world.
    pub live: Live,
}

impl Default for Options {
    /// One token, `fake-token`, that sees everything; GitHub's own limits.
    fn default() -> Options {
        Options {
            tokens: vec![TokenSpec::new("fake-token")],
            app: None,
            clock_skew: 0,
            limits: Limits::default(),
            anonymous: true,
            latency: Duration::ZERO,
            prefix: String::new(),
            port: 0,
            link_base: None,
            gzip: false,
            etag_per_token: true,
            deep_page_cap: None,
            last_link: true,
            heavy_page: None,
            sha256: false,
            heavy_status: 502,
            live: Live::default(),
        }
    }
}

impl Options {
    /// Without limits, for benchmarks and for tests of other things.
    pub fn unlimited() -> Options {
        Options { limits: Limits::off(), ..Options::default() }
    }
}
