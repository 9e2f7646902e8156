//! A listener with limits: time-outs for heads, a maximum of connections, and an orderly stop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, http};
use http::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::intake::Intake;
use super::metrics::Metrics;
use crate::open_files;

/// Maximum time for a request's head, and for which an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for requests in progress at the stop: longer than any takes.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);
/// Maximum number of connections, where the limit of open files allows; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 8192;
/// Delay after a connection could not be accepted, so that a lasting cause does not keep a processor busy.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Bytes of a connection's buffer; a head must fit.
const BUFFER_BYTES: usize = 64 * 1024;

/// Returns the routes of the public listener.
pub fn routes(intake: Arc<Intake>) -> Router {
    Router::new()
        .route("/", post(receive))
        .route("/webhooks/github", post(receive))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(intake)
}

async fn receive(State(intake): State<Arc<Intake>>, request: Request<Body>) -> Response {
    let answer = intake.receive(request).await;
    // What is left of a body that was rejected is not read: the connection is closed.
    let close = (answer.status != StatusCode::ACCEPTED).then_some([(http::header::CONNECTION, "close")]);
    (answer.status, close.map(IntoIterator::into_iter).map(axum::response::AppendHeaders), answer.text + "\n")
        .into_response()
}

/// Binds a listener.
///
/// # Errors
/// The address is in use, or not this machine's.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves a listener until `stop`, then finishes the requests in progress.
pub async fn serve(listener: TcpListener, routes: Router, metrics: Arc<Metrics>, stop: CancellationToken) {
    let connections = Arc::new(Semaphore::new(open_files::limit().map_or(MAX_CONNECTIONS, |limit| {
        // The rest is for stores and logs.
        (limit.saturating_sub(limit / 4)).clamp(1, MAX_CONNECTIONS)
    })));
    let graceful = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER_BYTES);
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&connections).acquire_owned() => permit,
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        metrics.connections.add(1);
        set_options(&stream);
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(adapt(routes.clone())));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection closed");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in progress were cut off");
    }
}

/// Answers small and at once.
fn set_options(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "setting a connection's options");
    }
}

/// Adapts the routes to hyper's bodies.
fn adapt(
    routes: Router,
) -> impl Service<Request<hyper::body::Incoming>, Response = Response, Error = Infallible, Future: Send + 'static> + Clone
{
    tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut routes = routes.clone();
        async move { routes.call(request.map(Body::new)).await }
    })
}
