//! A server that answers as Azure Blob Storage does.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::{program, spawn};

const INSTALL: &str = "npm ci --prefix tests --ignore-scripts";
/// It starts within two seconds on an idle machine.
const START: Duration = Duration::from_secs(60);
const READY: &str = "successfully listens on ";

/// The account that it knows.
pub const ACCOUNT: &str = "contosodumps";
/// That account's key: `key-of-the-test-account` in base64.
pub const KEY: &str = "a2V5LW9mLXRoZS10ZXN0LWFjY291bnQ=";

/// A server whose blobs are in its memory.
pub struct Azurite {
    /// Where the account's blobs are served; ends in a slash.
    pub endpoint: String,
    process: Child,
}

impl Azurite {
    pub fn start() -> Self {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node_modules/.bin");
        let mut command = Command::new(program("azurite-blob", &[&modules], INSTALL));
        command.args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck"]);
        command.args(["--disableTelemetry"]).env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"));
        let mut process = spawn({
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
            command
        });
        let output = process.stdout.take().expect("a pipe");
        let (sender, ready) = mpsc::channel();
        // Read to its end: a full pipe would stop the server.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once(READY) {
                    let _ = sender.send(address.trim().to_owned());
                }
            }
        });
        let address = ready.recv_timeout(START).expect("Azurite starts");
        Self { endpoint: format!("{address}/{ACCOUNT}/"), process }
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Azurite {
    /// Makes a container, as its owner would.
    pub fn create_container(&self, name: &str) {
        use base64::Engine as _;
        use hmac::{KeyInit as _, Mac as _};
        let base64 = base64::engine::general_purpose::STANDARD;
        let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let signed = format!(
            "PUT{}x-ms-date:{date}\nx-ms-version:2021-12-02\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container",
            "\n".repeat(12)
        );
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&base64.decode(KEY).unwrap()).unwrap();
        mac.update(signed.as_bytes());
        let signature = base64.encode(mac.finalize().into_bytes());
        let (_, rest) = self.endpoint.split_once("://").expect("a URL");
        let (host, path) = rest.split_once('/').expect("a path");
        let request = format!(
            "PUT /{path}{name}?restype=container HTTP/1.1\r\nhost: {host}\r\nx-ms-date: {date}\r\n\
             x-ms-version: 2021-12-02\r\nauthorization: SharedKey {ACCOUNT}:{signature}\r\ncontent-length: 0\r\n\
             connection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(host).expect("Azurite answers");
        stream.write_all(request.as_bytes()).expect("the request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer is read");
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }
}
