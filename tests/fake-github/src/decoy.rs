//! A second server, which is not GitHub: nothing secret may ever reach it.
use axum::extract::{Request, State};
use axum::http::StatusCode;
use std::sync::{Arc, Mutex};

/// A request that the decoy has seen.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path_and_query: String,
    pub headers: Vec<(String, String)>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// Records every request that it gets, and answers `[]`.
pub struct Decoy {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Decoy {
    /// Starts it on a free port, on `localhost` by name, so that it's another host than the fake GitHub's 127.0.0.1.
    pub async fn start() -> Decoy {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        listener.set_nonblocking(true).unwrap();
        let seen = Arc::new(Mutex::new(vec![]));
        let app = axum::Router::new().fallback(record).with_state(seen.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let _ = axum::serve(listener, app).await;
        });
        Decoy { url, seen, runtime: Some(runtime) }
    }

    /// Its base address, with a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Decoy {
    fn drop(&mut self) {
        if let Some(r) = self.runtime.take() {
            r.shutdown_background();
        }
    }
}

async fn record(State(seen): State<Arc<Mutex<Vec<Seen>>>>, request: Request) -> (StatusCode, &'static str) {
    let headers = request.headers().iter();
    let headers = headers.map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect();
    let path_and_query = request.uri().path_and_query().map(|p| p.to_string()).unwrap_or_default();
    seen.lock().unwrap().push(Seen { path_and_query, headers });
    (StatusCode::OK, "[]")
}
