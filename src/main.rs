//! Parses the command line, runs one command and converts its outcome to an exit code.

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser;
use tokio_util::sync::CancellationToken;

use msght::cli::{Cli, UsageError};
use msght::commands::{self, CommandOutcome};
use msght::config::ConfigError;
use msght::list_files::ListError;
use msght::store::BackendError;
use msght::telemetry::Console;

/// The exit code if something failed.
const FAILED: u8 = 1;
/// The exit code of a usage or configuration error; nothing was touched.
const MISUSED: u8 = 2;
/// Time to wait for blocking work, such as a name lookup, that outlives the command.
const RUNTIME_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    memory::tune_allocator();
    msght::private_files::restrict_umask();
    // clap itself exits with 2 on a usage error and with 0 after --help.
    let cli = Cli::parse();
    let console = Console::new(cli.global.quiet);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            console.error(&format!("error: can't start the runtime: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let code = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let stopped_by = match signals::listen(shutdown.clone(), console.clone()) {
            Ok(stopped_by) => stopped_by,
            Err(error) => {
                console.error(&format!("error: can't listen for signals: {error}"));
                return FAILED;
            }
        };
        let outcome = commands::run(cli, console.clone(), shutdown).await;
        let code = match outcome {
            Ok(CommandOutcome::Complete) => 0,
            Ok(CommandOutcome::Incomplete) => FAILED,
            Err(error) => {
                // The whole chain is on one line, so that a log or a mail shows it in one piece.
                console.error(&format!("error: {}", format!("{error:#}").replace('\n', " ")));
                tracing::error!("{error:#}");
                if is_misuse(&error) { MISUSED } else { FAILED }
            }
        };
        match stopped_by.load(Ordering::SeqCst) {
            0 => code,
            by_signal => by_signal,
        }
    });
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN_TIMEOUT);
    ExitCode::from(code)
}

/// Allocator settings: pages of JSON, some of them megabytes long, come and go on all threads.
mod memory {
    /// Size in bytes from which a block is mapped by itself, and returned to the system when it is freed.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    const MMAP_THRESHOLD: std::ffi::c_int = 128 * 1024;

    /// Keeps glibc from retaining freed memory per thread and from raising the mmap threshold: with its defaults the
    /// resident memory doubles, and grows with the threads. To be called before there is a second thread.
    pub(super) fn tune_allocator() {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        // SAFETY: mallopt only sets parameters of the allocator, and no other thread allocates yet.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
            libc::mallopt(libc::M_TRIM_THRESHOLD, MMAP_THRESHOLD);
        }
    }
}

/// Returns whether an error is one of usage or configuration, before which nothing was touched.
fn is_misuse(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let unusable = cause.downcast_ref::<BackendError>().is_some_and(|error| error.before_start);
        unusable || cause.is::<ConfigError>() || cause.is::<UsageError>() || cause.is::<ListError>()
    })
}

/// Ctrl-C, SIGTERM and SIGHUP: the first one asks the command to stop, the second one ends it at once.
mod signals {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};

    use tokio_util::sync::CancellationToken;

    use msght::telemetry::Console;

    /// Exit codes are 128 plus the signal's number, as in shells.
    const INTERRUPTED: u8 = 130;
    #[cfg(unix)]
    const HUNG_UP: u8 = 129;
    #[cfg(unix)]
    const TERMINATED: u8 = 143;

    /// Starts listening. The returned value becomes the exit code of the first signal; 0 stands for none.
    pub(super) fn listen(shutdown: CancellationToken, console: Console) -> std::io::Result<Arc<AtomicU8>> {
        let stopped_by = Arc::new(AtomicU8::new(0));
        let first = stopped_by.clone();
        let mut next = next_signal()?;
        tokio::spawn(async move {
            while let Some(code) = next.recv().await {
                if first.swap(code, Ordering::SeqCst) != 0 {
                    std::process::exit(code.into());
                }
                // This must not wait for the log: if that hangs, the second signal has to be heard all the same.
                shutdown.cancel();
                console.line("stopping: running work is finished first; a second signal ends it at once");
            }
        });
        Ok(stopped_by)
    }

    #[cfg(unix)]
    struct Signals {
        interrupt: tokio::signal::unix::Signal,
        terminate: tokio::signal::unix::Signal,
        /// `None` if it is ignored, as under `nohup`.
        hang_up: Option<tokio::signal::unix::Signal>,
    }

    #[cfg(unix)]
    fn next_signal() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: if is_hang_up_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Returns whether the process was started with SIGHUP ignored.
    #[cfg(unix)]
    fn is_hang_up_ignored() -> bool {
        // SAFETY: sigaction with a null new action only writes the present one to `action`, for which zeros are valid.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut action) == 0
                && action.sa_sigaction == libc::SIG_IGN
        }
    }

    #[cfg(unix)]
    impl Signals {
        async fn recv(&mut self) -> Option<u8> {
            let hang_up = async {
                match &mut self.hang_up {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = self.interrupt.recv() => received.map(|()| INTERRUPTED),
                received = self.terminate.recv() => received.map(|()| TERMINATED),
                received = hang_up => received.map(|()| HUNG_UP),
            }
        }
    }

    #[cfg(not(unix))]
    struct Signals;

    #[cfg(not(unix))]
    fn next_signal() -> std::io::Result<Signals> {
        Ok(Signals)
    }

    #[cfg(not(unix))]
    impl Signals {
        async fn recv(&mut self) -> Option<u8> {
            tokio::signal::ctrl_c().await.ok().map(|()| INTERRUPTED)
        }
    }
}
