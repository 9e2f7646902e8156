//! The log of a webhook's deliveries: read, sent from again; and pings.

use chrono::{DateTime, Utc};
use http::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::client::GitHub;
use super::super::error::ApiError;
use super::super::page::Fetched;
use super::super::request::{Request, RequestCounter};
use super::super::token_info::TokenRef;
use super::super::url::ApiUrl;

/// Entries per page, GitHub's maximum.
const PER_PAGE: &str = "100";

/// An organization's webhook, and the token that may see to it.
#[derive(Debug, Clone)]
pub struct WebhookRef {
    /// The organization's login.
    pub organization: String,
    /// GitHub's number of the webhook.
    pub id: i64,
    /// The only token to use; any if `None`.
    pub token: Option<TokenRef>,
}

/// An entry of the log: one attempt to deliver an event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LoggedDelivery {
    /// Its number, of which JavaScript could not hold every digit.
    pub id: u64,
    /// The number of the event, which all attempts share.
    pub guid: String,
    /// Time of the attempt.
    pub delivered_at: DateTime<Utc>,
    /// The value of `X-GitHub-Event`.
    pub event: String,
    /// The payload's `action`.
    #[serde(default)]
    pub action: Option<String>,
    /// `OK`, or what went wrong.
    #[serde(default)]
    pub status: Option<String>,
    /// The response's status; absent or 0 if there was none.
    #[serde(default)]
    pub status_code: Option<u16>,
}

impl LoggedDelivery {
    /// Returns whether the server has answered that it has the delivery.
    pub fn is_delivered(&self) -> bool {
        self.status_code.is_some_and(|code| (200..300).contains(&code))
    }

    /// Describes the outcome: the status code, or what went wrong in words.
    pub fn outcome(&self) -> String {
        match self.status_code.filter(|code| *code != 0) {
            Some(code) => code.to_string(),
            None => self.status.clone().unwrap_or_else(|| "no answer".to_owned()),
        }
    }
}

/// A page of the log, newest entries first.
#[derive(Debug, Clone)]
pub struct LogPage {
    /// The entries.
    pub entries: Vec<LoggedDelivery>,
    /// The page of older ones.
    pub next: Option<ApiUrl>,
    /// GitHub's clock.
    pub date: Option<DateTime<Utc>>,
}

/// A delivery as it was sent.
#[derive(Debug, Clone)]
pub struct SentDelivery {
    /// The request's headers.
    pub headers: Vec<(String, String)>,
    /// The payload, as JSON.
    pub payload: String,
}

#[derive(Deserialize)]
struct WholeDelivery<'a> {
    #[serde(borrow)]
    request: SentRequest<'a>,
}

#[derive(Deserialize)]
struct SentRequest<'a> {
    #[serde(default)]
    headers: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl WebhookRef {
    fn url(&self, below: &[&str]) -> ApiUrl {
        let id = self.id.to_string();
        ApiUrl::path(&[&["orgs", &self.organization, "hooks", &id], below].concat())
    }

    fn get(&self, url: ApiUrl) -> Request {
        Request::get(url).token(self.token.clone())
    }

    fn post(&self, below: &[&str]) -> Request {
        Request::mutation(Method::POST, self.url(below), &json!({})).token(self.token.clone())
    }
}

impl GitHub {
    /// Returns a page of a webhook's log; the newest one without `page`.
    ///
    /// # Errors
    /// As [`GitHub::send`]; [`ApiError::UnexpectedStatus`] if it is no log.
    pub async fn delivery_log(
        &self,
        hook: &WebhookRef,
        page: Option<ApiUrl>,
        counter: &RequestCounter,
    ) -> Result<LogPage, ApiError> {
        let url = page.unwrap_or_else(|| hook.url(&["deliveries"]).query("per_page", PER_PAGE));
        let request = hook.get(url.clone());
        let Fetched::Page(page) = self.send(&request, counter).await? else {
            return Ok(LogPage { entries: Vec::new(), next: None, date: None });
        };
        let entries = serde_json::from_slice(&page.body).map_err(|error| malformed(&url, &error))?;
        Ok(LogPage { entries, next: page.links.next, date: page.date })
    }

    /// Returns a delivery as it was sent, or `None` if the log has no payload of it any more.
    ///
    /// # Errors
    /// As [`GitHub::send`]; [`ApiError::UnexpectedStatus`] if it is no delivery.
    pub async fn delivery(
        &self,
        hook: &WebhookRef,
        id: u64,
        counter: &RequestCounter,
    ) -> Result<Option<SentDelivery>, ApiError> {
        let url = hook.url(&["deliveries", &id.to_string()]);
        let page = match self.send(&hook.get(url.clone()), counter).await {
            Ok(Fetched::Page(page)) => page,
            Ok(Fetched::NotModified) => return Ok(None),
            Err(error) if error.says_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let whole: WholeDelivery<'_> = serde_json::from_slice(&page.body).map_err(|error| malformed(&url, &error))?;
        let headers = whole.request.headers.unwrap_or_default().into_iter();
        let headers = headers.filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect();
        let payload = whole.request.payload.map(|payload| payload.get().to_owned());
        Ok(payload.filter(|payload| payload != "null").map(|payload| SentDelivery { headers, payload }))
    }

    /// Asks GitHub to send a delivery again.
    ///
    /// # Errors
    /// As [`GitHub::send`].
    pub async fn redeliver(&self, hook: &WebhookRef, id: u64, counter: &RequestCounter) -> Result<(), ApiError> {
        // Twice is as good as once: the number of the event is the same.
        let request = hook.post(&["deliveries", &id.to_string(), "attempts"]).idempotent();
        self.send(&request, counter).await.map(drop)
    }

    /// Asks GitHub to ping a webhook.
    ///
    /// # Errors
    /// As [`GitHub::send`].
    pub async fn ping_webhook(&self, hook: &WebhookRef, counter: &RequestCounter) -> Result<(), ApiError> {
        self.send(&hook.post(&["pings"]).idempotent(), counter).await.map(drop)
    }
}

fn malformed(url: &ApiUrl, error: &serde_json::Error) -> ApiError {
    ApiError::UnexpectedStatus {
        path: url.to_string(),
        status: 200,
        message: format!("the body is not what GitHub describes: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_without_a_status_code_are_read() {
        for code in ["null", "0", "200"] {
            let text = format!(
                r#"{{"id": 9100000000000000017, "guid": "a", "delivered_at": "2026-01-02T03:04:05.123Z", "event": "push", "status": "timed out", "status_code": {code}}}"#
            );
            let entry: LoggedDelivery = serde_json::from_str(&text).unwrap();
            assert_eq!((entry.id, entry.is_delivered()), (9_100_000_000_000_000_017, code == "200"));
            assert_eq!(entry.outcome(), if code == "200" { "200" } else { "timed out" });
        }
    }
}
