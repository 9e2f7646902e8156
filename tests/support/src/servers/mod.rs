//! Real servers for tests, started privately: free ports, temporary data, 127.0.0.1 only, ended with the test process.

pub mod azurite;
pub mod block_on_thread;
pub mod mariadb;
pub mod mongodb;
pub mod rabbitmq;
pub mod scratch;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc;

/// A port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A server's program: in one of these directories, or on the PATH.
///
/// # Panics
/// When it is nowhere: a test that needs a server never passes without it.
pub fn program(name: &str, directories: &[&Path], install: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories_in_path =
        directories.iter().map(|directory| directory.to_path_buf()).chain(std::env::split_paths(&path));
    let found = directories_in_path.map(|directory| directory.join(name)).find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing; install it, for example: {install}"))
}

/// Starts a server that ends with this process at the latest, however that ends.
///
/// The kernel ends it with the thread that has started it, and a test's thread ends with the test: so a thread that does
/// nothing else starts it.
pub fn spawn(mut command: Command) -> Child {
    let (sender, started) = mpsc::channel();
    std::thread::spawn(move || {
        #[cfg(target_os = "linux")]
        {
            use std::os::unix::process::CommandExt;
            // SAFETY: prctl is async-signal-safe and touches nothing of this process's memory.
            unsafe {
                command.pre_exec(|| {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    Ok(())
                });
            }
        }
        let child = command.spawn();
        let started = child.is_ok();
        sender.send(child).expect("the starter waits");
        if started {
            loop {
                std::thread::park();
            }
        }
    });
    started.recv().expect("the starting thread answers").expect("the server starts")
}
