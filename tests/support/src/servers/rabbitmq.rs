//! A private RabbitMQ broker with its own epmd, on free ports of 127.0.0.1 and temporary data.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{free_port, program, spawn};

const INSTALL: &str = "sudo apt-get install rabbitmq-server";
/// A broker is ready after 6 to 10 s on an idle machine with two cores; tests that compile and run beside it take them.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Virtual hosts that are there from the start: making one later takes seconds, a hundred at start no noticeable time.
const VHOSTS: usize = 100;
/// The name before the process id in the name of a broker's directory.
const DIRECTORY_PREFIX: &str = "msght-rabbitmq-";

/// A user who may connect to [`LOCKED_VHOST`] and do nothing there, whose password has to be percent-encoded in a URL.
pub const ODD_USER: &str = "odd user";
/// That user's password.
pub const ODD_PASSWORD: &str = "p@ss/w:rd?#%é";

/// A virtual host for that user alone.
pub const LOCKED_VHOST: &str = "locked";

/// A running broker; it ends, and its data go, with this value.
pub struct RabbitServer {
    directory: PathBuf,
    port: u16,
    dist_port: u16,
    epmd_port: u16,
    epmd: Mutex<Child>,
    broker: Mutex<Child>,
    vhosts_given: AtomicUsize,
}

impl RabbitServer {
    /// Starts a broker of one's own, for tests that kill it. Blocks until it takes connections.
    ///
    /// # Panics
    /// When RabbitMQ is not installed, or not ready in time.
    pub fn start() -> Self {
        Self::start_with("[].")
    }

    /// The same, with settings in the Erlang form of RabbitMQ's advanced configuration file.
    pub fn start_with(settings: &str) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        remove_leftovers();
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("{DIRECTORY_PREFIX}{}-{number}", std::process::id()));
        let (port, dist_port, epmd_port) = (free_port(), free_port(), free_port());
        prepare(&directory, port, settings).expect("the broker's directory can be written");
        let mut command = Command::new(program("epmd", &[], INSTALL));
        command.env("ERL_EPMD_PORT", epmd_port.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let epmd = spawn(command);
        wait_for(|| TcpStream::connect(("127.0.0.1", epmd_port)).is_ok(), || "epmd does not listen".to_owned());
        let broker = launch(&directory, port, dist_port, epmd_port);
        let server = Self {
            directory,
            port,
            dist_port,
            epmd_port,
            epmd: Mutex::new(epmd),
            broker: Mutex::new(broker),
            vhosts_given: AtomicUsize::new(0),
        };
        server.wait_until_ready();
        server
    }

    /// The broker that all tests of this process share. It is never to be killed.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RabbitServer> = OnceLock::new();
        extern "C" fn end() {
            if let Some(server) = SHARED.get() {
                server.end();
            }
        }
        SHARED.get_or_init(|| {
            // A static is never dropped: its processes would end with this one anyway, but its files would stay.
            // SAFETY: the function is C's, takes nothing, and does not unwind: nothing in `end` panics.
            unsafe { libc::atexit(end) };
            Self::start()
        })
    }

    /// The URL of a virtual host that no other test of this process uses.
    pub fn vhost_url(&self) -> String {
        let number = self.vhosts_given.fetch_add(1, Ordering::Relaxed);
        assert!(number < VHOSTS, "raise VHOSTS: the tests of one process need more virtual hosts");
        format!("{}/v{number}", self.url())
    }

    /// The broker's URL without a virtual host.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL, in the middle of whatever it does.
    pub fn kill(&self) {
        let mut broker = self.broker.lock().expect("the broker's lock");
        broker.kill().expect("the broker can be killed");
        broker.wait().expect("the broker ends");
    }

    /// Starts it again after [`kill`](Self::kill), with the same data and ports. Blocks until it takes connections.
    pub fn restart(&self) {
        let mut broker = self.broker.lock().expect("the broker's lock");
        *broker = launch(&self.directory, self.port, self.dist_port, self.epmd_port);
        drop(broker);
        self.wait_until_ready();
    }

    /// Stops (`true`) and continues the broker's process, as a machine that hangs would.
    pub fn freeze(&self, frozen: bool) {
        let pid = self.broker.lock().expect("the broker's lock").id();
        let signal = if frozen { libc::SIGSTOP } else { libc::SIGCONT };
        // SAFETY: kill has no memory effects; the process is this one's unreaped child, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid.cast_signed(), signal) }, 0);
    }

    fn wait_until_ready(&self) {
        wait_for(
            || greets(self.port),
            || {
                let output = std::fs::read_to_string(self.directory.join("output")).unwrap_or_default();
                format!("RabbitMQ is not ready within {} s:\n{output}", READY_WITHIN.as_secs())
            },
        );
    }

    fn end(&self) {
        for child in [&self.broker, &self.epmd] {
            if let Ok(mut child) = child.lock() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Drop for RabbitServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Writes what the broker reads at its start.
fn prepare(directory: &Path, port: u16, settings: &str) -> std::io::Result<()> {
    for part in ["home", "mnesia", "log", "generated"] {
        std::fs::create_dir_all(directory.join(part))?;
    }
    let vhosts: Vec<String> = ["/", LOCKED_VHOST]
        .map(str::to_owned)
        .into_iter()
        .chain((0..VHOSTS).map(|number| format!("v{number}")))
        .collect();
    let all = ".*";
    let mut permissions: Vec<Value> = vhosts
        .iter()
        .map(|name| json!({"user": "guest", "vhost": name, "configure": all, "write": all, "read": all}))
        .collect();
    permissions.push(json!({"user": ODD_USER, "vhost": LOCKED_VHOST, "configure": "", "write": "", "read": ""}));
    let definitions = json!({
        "users": [
            {"name": "guest", "password": "guest", "tags": ["administrator"]},
            {"name": ODD_USER, "password": ODD_PASSWORD, "tags": []},
        ],
        "vhosts": vhosts.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "permissions": permissions,
    });
    std::fs::write(directory.join("definitions.json"), definitions.to_string())?;
    let configuration = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\ndisk_free_limit.absolute = 50MB\nlog.console = false\n\
         load_definitions = {}\n",
        directory.join("definitions.json").display()
    );
    std::fs::write(directory.join("rabbitmq.conf"), configuration)?;
    std::fs::write(directory.join("advanced.config"), settings)?;
    std::fs::write(directory.join("enabled_plugins"), "[].\n")?;
    let cookie = directory.join("home/.erlang.cookie");
    std::fs::write(&cookie, format!("msght{port}"))?;
    std::fs::set_permissions(&cookie, std::os::unix::fs::PermissionsExt::from_mode(0o400))
}

/// Starts the broker. Its script executes the Erlang machine in its own place when it believes that input is allowed,
/// so that the child's id is the broker's; `-noinput` then keeps it from reading any.
fn launch(directory: &Path, port: u16, dist_port: u16, epmd_port: u16) -> Child {
    let output = std::fs::File::create(directory.join("output")).expect("the broker's output can be written");
    let mut command = Command::new(server_program());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory.join("home"))
        .env("LANG", "C.UTF-8")
        .env("ERL_EPMD_PORT", epmd_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        // Every Erlang machine starts a daemon of its own otherwise, also the short-lived one that looks for epmd.
        .env("ERL_FLAGS", "-start_epmd false")
        .env("RABBITMQ_NODENAME", format!("msght{port}@localhost"))
        .env("RABBITMQ_DIST_PORT", dist_port.to_string())
        .env("RABBITMQ_MNESIA_BASE", directory.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", directory.join("log"))
        .env("RABBITMQ_PID_FILE", directory.join("pid"))
        .env("RABBITMQ_CONFIG_FILE", directory.join("rabbitmq.conf"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", directory.join("advanced.config"))
        .env("RABBITMQ_CONF_ENV_FILE", directory.join("none"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", directory.join("enabled_plugins"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", directory.join("generated"))
        .env("RABBITMQ_ALLOW_INPUT", "1")
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-noinput +S 2:2 +sbwt none")
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a second handle"))
        .stderr(output);
    spawn(command)
}

/// The server's own script. Debian's wrapper of the same name changes the user, so its real place comes first.
fn server_program() -> PathBuf {
    let mut candidates: Vec<PathBuf> = std::fs::read_dir("/usr/lib/rabbitmq/lib")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("rabbitmq_server-"))
        .map(|entry| entry.path().join("sbin"))
        .collect();
    candidates.sort();
    let candidates: Vec<&Path> = candidates.iter().map(PathBuf::as_path).collect();
    program("rabbitmq-server", &candidates, INSTALL)
}

/// Whether a broker answers an AMQP header with its first frame.
fn greets(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let greeting = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"AMQP\0\0\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first[0])
    };
    greeting().is_ok_and(|frame_type| frame_type == 1)
}

fn wait_for(is_so: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let deadline = Instant::now() + READY_WITHIN;
    while !is_so() {
        assert!(Instant::now() < deadline, "{}", otherwise());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Removes what brokers of test processes have left that were killed themselves.
fn remove_leftovers() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(DIRECTORY_PREFIX)?.split('-').next());
        if owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
