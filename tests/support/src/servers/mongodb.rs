//! A server that speaks MongoDB's protocol, and one that only answers as it is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, RawDocumentBuf, doc};
use tempfile::TempDir;

use super::{free_port, program, scratch, spawn};

const INSTALL: &str = "python3 -m venv tests/.venv && tests/.venv/bin/pip install -r tests/requirements.txt";
/// Names a genuine server to be used by the tests that don't kill theirs.
const GENUINE: &str = "MSGHT_TEST_MONGODB_URL";
/// It starts within two seconds on an idle machine.
const START: Duration = Duration::from_secs(60);
/// The message kinds of the wire protocol (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>).
const OP_REPLY: u32 = 1;
const OP_QUERY: u32 = 2004;
const OP_MSG: u32 = 2013;

/// A server with data of its own; or the genuine one that the environment names.
pub struct MongoServer {
    address: String,
    /// `None` for a genuine server.
    own: Option<Own>,
}

struct Own {
    port: u16,
    program: PathBuf,
    directory: TempDir,
    process: Mutex<Option<Child>>,
}

impl MongoServer {
    /// Starts a server that the caller may kill.
    pub fn start() -> Self {
        let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin");
        let program = program("nx-27017", &[&venv], INSTALL);
        let port = free_port();
        let own = Own { port, program, directory: scratch::directory("mongodb"), process: Mutex::new(None) };
        let server = Self { address: format!("mongodb://127.0.0.1:{port}"), own: Some(own) };
        server.restart();
        server
    }

    /// The server that the tests of this process share, each with databases of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MongoServer> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var(GENUINE) {
            Ok(address) => Self { address, own: None },
            Err(_) => Self::start(),
        })
    }

    /// Like [`shared`](Self::shared), but the next of a few each time: one works its commands on a single processor, and many
    /// tests at once would wait for it.
    pub fn next_shared() -> &'static Self {
        static MORE: [OnceLock<MongoServer>; 2] = [const { OnceLock::new() }; 2];
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let first = Self::shared();
        match MORE.get(NEXT.fetch_add(1, Ordering::Relaxed) % (MORE.len() + 1)) {
            Some(server) if !first.is_genuine() => server.get_or_init(Self::start),
            _ => first,
        }
    }

    /// The URL of a database. A genuine server keeps what earlier runs left, so there the name is made unique.
    pub fn url(&self, database: &str) -> String {
        if self.own.is_some() {
            // No test cuts the power, and waiting for the disk takes this server more time than all else.
            return format!("{}/{database}?journal=false", self.address);
        }
        static RUN: OnceLock<String> = OnceLock::new();
        let run = RUN.get_or_init(|| {
            let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
            format!("{}_{}", std::process::id(), since.as_millis())
        });
        let (address, query) = self.address.split_once('?').unwrap_or((&self.address, ""));
        let (scheme, rest) = address.split_once("://").expect("a URL");
        let host = rest.split('/').next().unwrap_or(rest);
        format!("{scheme}://{host}/msght_{database}_{run}?{query}")
    }

    /// Whether this is a genuine server.
    pub fn is_genuine(&self) -> bool {
        self.own.is_none()
    }

    /// SIGKILL: what was not confirmed is lost.
    pub fn kill(&self) {
        let own = self.own.as_ref().expect("a genuine server is not killed");
        if let Some(mut child) = own.process.lock().unwrap().take() {
            child.kill().expect("the server is killed");
            child.wait().expect("the server has ended");
        }
    }

    /// Starts it again on the same port and data, and waits until it answers.
    pub fn restart(&self) {
        let own = self.own.as_ref().expect("a genuine server is not restarted");
        self.kill();
        let file = |name: &str| own.directory.path().join(name);
        std::fs::create_dir_all(file("data")).expect("a data directory");
        let mut command = Command::new(&own.program);
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("src/servers/nx"))
            .arg("--data-dir")
            .arg(file("data"))
            .args(["--host", "127.0.0.1", "-p", &own.port.to_string()])
            // It removes its pid file when it ends: both are files of its own.
            .arg("--log-file")
            .arg(file("log"))
            .arg("--pid-file")
            .arg(file("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        *own.process.lock().unwrap() = Some(spawn(command));
        let began = Instant::now();
        while !answers(own.port) {
            assert!(began.elapsed() < START, "nx-27017 does not answer on port {}", own.port);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for MongoServer {
    fn drop(&mut self) {
        if self.own.is_some() {
            self.kill();
        }
    }
}

/// Whether a server answers a ping.
fn answers(port: u16) -> bool {
    let ping = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        send(&mut stream, OP_MSG, 0, &doc! { "ping": 1, "$db": "admin" })?;
        receive(&mut stream)
    };
    ping().is_ok()
}

/// A server without data, which answers each command as a function says.
pub struct ScriptedServer {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ScriptedServer {
    /// Serves until the process ends. `answer` gets a command's name and how often it has come before; `None` closes the
    /// connection. The handshake is answered with `wire_version`.
    pub fn start(wire_version: i32, answer: impl Fn(&str, usize) -> Option<Document> + Send + Sync + 'static) -> Self {
        static CONNECTIONS: AtomicU32 = AtomicU32::new(1);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let commands = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, commands) = (Arc::clone(&answer), Arc::clone(&commands));
                let hello = doc! {
                    "ok": 1, "isWritablePrimary": true, "ismaster": true, "helloOk": true,
                    "minWireVersion": 0, "maxWireVersion": wire_version, "maxBsonObjectSize": 16_777_216,
                    "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
                    "connectionId": i64::from(CONNECTIONS.fetch_add(1, Ordering::Relaxed)),
                };
                std::thread::spawn(move || serve(stream, &hello, &commands, &*answer));
            }
        });
        Self { port, asked }
    }

    /// The URL of a database, with a user part such as `user:password@` or nothing.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("mongodb://{user}127.0.0.1:{}/{database}", self.port)
    }

    /// The names of the commands that have come, without handshakes.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    hello: &Document,
    asked: &Mutex<Vec<String>>,
    answer: &dyn Fn(&str, usize) -> Option<Document>,
) {
    while let Ok((kind, request, command)) = receive(&mut stream) {
        let name = command.keys().next().cloned().unwrap_or_default();
        let reply = if name.eq_ignore_ascii_case("hello") || name.eq_ignore_ascii_case("ismaster") {
            Some(hello.clone())
        } else {
            let before = {
                let mut asked = asked.lock().unwrap();
                asked.push(name.clone());
                asked.iter().filter(|other| **other == name).count() - 1
            };
            answer(&name, before)
        };
        let Some(reply) = reply else { return };
        let kind = if kind == OP_QUERY { OP_REPLY } else { OP_MSG };
        if send(&mut stream, kind, request, &reply).is_err() {
            return;
        }
    }
}

fn send(stream: &mut TcpStream, kind: u32, in_reply_to: u32, document: &Document) -> std::io::Result<()> {
    let body = RawDocumentBuf::try_from(document).map_err(std::io::Error::other)?;
    // OP_REPLY: flags, cursor, position, count. OP_MSG: flags, and a section of kind 0.
    let head: Vec<u8> = if kind == OP_REPLY { [&[0_u8; 16][..], &1_u32.to_le_bytes()].concat() } else { vec![0; 5] };
    let length = u32::try_from(16 + head.len() + body.as_bytes().len()).map_err(std::io::Error::other)?;
    let mut message: Vec<u8> = [length, 1, in_reply_to, kind].iter().flat_map(|number| number.to_le_bytes()).collect();
    message.extend(head);
    message.extend(body.as_bytes());
    stream.write_all(&message)
}

/// A message's kind, its id and its first document.
fn receive(stream: &mut TcpStream) -> std::io::Result<(u32, u32, Document)> {
    let mut header = [0; 16];
    stream.read_exact(&mut header)?;
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let (length, id, kind) = (number(&header[..4]), number(&header[4..8]), number(&header[12..]));
    let mut body = vec![0; (length as usize).saturating_sub(16)];
    stream.read_exact(&mut body)?;
    let begin = match kind {
        OP_MSG => 5,
        // OP_QUERY: flags, a name that NUL ends, two numbers.
        OP_QUERY => 4 + body[4..].iter().position(|byte| *byte == 0).map_or(0, |end| end + 1) + 8,
        _ => 20,
    };
    let document = body.get(begin..).ok_or_else(|| std::io::Error::other("a short message"))?;
    let size = document.get(..4).map_or(0, |bytes| number(bytes) as usize);
    let document = document.get(..size).ok_or_else(|| std::io::Error::other("a short document"))?;
    let document = RawDocumentBuf::from_bytes(document.to_vec()).map_err(std::io::Error::other)?;
    Ok((kind, id, Document::try_from(&*document).map_err(std::io::Error::other)?))
}
