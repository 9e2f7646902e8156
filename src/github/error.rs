//! What can go wrong between msght and GitHub: each error says what was tried, on what, what came back, what to do.
//!
//! No variant holds a secret: tokens appear as hints (their first characters), addresses without host, userinfo or,
//! where they are foreign, query.

use std::fmt;

use crate::names::RepoName;

/// Reason given for a token that GitHub answered 401.
pub(super) const UNAUTHORIZED: &str = "refused (401): expired, revoked or mistyped";

/// Why a client can't be made from its settings.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The API's address is unusable.
    #[error("github.api_url {problem}; expected something like https://api.github.com/ or https://HOST/api/v3/")]
    ApiUrl {
        /// What is wrong with it; never the address itself where that could show a password.
        problem: &'static str,
    },
    /// A token holds characters that can't be sent.
    #[error("the token {hint} holds a space, a line break or another character that no GitHub token has")]
    Token {
        /// The token's first characters.
        hint: String,
    },
    /// The App's private key can't sign.
    #[error("the GitHub App's key (github.app_private_key_file) is no RSA private key in PEM form")]
    AppKey,
    /// The user agent holds characters that can't be sent, or is empty (GitHub answers 403 without one).
    #[error("github.user_agent {given:?} is empty or can't be sent in a header")]
    UserAgent {
        /// The setting as given.
        given: String,
    },
    /// The HTTP client could not be made (TLS or proxy settings).
    #[error("the HTTP client could not be made: {0}")]
    Http(String),
}

/// What failed while connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectProblem {
    /// The host's name has no address.
    Dns,
    /// The secure connection failed: certificate or protocol.
    Tls,
    /// The host refused or did not answer.
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
            Self::Host => "the host can't be reached; check github.api_url, the network and the proxy settings",
        })
    }
}

/// Why GitHub's answer could not be had. Waits and bounded retries are over when one of these is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// 404: it is gone, was never there, or this token may not see it.
    #[error("GET {path}: not found (404) with {token}: deleted, or hidden from this token")]
    NotFound {
        /// Path and query.
        path: String,
        /// The hint of the token that asked.
        token: String,
    },
    /// 410: deleted, or its feature is switched off (issues of a repository).
    #[error("GET {path}: gone (410): {message}")]
    Gone {
        /// Path and query.
        path: String,
        /// GitHub's words.
        message: String,
    },
    /// 409: the git repository is empty.
    #[error("GET {path}: the git repository is empty (409)")]
    EmptyRepository {
        /// Path and query.
        path: String,
    },
    /// 422: GitHub understood and refuses, for example a page beyond a list's cap.
    #[error("GET {path}: refused (422): {message}")]
    Unprocessable {
        /// Path and query.
        path: String,
        /// GitHub's words.
        message: String,
    },
    /// 451: taken down for legal reasons.
    #[error("GET {path}: blocked for legal reasons (451): {reason}, since {created_at}; see {html_url}")]
    Legal {
        /// Path and query.
        path: String,
        /// `dmca` and the like; `unknown` when GitHub doesn't say.
        reason: String,
        /// When, as GitHub wrote it.
        created_at: String,
        /// The public notice.
        html_url: String,
    },
    /// 403 that is no rate limit: a permission is missing. Never "no data".
    #[error("GET {path}: forbidden (403) with {token}: {message}{}", needs(.accepted_permissions.as_deref()))]
    Forbidden {
        /// Path and query.
        path: String,
        /// The hint of the token that asked.
        token: String,
        /// GitHub's words.
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
    /// The organisation demands a SAML sign-on for this token.
    #[error("GET {path}: the organisation demands single sign-on for {token}: authorise it{}", at(.url.as_deref()))]
    SsoRequired {
        /// Path and query.
        path: String,
        /// The hint of the token that asked.
        token: String,
        /// Where to authorise the token; GitHub keeps the address valid for an hour.
        url: Option<String>,
    },
    /// 200, but organisations are missing from the list because the token has no single sign-on for them.
    #[error(
        "GET {path}: {token} got a partial list, without organisations {organizations}: authorise it for their single sign-on"
    )]
    SsoPartial {
        /// Path and query.
        path: String,
        /// The hint of the token that asked.
        token: String,
        /// The numeric ids of the missing organisations, comma-separated.
        organizations: String,
    },
    /// No token is left at all.
    #[error("GET {path}: {}", out(.tokens))]
    Unauthorized {
        /// Path and query.
        path: String,
        /// The tokens' hints, and why each is out.
        tokens: Vec<(String, String)>,
    },
    /// The only tokens that may be asked with are out, while others are not.
    #[error("GET {path}: nobody is left to ask with: {}", out(.tokens))]
    TokensDisabled {
        /// Path and query.
        path: String,
        /// The tokens' hints, and why each is out.
        tokens: Vec<(String, String)>,
    },
    /// 401 to what a GitHub App signed, or no App of this id.
    #[error("GitHub refused the App {app} ({message}): check github.app_id, its private key and this machine's clock")]
    AppRefused {
        /// The App's id.
        app: String,
        /// GitHub's words.
        message: String,
    },
    /// The App is all there is to ask with, and it is installed on no account.
    #[error("the GitHub App {app} is installed on no account: install it on the organisations that it is to read")]
    NotInstalled {
        /// The App's id.
        app: String,
    },
    /// The App got no token for an account, and nothing else may be asked with.
    #[error("the GitHub App got no token: {why}")]
    NoToken {
        /// What was tried and what came back.
        why: String,
    },
    /// 401 to a request without a token: GitHub answers this only to somebody.
    #[error("GET {path}: GitHub answers this only to a token (401); set GITHUB_TOKEN")]
    NeedsToken {
        /// Path and query.
        path: String,
    },
    /// A redirect or a next page leads out of the API; the token was not sent there.
    #[error("GET {path}: the answer's {role} is refused: {problem}")]
    ForeignUrl {
        /// Path and query.
        path: String,
        /// `redirect` or `Link`.
        role: &'static str,
        /// Where it leads and why that is foreign.
        problem: super::url::UrlProblem,
    },
    /// A list's links lead back to a page that the same walk has read: it has no end.
    #[error(
        "GET {path}: the list's links lead in a circle: this page was read before, and the list ends nowhere; what was \
         read is kept, try again later"
    )]
    LinkCycle {
        /// Path and query of the page that came twice.
        path: String,
    },
    /// Redirects that don't end.
    #[error("GET {path}: gave up after {redirects} redirects")]
    TooManyRedirects {
        /// Path and query.
        path: String,
        /// How many were followed.
        redirects: u32,
    },
    /// 400.
    #[error("GET {path}: bad request (400): {message}")]
    BadRequest {
        /// Path and query.
        path: String,
        /// GitHub's words.
        message: String,
    },
    /// 410 that is about the API's version: this program is too old for the server.
    #[error("GET {path}: the server no longer speaks API version {version} (410: {message}); update msght")]
    RetiredVersion {
        /// Path and query.
        path: String,
        /// The version asked for.
        version: &'static str,
        /// GitHub's words.
        message: String,
    },
    /// Server errors, broken connections, cut or garbled bodies, time-outs: still there after all attempts.
    #[error("GET {path}: no usable answer in {attempts} attempts; the last: {last}; try again later")]
    Unavailable {
        /// Path and query.
        path: String,
        /// How many times it was tried.
        attempts: u32,
        /// What came back last.
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
        /// What came instead.
        found: String,
    },
    /// No connection, and there never was one in this run.
    #[error("can't connect to {api_url} ({attempts} attempts): {problem} ({chain})")]
    Connect {
        /// The API's address.
        api_url: String,
        /// Which step failed.
        problem: ConnectProblem,
        /// How many times it was tried.
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
        /// How many limit answers this request got.
        tries: u32,
        /// GitHub's words.
        message: String,
    },
    /// The request was not sent: it would be beyond the bounds that the user has set for the run.
    #[error("{why}; run the command again, it goes on where it stopped")]
    LimitReached {
        /// Which bound.
        why: String,
    },
    /// The request was not sent: what other processes do with the tokens can't be known.
    #[error("GET {path}: not sent, for the tokens are shared through a store that fails: {problem}")]
    RateLimitStore {
        /// Path and query.
        path: String,
        /// Which store, what happened, what to do.
        problem: crate::rate_limit::RateLimitStoreError,
    },
    /// A body beyond the cap.
    #[error("GET {path}: the body is larger than {cap} bytes")]
    TooLarge {
        /// Path and query.
        path: String,
        /// The cap, in bytes.
        cap: usize,
    },
    /// A status no rule knows.
    #[error("GET {path}: unexpected status {status}: {message}")]
    UnexpectedStatus {
        /// Path and query.
        path: String,
        /// The status.
        status: u16,
        /// GitHub's words.
        message: String,
    },
}

impl ApiError {
    /// Returns whether any other request would fail in the same way: nobody is left to ask with, or GitHub isn't there.
    pub fn concerns_all_requests(&self) -> bool {
        matches!(
            self,
            Self::NoAccess { .. }
                | Self::SsoRequired { .. }
                | Self::Unauthorized { .. }
                | Self::TokensDisabled { .. }
                | Self::AppRefused { .. }
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

    /// Returns whether it says that the one thing that was asked for isn't there. A 422 says so of a commit only in these
    /// words; with others it means that GitHub could not make the answer now.
    pub fn says_missing(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::Unprocessable { message, .. } => message.to_ascii_lowercase().contains("no commit found"),
            _ => false,
        }
    }

    /// Whether GitHub keeps this from the tokens at hand, whatever is there: an answer to "may I?", not to "what is it?".
    pub fn is_access_denied(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::NotFound { .. } | Self::NeedsToken { .. })
    }
}

/// Words of 403s that are about who asks, from where or how often, and not about what may be read.
const NO_PERMISSIONS: [&str; 4] = ["ip allow list", "login attempts", "administrative rules", "try again"];

impl ApiError {
    /// Returns whether the tokens at hand lack a permission for this: a 403 that is neither a limit nor about single sign-on,
    /// nor about the address or the account that asks.
    pub fn lacks_permission(&self) -> bool {
        match self {
            Self::Forbidden { message, .. } => {
                let words = message.to_ascii_lowercase();
                !NO_PERMISSIONS.iter().any(|other| words.contains(other))
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

/// Tokens that are out, and why.
fn out(tokens: &[(String, String)]) -> String {
    let hints = || tokens.iter().map(|(hint, _)| hint.as_str()).collect::<Vec<_>>().join(", ");
    let refused = tokens.iter().all(|(_, why)| why == UNAUTHORIZED);
    match tokens {
        [] => "there is no token for it".to_owned(),
        [(hint, _)] if refused => format!("GitHub refused the token {hint} (401): it is expired, revoked or mistyped"),
        _ if refused => {
            format!("GitHub refused every token (401: {}): they are expired, revoked or mistyped", hints())
        }
        _ => tokens.iter().map(|(hint, why)| format!("{hint} ({why})")).collect::<Vec<_>>().join(", "),
    }
}

/// `ghp_…, ghs_…: 404` when all got the same, else `ghp_…: 404, ghs_…: 403`.
fn tried_list(tried: &[(String, u16)]) -> String {
    let same = tried.iter().all(|(_, status)| Some(status) == tried.first().map(|(_, first)| first));
    let shown = |pairs: &[(String, u16)]| match same {
        true => pairs.iter().map(|(hint, _)| hint.clone()).collect::<Vec<_>>().join(", "),
        false => pairs.iter().map(|(hint, status)| format!("{hint}: {status}")).collect::<Vec<_>>().join(", "),
    };
    match tried.first() {
        Some((_, status)) if same => format!("{}: {status}", shown(tried)),
        _ => shown(tried),
    }
}
