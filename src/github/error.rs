//! Errors between msght and GitHub. Each says what was tried, what came back and what to do.
//!
//! No variant holds a secret: tokens appear as hints (their first characters), addresses without host and userinfo, foreign ones
//! also without query.

use std::fmt;

use crate::names::RepoName;
use crate::open_files;

/// Reason given for a token that GitHub answered 401.
pub(super) const UNAUTHORIZED: &str = "rejected (401): expired, revoked or mistyped";

/// An error in the settings of a client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The API's address is unusable.
    #[error("github.api_url {problem}; expected something like https://api.github.com/ or https://HOST/api/v3/")]
    ApiUrl {
        /// The problem; never the address itself, which could hold a password.
        problem: &'static str,
    },
    /// A token holds characters that can't be sent.
    #[error("the token {hint} holds a space, a line break or another character that no GitHub token has")]
    Token {
        /// The token's first characters.
        hint: String,
    },
    /// The App's private key can't sign.
    #[error("the GitHub App's key (github.app_private_key_file) is not an RSA private key in PEM form")]
    AppKey,
    /// The user agent holds characters that can't be sent, or is empty (GitHub answers 403 without one).
    #[error("github.user_agent {given:?} is empty or can't be sent in a header")]
    UserAgent {
        /// The setting as given.
        given: String,
    },
    /// The HTTP client could not be created (TLS or proxy settings).
    #[error("the HTTP client could not be created: {0}")]
    Http(String),
}

/// The step at which connecting failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectProblem {
    /// The host's name has no address.
    Dns,
    /// The secure connection failed: certificate or protocol.
    Tls,
    /// This process can open no more files or connections.
    OpenFiles,
    /// The host rejected the connection or did not answer.
    Host,
}

impl fmt::Display for ConnectProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "the host's name was not found; check github.api_url and the network's DNS",
            Self::Tls => {
                "no secure (TLS) connection; check the certificate, a proxy in between and this machine's clock; a certificate \
                 of your own has to be one that the system trusts, or be in the file that SSL_CERT_FILE names"
            }
            Self::OpenFiles => open_files::HINT,
            Self::Host => "the host can't be reached; check github.api_url, the network and the proxy settings",
        })
    }
}

/// An error of a request, after all waits and retries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// 404: deleted, never there, or hidden from this token.
    #[error("GET {path}: not found (404) with {token}: deleted, or hidden from this token")]
    NotFound {
        /// Path and query.
        path: String,
        /// The hint of the token used.
        token: String,
    },
    /// 410: deleted, or its feature is disabled (issues of a repository).
    #[error("GET {path}: gone (410): {message}")]
    Gone {
        /// Path and query.
        path: String,
        /// GitHub's message.
        message: String,
    },
    /// 409: the git repository is empty.
    #[error("GET {path}: the git repository is empty (409)")]
    EmptyRepository {
        /// Path and query.
        path: String,
    },
    /// 422: GitHub understood but rejects it, for example a page beyond a list's cap.
    #[error("GET {path}: rejected (422): {message}")]
    Unprocessable {
        /// Path and query.
        path: String,
        /// GitHub's message.
        message: String,
    },
    /// 451: taken down for legal reasons.
    #[error("GET {path}: blocked for legal reasons (451): {reason}, since {created_at}; see {html_url}")]
    Legal {
        /// Path and query.
        path: String,
        /// `dmca` and the like; `unknown` when GitHub doesn't say.
        reason: String,
        /// The date, as GitHub wrote it.
        created_at: String,
        /// The public notice.
        html_url: String,
    },
    /// 403 that is no rate limit: a permission is missing. Never "no data".
    #[error("GET {path}: forbidden (403) with {token}: {message}{}", needs(.accepted_permissions.as_deref()))]
    Forbidden {
        /// Path and query.
        path: String,
        /// The hint of the token used.
        token: String,
        /// GitHub's message.
        message: String,
        /// `X-Accepted-GitHub-Permissions`: `;` separates alternatives, `,` means and.
        accepted_permissions: Option<String>,
    },
    /// No token can read the repository.
    #[error("no token can read {repo} ({} tried: {}); check its name and what the tokens may see", .tried.len(), tried_list(.tried))]
    NoAccess {
        /// The repository.
        repo: RepoName,
        /// Each token's hint and the status it got.
        tried: Vec<(String, u16)>,
    },
    /// The organization requires SAML single sign-on for this token.
    #[error("GET {path}: the organization requires single sign-on for {token}: authorize it{}", at(.url.as_deref()))]
    SsoRequired {
        /// Path and query.
        path: String,
        /// The hint of the token used.
        token: String,
        /// The address at which to authorize the token, valid for an hour.
        url: Option<String>,
    },
    /// 200, but organizations are missing from the list because the token has no single sign-on for them.
    #[error(
        "GET {path}: {token} got a partial list, without organizations {organizations}: authorize it for their single sign-on"
    )]
    SsoPartial {
        /// Path and query.
        path: String,
        /// The hint of the token used.
        token: String,
        /// The numeric ids of the missing organizations, comma-separated.
        organizations: String,
    },
    /// No token is left at all.
    #[error("GET {path}: {}", disabled_list(.tokens))]
    Unauthorized {
        /// Path and query.
        path: String,
        /// Hint and reason of each disabled token.
        tokens: Vec<(String, String)>,
    },
    /// All tokens that may be used for this are disabled, while others are not.
    #[error("GET {path}: no usable token is left: {}", disabled_list(.tokens))]
    TokensDisabled {
        /// Path and query.
        path: String,
        /// Hint and reason of each disabled token.
        tokens: Vec<(String, String)>,
    },
    /// 401 to what a GitHub App signed, or no App of this id.
    #[error("GitHub rejected the App {app} ({message}): check github.app_id, its private key and this machine's clock")]
    AppRejected {
        /// The App's id.
        app: String,
        /// GitHub's message.
        message: String,
    },
    /// There are no other tokens, and the App is installed on no account.
    #[error("the GitHub App {app} is installed on no account: install it on the organizations that it should read")]
    NotInstalled {
        /// The App's id.
        app: String,
    },
    /// The App got no token for an account, and no other token may be used.
    #[error("the GitHub App got no token: {why}")]
    NoToken {
        /// The request and the response.
        why: String,
    },
    /// 401 to an anonymous request.
    #[error("GET {path}: GitHub requires a token for this (401); set GITHUB_TOKEN")]
    NeedsToken {
        /// Path and query.
        path: String,
    },
    /// A redirect or a next page leads out of the API; the token was not sent there.
    #[error("GET {path}: the response's {role} is not followed: {problem}")]
    ForeignUrl {
        /// Path and query.
        path: String,
        /// `redirect` or `Link`.
        role: &'static str,
        /// The target, and why it is foreign.
        problem: super::url::UrlProblem,
    },
    /// A list's links lead back to a page that the same walk has read.
    #[error(
        "GET {path}: the list's links form a cycle: this page was read before, so the list has no end; what was read is \
         kept, try again later"
    )]
    LinkCycle {
        /// Path and query of the repeated page.
        path: String,
    },
    /// Redirects that don't end.
    #[error("GET {path}: gave up after {redirects} redirects")]
    TooManyRedirects {
        /// Path and query.
        path: String,
        /// Redirects followed.
        redirects: u32,
    },
    /// 400.
    #[error("GET {path}: bad request (400): {message}")]
    BadRequest {
        /// Path and query.
        path: String,
        /// GitHub's message.
        message: String,
    },
    /// 410 that is about the API's version: this program is too old for the server.
    #[error("GET {path}: the server no longer speaks API version {version} (410: {message}); update msght")]
    RetiredVersion {
        /// Path and query.
        path: String,
        /// The version asked for.
        version: &'static str,
        /// GitHub's message.
        message: String,
    },
    /// Server errors, broken connections, cut or garbled bodies, time-outs: still there after all attempts.
    #[error("GET {path}: no usable answer in {attempts} attempts; the last: {last}; try again later")]
    Unavailable {
        /// Path and query.
        path: String,
        /// Number of attempts.
        attempts: u32,
        /// The last response or failure.
        last: String,
        /// The server ran out of time or failed at it (500, 502, 504, time-out): a smaller page may work.
        timed_out: bool,
    },
    /// The very first answer was no JSON: this is not GitHub's API.
    #[error("{api_url} does not answer like GitHub's API (GET {path}: {found}); check github.api_url")]
    NotGitHub {
        /// The API's address.
        api_url: String,
        /// Path and query.
        path: String,
        /// The response that came instead.
        found: String,
    },
    /// No connection, and there never was one in this run.
    #[error("can't connect to {api_url} ({attempts} attempts): {problem} ({chain})")]
    Connect {
        /// The API's address.
        api_url: String,
        /// The step that failed.
        problem: ConnectProblem,
        /// Number of attempts.
        attempts: u32,
        /// The causes, outermost first.
        chain: String,
    },
    /// The secondary limit kept coming back.
    #[error(
        "GET {path}: GitHub's secondary rate limit came back {tries} times ({message}); run fewer jobs or wait an hour"
    )]
    LimitExhausted {
        /// Path and query.
        path: String,
        /// Limit responses that this request got.
        tries: u32,
        /// GitHub's message.
        message: String,
    },
    /// The request was not sent: the user's bounds for the run are reached.
    #[error("{why}; run the command again to resume")]
    LimitReached {
        /// The bound's message.
        why: String,
    },
    /// The request was not sent: it could not be coordinated with other processes.
    #[error("GET {path}: not sent, because the store that coordinates the tokens failed: {problem}")]
    RateLimitStore {
        /// Path and query.
        path: String,
        /// The store, the failure and what to do.
        problem: crate::rate_limit::RateLimitStoreError,
    },
    /// The body is larger than the cap.
    #[error("GET {path}: the body is larger than {cap} bytes")]
    TooLarge {
        /// Path and query.
        path: String,
        /// The cap, in bytes.
        cap: usize,
    },
    /// An unexpected status.
    #[error("GET {path}: unexpected status {status}: {message}")]
    UnexpectedStatus {
        /// Path and query.
        path: String,
        /// The status.
        status: u16,
        /// GitHub's message.
        message: String,
    },
}

impl ApiError {
    /// Returns whether any other request would fail the same way: no token is left, or GitHub can't be reached.
    pub fn concerns_all_requests(&self) -> bool {
        matches!(
            self,
            Self::NoAccess { .. }
                | Self::SsoRequired { .. }
                | Self::Unauthorized { .. }
                | Self::TokensDisabled { .. }
                | Self::AppRejected { .. }
                | Self::NotInstalled { .. }
                | Self::NoToken { .. }
                | Self::NeedsToken { .. }
                | Self::RetiredVersion { .. }
                | Self::NotGitHub { .. }
                | Self::Connect { .. }
                | Self::LimitExhausted { .. }
                | Self::RateLimitStore { .. }
        )
    }

    /// Returns whether the requested resource doesn't exist. A 422 means so only with this message about a commit; with others GitHub
    /// could not compute the response.
    pub fn says_missing(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::Unprocessable { message, .. } => message.to_ascii_lowercase().contains("no commit found"),
            _ => false,
        }
    }

    /// Returns whether GitHub denies access to the resource, or its existence: what exists remains unknown.
    pub fn is_access_denied(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::NotFound { .. } | Self::NeedsToken { .. })
    }
}

/// Phrases of 403s about the account, its address or its request rate, rather than about permissions.
const NOT_ABOUT_PERMISSIONS: [&str; 4] = ["ip allow list", "login attempts", "administrative rules", "try again"];

impl ApiError {
    /// Returns whether a permission is missing: a 403 that is not about limits, single sign-on, the address or the account.
    pub fn lacks_permission(&self) -> bool {
        match self {
            Self::Forbidden { message, .. } => {
                let words = message.to_ascii_lowercase();
                !NOT_ABOUT_PERMISSIONS.iter().any(|other| words.contains(other))
            }
            _ => false,
        }
    }
}

fn needs(permissions: Option<&str>) -> String {
    permissions.map_or_else(String::new, |p| format!("; it needs the permission {p}"))
}

fn at(url: Option<&str>) -> String {
    url.map_or_else(|| " on GitHub under Settings, Applications".to_owned(), |url| format!(" at {url}"))
}

/// Formats disabled tokens and their reasons.
fn disabled_list(tokens: &[(String, String)]) -> String {
    let hints = || tokens.iter().map(|(hint, _)| hint.as_str()).collect::<Vec<_>>().join(", ");
    let all_rejected = tokens.iter().all(|(_, why)| why == UNAUTHORIZED);
    match tokens {
        [] => "there is no token for it".to_owned(),
        [(hint, _)] if all_rejected => {
            format!("GitHub rejected the token {hint} (401): it is expired, revoked or mistyped")
        }
        _ if all_rejected => {
            format!("GitHub rejected every token (401: {}): they are expired, revoked or mistyped", hints())
        }
        _ => tokens.iter().map(|(hint, why)| format!("{hint} ({why})")).collect::<Vec<_>>().join(", "),
    }
}

/// Formats tokens and statuses: `ghp_…, ghs_…: 404` if all got the same, else `ghp_…: 404, ghs_…: 403`.
fn tried_list(tried: &[(String, u16)]) -> String {
    let same = tried.iter().all(|(_, status)| Some(status) == tried.first().map(|(_, first)| first));
    let shown = |pairs: &[(String, u16)]| {
        if same {
            pairs.iter().map(|(hint, _)| hint.clone()).collect::<Vec<_>>().join(", ")
        } else {
            pairs.iter().map(|(hint, status)| format!("{hint}: {status}")).collect::<Vec<_>>().join(", ")
        }
    };
    match tried.first() {
        Some((_, status)) if same => format!("{}: {status}", shown(tried)),
        _ => shown(tried),
    }
}
