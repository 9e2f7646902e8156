//! A GitHub App's own authentication: it signs JSON web tokens, which get it a token for each account it is installed on (GitHub
//! docs: generating a JSON web token for a GitHub App).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};

use super::error::ClientError;
use super::settings::AppConfig;
use super::token_info::Installation;
use crate::secret::Secret;

/// Time by which JWTs are dated back, so that a clock ahead of GitHub's by less does no harm (GitHub's advice).
const CLOCK_SKEW_ALLOWANCE: TimeDelta = TimeDelta::seconds(60);
/// Lifetime of a JWT; GitHub's maximum is ten minutes, on its own clock.
const JWT_LIFETIME: TimeDelta = TimeDelta::minutes(8);
/// Clock difference below which a rejected signature has another reason.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(30);

/// A GitHub App (not the context of a command, which is in `commands`).
pub(super) struct App {
    id: String,
    key: EncodingKey,
    /// Offset of GitHub's clock from this machine's.
    clock_offset: Mutex<TimeDelta>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: i64,
    exp: i64,
    iss: Issuer<'a>,
}

/// An App's id. GitHub accepts text, but older servers want a number where it is one.
#[derive(Serialize)]
#[serde(untagged)]
enum Issuer<'a> {
    Number(u64),
    Text(&'a str),
}

/// Returns what is wrong with an App's private key, if anything is.
pub fn private_key_problem(pem: &Secret) -> Option<&'static str> {
    match parse_private_key(pem) {
        Ok(_) => None,
        Err(_) if pem.expose().contains("PUBLIC KEY") => Some("a public key where the private one is needed"),
        Err(_) => Some("no RSA private key in PEM form"),
    }
}

/// Parses a private key and checks that it can sign.
fn parse_private_key(pem: &Secret) -> Result<EncodingKey, jsonwebtoken::errors::Error> {
    let key = EncodingKey::from_rsa_pem(pem.expose().as_bytes())?;
    sign_jwt("0", &key, DateTime::<Utc>::UNIX_EPOCH)?;
    Ok(key)
}

fn sign_jwt(id: &str, key: &EncodingKey, now: DateTime<Utc>) -> Result<String, jsonwebtoken::errors::Error> {
    let iss = id.parse().map_or(Issuer::Text(id), Issuer::Number);
    let claims = Claims { iat: (now - CLOCK_SKEW_ALLOWANCE).timestamp(), exp: (now + JWT_LIFETIME).timestamp(), iss };
    encode(&Header::new(Algorithm::RS256), &claims, key)
}

impl App {
    pub(super) fn new(config: &AppConfig) -> Result<Self, ClientError> {
        let key = parse_private_key(&config.key).map_err(|_| ClientError::AppKey)?;
        Ok(Self { id: config.id.clone(), key, clock_offset: Mutex::new(TimeDelta::zero()) })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Returns the `Authorization` header for one request of the App itself. Signing can't fail with a key that was parsed.
    pub(super) fn authorization(&self) -> HeaderValue {
        let clock_offset = *self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner);
        let token = sign_jwt(&self.id, &self.key, Utc::now() + clock_offset).unwrap_or_default();
        let mut value =
            HeaderValue::from_str(&format!("Bearer {token}")).unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        value
    }

    /// Synchronizes the clock with GitHub's. Returns whether it was so far off that signatures were rejected.
    pub(super) fn sync_clock(&self, server_now: DateTime<Utc>) -> bool {
        let clock_offset = server_now - Utc::now();
        let mut known = self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner);
        if (clock_offset - *known).abs() < CLOCK_TOLERANCE {
            return false;
        }
        *known = clock_offset;
        true
    }
}

/// Parses a page of `/app/installations`.
pub(super) fn parse_installations(body: &[u8]) -> Result<Vec<Installation>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Account {
        login: String,
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    #[derive(Deserialize)]
    struct Listed {
        id: i64,
        // An enterprise has a slug instead of a login, and no repositories.
        account: Option<serde_json::Value>,
        #[serde(default)]
        permissions: serde_json::Map<String, serde_json::Value>,
        repository_selection: Option<String>,
        suspended_at: Option<String>,
    }
    let listed: Vec<Listed> = serde_json::from_slice(body)?;
    let read = |listed: Listed| {
        let account: Account = serde_json::from_value(listed.account?).ok()?;
        let text = |(name, level): (String, serde_json::Value)| Some((name, level.as_str()?.to_owned()));
        Some(Installation {
            id: listed.id,
            account: account.login,
            organization: account.kind.as_deref() == Some("Organization"),
            selected: listed.repository_selection.as_deref() == Some("selected"),
            suspended: listed.suspended_at.is_some(),
            permissions: listed.permissions.into_iter().filter_map(text).collect(),
            token: None,
        })
    };
    Ok(listed.into_iter().filter_map(read).collect())
}

/// Parses an installation's new token and its lifetime.
pub(super) fn parse_token(body: &[u8], server_now: DateTime<Utc>) -> Result<(Secret, Duration), serde_json::Error> {
    #[derive(Deserialize)]
    struct Issued {
        token: String,
        expires_at: DateTime<Utc>,
    }
    let issued: Issued = serde_json::from_slice(body)?;
    let lifetime = (issued.expires_at - server_now).to_std().unwrap_or_default();
    Ok((Secret::new(issued.token), lifetime))
}
