//! Azure Blob Storage: the check of a container by one signed request (Microsoft Learn: Authorize with Shared Key).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::StatusCode;
use sha2::Sha256;
use url::Url;

use crate::http::error_chain;
use crate::secret::Secret;

/// The oldest version of the API that has everything used here; emulators support it, too.
const VERSION: &str = "2021-12-02";
/// Limit for the request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// A storage account and its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// The account's name.
    pub name: String,
    /// One of the account's two keys, in base64.
    pub key: Secret,
    /// The blob endpoint: `https://NAME.blob.core.windows.net/`.
    pub endpoint: Url,
}

/// The existence of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// The container exists.
    Exists,
    /// The container does not exist; the key may create it.
    Missing,
}

impl Account {
    /// Returns an account's blob endpoint on Azure, or `None` for a text that is no account name.
    pub fn default_endpoint(name: &str) -> Option<Url> {
        let is_name =
            (3..=24).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        is_name.then(|| Url::parse(&format!("https://{name}.blob.core.windows.net/")).ok()).flatten()
    }

    /// Returns whether a text may be a key.
    pub fn is_key(key: &Secret) -> bool {
        STANDARD.decode(key.expose().trim()).is_ok_and(|key| !key.is_empty())
    }

    /// Requests a container's properties. An account's key permits everything, so a reply means that it can be written.
    ///
    /// # Errors
    /// The reason why there is no reply, or what was rejected; nothing of the key.
    pub async fn container(&self, http: &reqwest::Client, container: &str) -> Result<Container, String> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| "the endpoint can't have a path".to_owned())?
            .pop_if_empty()
            .push(container);
        let date = Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let signature = self.signature(&date, url.path())?;
        url.query_pairs_mut().append_pair("restype", "container");
        let request = http
            .get(url)
            .timeout(REQUEST_TIMEOUT)
            .header("x-ms-date", &date)
            .header("x-ms-version", VERSION)
            .header("authorization", format!("SharedKey {}:{signature}", self.name));
        let response = request.send().await.map_err(|error| error_chain(&error.without_url()))?;
        let code = response.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        if !response.headers().contains_key("x-ms-request-id") {
            return Err(format!("the server is not Azure Blob Storage ({})", response.status().as_u16()));
        }
        match response.status() {
            StatusCode::OK => Ok(Container::Exists),
            StatusCode::NOT_FOUND if code == "ContainerNotFound" => Ok(Container::Missing),
            StatusCode::FORBIDDEN => Err(format!("the account rejected its key (403 {code})")),
            status => Err(format!("unexpected status {} {code}", status.as_u16())),
        }
    }

    /// Signs a request for a container's properties with the key.
    fn signature(&self, date: &str, path: &str) -> Result<String, String> {
        let key =
            STANDARD.decode(self.key.expose().trim()).map_err(|_| "the account's key is not base64".to_owned())?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| error.to_string())?;
        // The verb; eleven standard headers, none of which is sent; Microsoft's headers; the resource and its parameters.
        let name = &self.name;
        let signed =
            format!("GET{}x-ms-date:{date}\nx-ms-version:{VERSION}\n/{name}{path}\nrestype:container", "\n".repeat(12));
        mac.update(signed.as_bytes());
        Ok(STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_matches_openssl() {
        let account = Account {
            name: "devstoreaccount1".to_owned(),
            key: Secret::new(STANDARD.encode("key")),
            endpoint: Account::default_endpoint("devstoreaccount1").unwrap(),
        };
        let signature = account.signature("Wed, 25 Nov 2026 12:00:00 GMT", "/dumps").unwrap();
        // printf 'GET\n\n...' | openssl dgst -sha256 -hmac key -binary | base64
        assert_eq!(signature, "B5CM67zHkIdKPCackG4AWK/aNkuieyYagzvxLpNzorA=");
        let broken = Account { key: Secret::new("not base64!"), ..account };
        assert!(broken.signature("", "").is_err());
        assert_eq!(Account::default_endpoint("Not an account"), None);
    }
}
