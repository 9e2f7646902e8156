//! `msght webhooks` as a process, and what delivers to it.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::task::JoinHandle;

use super::program::Sandbox;

/// The secret that the servers of tests know.
pub const SECRET: &str = "a webhook's secret";
/// No start takes longer; one that does hangs.
const START: Duration = Duration::from_secs(60);
/// No answer takes longer: the server's own limits are 10 s and 9 s.
const ANSWER: Duration = Duration::from_secs(30);

/// A running `msght webhooks`.
pub struct WebhookServer {
    child: Child,
    /// Address of the public listener, `127.0.0.1:PORT`.
    pub address: String,
    /// Address of the admin listener.
    pub admin: String,
    errors: JoinHandle<String>,
}

/// A request to a server.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl HttpRequest {
    pub fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// A delivery as GitHub sends it, signed; the number makes its GUID.
    pub fn delivery(number: u64, event: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("user-agent", "GitHub-Hookshot/044aadd".to_owned()),
            ("x-github-event", event.to_owned()),
            ("x-github-delivery", guid(number)),
            ("x-github-hook-id", "42".to_owned()),
            ("x-hub-signature-256", sign(SECRET, &body)),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { method: "POST", path: "/".to_owned(), headers, body }
    }

    /// The same with another value of a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// The same to another path.
    pub fn to(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// The head as it is sent.
    pub fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let has = |name: &str| self.headers.iter().any(|(known, _)| known == name);
        if !has("host") {
            head += "host: localhost\r\n";
        }
        if !has("content-length") && !has("transfer-encoding") && self.method == "POST" {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head + "connection: close\r\n\r\n"
    }

    /// Sends it and returns status and text of the answer; status 0 where the connection broke before one.
    pub async fn send(&self, address: &str) -> (u16, String) {
        let exchange = async {
            let Ok(mut stream) = TcpStream::connect(address).await else { return (0, String::new()) };
            let (mut from, mut to) = stream.split();
            let head = self.head();
            let write = async {
                // A server that has rejected the head closes while the body is sent.
                let _ = to.write_all(head.as_bytes()).await;
                let _ = to.write_all(&self.body).await;
            };
            let read = async {
                let mut answer = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = from.read(&mut buffer).await {
                    answer.extend_from_slice(&buffer[..count]);
                }
                answer
            };
            let ((), answer) = tokio::join!(write, read);
            parse(&String::from_utf8_lossy(&answer))
        };
        tokio::time::timeout(ANSWER, exchange).await.expect("the server answers")
    }
}

/// Status and body of an answer.
fn parse(answer: &str) -> (u16, String) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    (status, body.to_owned())
}

/// A GUID that a number makes.
pub fn guid(number: u64) -> String {
    format!("72d3162e-cc78-11e3-81ab-{number:012x}")
}

/// The value of `X-Hub-Signature-256`.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(body);
    mac.finalize().into_bytes().iter().fold("sha256=".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl WebhookServer {
    /// Starts a server of a sandbox on free ports, with [`SECRET`] and the organizations contoso and Codertocat unless there
    /// is an `orgs.txt`.
    pub async fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        Self::start_with_secret(sandbox, SECRET, args).await
    }

    /// Starts a server with another secret, or with several, one a line.
    pub async fn start_with_secret(sandbox: &Sandbox, secret: &str, args: &[&str]) -> Self {
        let orgs = sandbox.path().join("orgs.txt");
        if !orgs.exists() {
            std::fs::write(&orgs, "contoso\nCodertocat\n").expect("orgs.txt");
        }
        let mut all = vec!["webhooks", "--listen", "127.0.0.1:0"];
        all.extend(args);
        let mut command = sandbox.command(&all);
        command.env("MSGHT_WEBHOOKS__ADMIN_LISTEN", "127.0.0.1:0").env("MSGHT_WEBHOOKS__SECRET", secret);
        command.stdout(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its errors")).lines();
        let mut before = String::new();
        let listening = async {
            while let Some(line) = lines.next_line().await.expect("UTF-8") {
                if let Some((_, rest)) = line.split_once("receiving deliveries on http://") {
                    let (address, rest) = rest.split_once('/').expect("an address");
                    let (_, admin) = rest.split_once("http://").expect("an address");
                    return (address.to_owned(), admin.trim_end_matches('/').to_owned(), before);
                }
                before += &line;
                before.push('\n');
            }
            panic!("the server ends: {before}");
        };
        let (address, admin, mut text) = tokio::time::timeout(START, listening).await.expect("the server starts");
        let errors = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                text += &line;
                text.push('\n');
            }
            text
        });
        Self { child, address, admin, errors }
    }

    /// Delivers, and returns the status.
    pub async fn deliver(&self, request: &HttpRequest) -> u16 {
        request.send(&self.address).await.0
    }

    /// SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the server is killed");
    }

    /// SIGTERM, to a server that stops in order: returns what it wrote to standard error.
    pub async fn stop(mut self) -> String {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).expect("a process");
        // SAFETY: the process is this server's, which was not waited for yet.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let status = tokio::time::timeout(START, self.child.wait()).await.expect("the server stops").unwrap();
        let errors = self.errors.await.unwrap();
        assert_eq!(status.code(), Some(143), "{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        errors
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a process")
    }
}
