//! Classification of responses. Both 403 and 429 may mean either rate limit or a missing permission, so a status alone decides
//! nothing.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::value::RawValue;

use super::base::API_VERSION;
use super::budget::{MAX_WAIT, RateLimitHeaders};
use super::error::{ApiError, ConnectProblem};

/// Maximum length of a message shown; GitHub's are a sentence or two.
const MAX_MESSAGE_CHARS: usize = 300;

/// A response with its whole body.
#[derive(Debug)]
pub(super) struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The request's `Authorization`, to be hidden should the response repeat it.
    pub authorization: Option<HeaderValue>,
}

/// The meaning of a response for its request.
#[derive(Debug)]
pub(super) enum ResponseClass {
    /// 200, 201 or 204, complete.
    Page,
    /// 304 to a conditional request.
    NotModified,
    /// A redirect to this location.
    Redirect(String),
    /// A rate limit was hit.
    RateLimited(RateLimitResponse),
    /// 401, with GitHub's message.
    Unauthorized(String),
    /// A failure that may pass: worth another attempt.
    Transient(TransientFailure),
    /// An error that another attempt would get again.
    Error(ApiError),
}

/// A response that reports a rate limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RateLimitResponse {
    pub backoff: Backoff,
    pub message: String,
}

/// The duration of a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backoff {
    /// `Retry-After`.
    RetryAfter(Duration),
    /// Until the window ends.
    UntilReset(Duration),
    /// A secondary limit that names no time.
    Secondary,
}

/// A failure that may pass.
#[derive(Debug, Clone)]
pub(super) struct TransientFailure {
    pub why: String,
    /// The server ran out of time or failed at it: a smaller page may succeed.
    pub timed_out: bool,
    /// The server's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// It is no answer of GitHub's API at all.
    pub not_github: bool,
    /// The step at which connecting failed.
    pub connect: Option<ConnectProblem>,
}

impl TransientFailure {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), timed_out: false, retry_after: None, not_github: false, connect: None }
    }
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    /// Returns the server's time.
    pub(super) fn date(&self) -> Option<DateTime<Utc>> {
        http_date(self.header("date")?)
    }

    /// Returns the interval that GitHub wants between two requests for a feed; more than a day is not believed.
    pub(super) fn poll_interval(&self) -> Option<Duration> {
        const MAX_POLL_INTERVAL: u64 = 24 * 60 * 60;
        let seconds: u64 = self.header("x-poll-interval")?.parse().ok()?;
        Some(Duration::from_secs(seconds.min(MAX_POLL_INTERVAL)))
    }

    pub(super) fn etag(&self) -> Option<&str> {
        self.header("etag").filter(|tag| !tag.is_empty())
    }

    /// Returns when the token expires. GitHub writes `2025-02-04 16:42:10 UTC`, or a numeric offset.
    pub(super) fn token_expiry(&self) -> Option<DateTime<Utc>> {
        let text = self.header("github-authentication-token-expiration")?;
        match text.strip_suffix(" UTC") {
            Some(naive) => Some(chrono::NaiveDateTime::parse_from_str(naive, "%Y-%m-%d %H:%M:%S").ok()?.and_utc()),
            None => Some(DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %z").ok()?.to_utc()),
        }
    }

    /// Returns a classic token's scopes; GitHub sends none for other kinds.
    pub(super) fn scopes(&self) -> Option<&str> {
        self.header("x-oauth-scopes")
    }

    fn is_json(&self) -> bool {
        serde_json::from_slice::<&RawValue>(&self.body).is_ok()
    }

    /// Returns whether it is a web page where GitHub's API would have sent JSON.
    pub(super) fn is_web_page(&self) -> bool {
        !self.is_json()
            && (self.header("content-type").is_some_and(|t| t.starts_with("text/html")) || self.body.starts_with(b"<"))
    }

    /// Returns GitHub's message, fit for one line.
    fn message(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Body {
            message: Option<String>,
        }
        let words = serde_json::from_slice::<Body>(&self.body).ok().and_then(|body| body.message);
        let token = self.authorization.as_ref().and_then(|sent| sent.to_str().ok()?.strip_prefix("Bearer "));
        let words = match (words, token) {
            (Some(words), Some(token)) => Some(words.replace(token, "***")),
            (words, _) => words,
        };
        match words {
            Some(words) => {
                words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE_CHARS).collect()
            }
            None => format!("{}, no message", self.status.canonical_reason().unwrap_or("unknown status")),
        }
    }

    fn retry_after(&self, server_now: DateTime<Utc>) -> Option<Duration> {
        let text = self.header("retry-after")?;
        let seconds = match text.parse::<u64>() {
            Ok(seconds) => seconds,
            // All digits, but too large.
            Err(_) if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() => u64::MAX,
            Err(_) => u64::try_from((http_date(text)? - server_now).num_seconds()).unwrap_or(0),
        };
        Some(Duration::from_secs(seconds).min(MAX_WAIT))
    }

    /// Returns the rate limit that it reports, if it does (GitHub docs: rate limits, troubleshooting).
    fn limit(&self, server_now: DateTime<Utc>) -> Option<RateLimitResponse> {
        if !matches!(self.status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
            return None;
        }
        let rate = RateLimitHeaders::read(&self.headers);
        let message = self.message();
        let words = message.to_ascii_lowercase();
        let backoff = if let Some(wait) = self.retry_after(server_now) {
            Backoff::RetryAfter(wait)
        } else if rate.has_limit() && rate.remaining == Some(0) {
            Backoff::UntilReset(rate.until_reset(server_now))
        } else if words.contains("secondary rate limit")
            || words.contains("abuse detection")
            || words.contains("abuse rate limit")
        {
            Backoff::Secondary
        } else if self.status == StatusCode::TOO_MANY_REQUESTS || words.contains("rate limit exceeded") {
            // A limit, but not which or for how long: treated as the one that names no time.
            Backoff::Secondary
        } else {
            return None;
        };
        Some(RateLimitResponse { backoff, message })
    }

    /// Classifies the response. `path` and `token` (a hint) go into errors; `conditional` requests carried an ETag.
    pub(super) fn classify(&self, path: &str, token: &str, conditional: bool) -> ResponseClass {
        let path = || path.to_owned();
        let token = || token.to_owned();
        let server_now = self.date().unwrap_or_else(Utc::now);
        let sso = self.header("x-github-sso").unwrap_or_default();
        let status = self.status.as_u16();
        if self.status == StatusCode::FORBIDDEN && sso.starts_with("required") {
            let url = parameter(sso, "url").filter(|url| !url.chars().any(char::is_control));
            return ResponseClass::Error(ApiError::SsoRequired { path: path(), token: token(), url });
        }
        if let Some(limit) = self.limit(server_now) {
            return ResponseClass::RateLimited(limit);
        }
        // GitHub denies access in JSON: an HTML page comes from a machine in between and says nothing about the data. A limit counts
        // whoever reports it: the edge in front of the API sends pages of its own.
        if self.status.is_client_error() && self.is_web_page() {
            return ResponseClass::Transient(TransientFailure {
                not_github: true,
                ..TransientFailure::new(format!("{status} with a web page instead of JSON"))
            });
        }
        ResponseClass::Error(match status {
            // Still being computed, which is not the same as empty (GitHub docs: statistics).
            202 => return ResponseClass::Transient(TransientFailure::new("202: GitHub is still computing it")),
            200 | 201 | 204 => {
                if sso.starts_with("partial-results") {
                    let organizations = parameter(sso, "organizations").unwrap_or_default();
                    return ResponseClass::Error(ApiError::SsoPartial { path: path(), token: token(), organizations });
                }
                // 204 may be empty; an empty 200 is a truncated response, not an empty list.
                if self.is_json() || (self.body.is_empty() && status == 204) {
                    return ResponseClass::Page;
                }
                let why = if self.is_web_page() {
                    format!("{status} with a web page instead of JSON")
                } else {
                    format!("{status} with a body that is no complete JSON ({} bytes)", self.body.len())
                };
                return ResponseClass::Transient(TransientFailure { not_github: true, ..TransientFailure::new(why) });
            }
            304 if conditional => return ResponseClass::NotModified,
            304 => return ResponseClass::Transient(TransientFailure::new("304 to an unconditional request")),
            301 | 302 | 307 | 308 => match self.header("location") {
                Some(location) => return ResponseClass::Redirect(location.to_owned()),
                None => return ResponseClass::Transient(TransientFailure::new(format!("{status} without a Location"))),
            },
            400 => ApiError::BadRequest { path: path(), message: self.message() },
            401 => return ResponseClass::Unauthorized(self.message()),
            403 => ApiError::Forbidden {
                path: path(),
                token: token(),
                message: self.message(),
                accepted_permissions: self.header("x-accepted-github-permissions").map(str::to_owned),
            },
            404 => ApiError::NotFound { path: path(), token: token() },
            408 => {
                return ResponseClass::Transient(TransientFailure {
                    timed_out: true,
                    ..TransientFailure::new("408: the server ran out of time")
                });
            }
            409 if self.means_empty() => ApiError::EmptyRepository { path: path() },
            410 if self.message().to_ascii_lowercase().contains("version") => {
                ApiError::RetiredVersion { path: path(), version: API_VERSION, message: self.message() }
            }
            410 => ApiError::Gone { path: path(), message: self.message() },
            422 => ApiError::Unprocessable { path: path(), message: self.message() },
            451 => self.legal(path()),
            500..=599 => {
                return ResponseClass::Transient(TransientFailure {
                    timed_out: matches!(status, 500 | 502 | 504),
                    retry_after: self.retry_after(server_now),
                    ..TransientFailure::new(format!("{status}: {}", self.message()))
                });
            }
            _ => ApiError::UnexpectedStatus { path: path(), status, message: self.message() },
        })
    }

    /// Returns whether a 409 means an empty repository (GitHub docs: commits, trees); other conflicts have another message.
    fn means_empty(&self) -> bool {
        let words = self.message().to_ascii_lowercase();
        words.contains("empty") || words == "conflict" || words.ends_with("no message")
    }

    fn legal(&self, path: String) -> ApiError {
        #[derive(serde::Deserialize, Default)]
        #[serde(default)]
        struct Block {
            reason: Option<String>,
            created_at: Option<String>,
            html_url: Option<String>,
        }
        #[derive(serde::Deserialize)]
        struct Body {
            block: Option<Block>,
        }
        let block = serde_json::from_slice::<Body>(&self.body).ok().and_then(|body| body.block).unwrap_or_default();
        let or_unknown = |text: Option<String>| match text {
            Some(text) => text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE_CHARS).collect(),
            None => "unknown".to_owned(),
        };
        ApiError::Legal {
            path,
            reason: or_unknown(block.reason),
            created_at: or_unknown(block.created_at),
            html_url: or_unknown(block.html_url),
        }
    }
}

/// Returns a parameter of `X-GitHub-SSO`: `required; url=...`, `partial-results; organizations=1,2`.
fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text).ok().map(|date| date.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, content_type: &str, body: &'static str) -> ResponseClass {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", content_type.parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        Response { status, headers, body: Bytes::from_static(body.as_bytes()), authorization: None }
            .classify("/x", "ghp_…", false)
    }

    fn limit(status: u16, headers: &[(&'static str, &str)]) -> Option<Backoff> {
        let mut all = HeaderMap::new();
        all.insert("content-type", HeaderValue::from_static("text/html"));
        for (name, value) in headers {
            all.insert(*name, value.parse().unwrap());
        }
        let body = Bytes::from_static(b"<!DOCTYPE html><html>too many requests</html>");
        let response =
            Response { status: StatusCode::from_u16(status).unwrap(), headers: all, body, authorization: None };
        match response.classify("/x", "ghp_…", false) {
            ResponseClass::RateLimited(limit) => Some(limit.backoff),
            _ => None,
        }
    }

    #[test]
    fn limits_are_recognized_in_web_pages() {
        let expected = Some(Backoff::RetryAfter(Duration::from_secs(90)));
        assert_eq!(limit(429, &[("retry-after", "90")]), expected);
        assert_eq!(limit(403, &[("retry-after", "90")]), expected);
        assert_eq!(limit(429, &[]), Some(Backoff::Secondary));
        let spent = [("x-ratelimit-limit", "5000"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "0")];
        assert!(matches!(limit(403, &spent), Some(Backoff::UntilReset(_))));
        assert_eq!(limit(403, &[]), None);
        assert_eq!(limit(404, &[("retry-after", "90")]), None);
    }

    #[test]
    fn incomplete_bodies_are_not_empty_lists() {
        assert!(matches!(outcome(200, "application/json", "[]"), ResponseClass::Page));
        assert!(matches!(outcome(204, "application/json", ""), ResponseClass::Page));
        for (status, body) in [(200, ""), (202, ""), (202, "{}"), (200, "[{\"a\":1")] {
            assert!(
                matches!(outcome(status, "application/json", body), ResponseClass::Transient(_)),
                "{status} {body:?}"
            );
        }
    }

    #[test]
    fn repeated_token_is_not_shown() {
        let body = Bytes::from_static(br#"{"message":"bad Bearer ghp_0123456789abcdef, sorry"}"#);
        let authorization = Some(HeaderValue::from_static("Bearer ghp_0123456789abcdef"));
        let response = Response { status: StatusCode::BAD_REQUEST, headers: HeaderMap::new(), body, authorization };
        assert_eq!(response.message(), "bad Bearer ***, sorry");
    }

    #[test]
    fn html_page_is_not_an_access_denial() {
        for status in [403, 404, 410, 451] {
            assert!(matches!(outcome(status, "text/html", "<html>no</html>"), ResponseClass::Transient(_)), "{status}");
            assert!(
                matches!(outcome(status, "application/json", "{\"message\":\"no\"}"), ResponseClass::Error(_)),
                "{status}"
            );
        }
    }
}
