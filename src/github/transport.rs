//! One exchange over HTTP: sends a request and reads the whole response.

use std::error::Error;

use bytes::BytesMut;
use http::{HeaderValue, header};
use url::Url;

use super::base::{API_VERSION, is_loopback};
use super::classify::{Response, TransientFailure};
use super::error::{ApiError, ClientError, ConnectProblem};
use super::limits::ClientLimits;
use super::request::{Accept, Request};
use super::tls;
use super::tokens::Permit;
use super::url::ApiUrl;
use crate::http::{error_chain, install_crypto_provider, sources};
use crate::open_files;
use crate::rate_limit::MAX_IN_FLIGHT;

/// The HTTP client: no redirects, retries or referrers of its own, and bounded bodies.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    http: reqwest::Client,
    max_body_bytes: usize,
}

/// An error without a response.
#[derive(Debug)]
pub(super) enum TransportError {
    /// It may pass: worth another attempt.
    Transient(TransientFailure),
    /// Another attempt would fail too.
    Api(ApiError),
}

impl Transport {
    pub(super) fn new(api_url: &Url, user_agent: &str, limits: &ClientLimits) -> Result<Self, ClientError> {
        let agent = HeaderValue::from_str(user_agent.trim())
            .ok()
            .filter(|agent| !agent.is_empty())
            .ok_or_else(|| ClientError::UserAgent { given: user_agent.to_owned() })?;
        install_crypto_provider();
        let tls = tls::client_config().map_err(|error| ClientError::Http(error.to_string()))?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(agent)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .gzip(true)
            // Over HTTP/2 a first run with 16 requests in flight and 50 ms per response takes the same time (5.4 s for 1,303
            // requests), but one connection for all of them would lose or delay them all at once.
            .http1_only()
            .pool_max_idle_per_host(MAX_IN_FLIGHT)
            .connect_timeout(limits.connect_timeout)
            .read_timeout(limits.read_timeout)
            .timeout(limits.request_timeout);
        if is_loopback(api_url) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ClientError::Http(error_chain(&error.without_url())))?;
        Ok(Self { http, max_body_bytes: limits.max_body_bytes })
    }

    /// Sends a request to `url`, its own address or one it was redirected to, and reads the whole response.
    pub(super) async fn send(
        &self,
        api_url: &Url,
        url: &ApiUrl,
        request: &Request,
        etag: Option<&HeaderValue>,
        permit: &Permit,
    ) -> Result<Response, TransportError> {
        let address = url.resolve(api_url);
        let mut builder = match &request.mutation {
            None => self.http.get(address),
            Some(mutation) => self
                .http
                .request(mutation.method.clone(), address)
                .header(header::CONTENT_TYPE, "application/json")
                .body(mutation.body.clone()),
        };
        if let Some(etag) = etag {
            builder = builder.header(header::IF_NONE_MATCH, etag.clone());
        }
        self.receive(builder, url, request.accept, permit).await
    }

    async fn receive(
        &self,
        request: reqwest::RequestBuilder,
        url: &ApiUrl,
        accept: Accept,
        permit: &Permit,
    ) -> Result<Response, TransportError> {
        let accept = match accept {
            Accept::Json => "application/vnd.github+json",
            Accept::StarJson => "application/vnd.github.star+json",
        };
        let mut request = request.header(header::ACCEPT, accept).header("X-GitHub-Api-Version", API_VERSION);
        if let Some(authorization) = &permit.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let failed = |error: reqwest::Error| TransportError::Transient(failure(error));
        let mut response = request.send().await.map_err(failed)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len().saturating_add(chunk.len()) > self.max_body_bytes {
                return Err(TransportError::Api(ApiError::TooLarge {
                    path: url.to_string(),
                    cap: self.max_body_bytes,
                }));
            }
            body.extend_from_slice(&chunk);
        }
        let headers = std::mem::take(response.headers_mut());
        let authorization = permit.authorization.clone();
        Ok(Response { status: response.status(), headers, body: body.freeze(), authorization })
    }
}

fn failure(error: reqwest::Error) -> TransientFailure {
    let error = error.without_url();
    let connect = error.is_connect().then(|| {
        if open_files::is_limit(&error) || open_files::is_limit_reached() {
            ConnectProblem::OpenFiles
        } else if error.is_dns() {
            ConnectProblem::Dns
        } else if sources(&error).any(is_tls) {
            ConnectProblem::Tls
        } else {
            ConnectProblem::Host
        }
    });
    let timeout = error.is_timeout();
    let why = if timeout { format!("time-out: {}", error_chain(&error)) } else { error_chain(&error) };
    TransientFailure { timed_out: timeout && connect.is_none(), connect, ..TransientFailure::new(why) }
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    // An I/O error's source is its inner error's source, not the inner error, which may be an I/O error again.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner))
}
