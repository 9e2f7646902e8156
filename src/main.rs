//! Parses the command line, runs one command and turns its outcome into an exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use clap::Parser;
use tokio_util::sync::CancellationToken;

use msght::cli::{Cli, UsageError};
use msght::commands::{self, CommandOutcome};
use msght::config::ConfigError;
use msght::lists::ListError;
use msght::store::BackendError;
use msght::telemetry::Console;

/// Something failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong; nothing was touched.
const MISUSED: u8 = 2;
/// Blocking work that is still running when the command has ended (a name lookup) is not waited for longer.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    memory::give_back();
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
                // The whole chain on one line, so that a log or a mail shows it in one piece.
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
    runtime.shutdown_timeout(RUNTIME_PATIENCE);
    ExitCode::from(code)
}

/// Pages of JSON come and go on all threads, some of them megabytes long.
mod memory {
    /// Bytes from which a block is mapped by itself, and returned to the system as soon as it is freed.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    const MAPPED_FROM: std::ffi::c_int = 128 * 1024;

    /// Keeps glibc from holding on to what each thread has freed, and from raising the size of mapped blocks: with its
    /// defaults the resident memory doubles, and grows with the threads. Called before there is a second thread.
    pub(super) fn give_back() {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        // SAFETY: mallopt only sets parameters of the allocator, and no other thread allocates yet.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
            libc::mallopt(libc::M_TRIM_THRESHOLD, MAPPED_FROM);
        }
    }
}

/// Whether an error is the user's to correct before anything was touched.
fn is_misuse(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let unusable = cause.downcast_ref::<BackendError>().is_some_and(|error| error.before_start);
        unusable || cause.is::<ConfigError>() || cause.is::<UsageError>() || cause.is::<ListError>()
    })
}

/// Ctrl-C and SIGTERM: the first asks the command to stop, the second ends it at once.
mod signals {
    use super::*;

    /// Exit codes as shells give them: 128 and the signal's number.
    const INTERRUPTED: u8 = 130;
    #[cfg(unix)]
    const TERMINATED: u8 = 143;

    /// Starts listening. The value is the exit code of the signal that came, 0 for none.
    pub(super) fn listen(shutdown: CancellationToken, console: Console) -> std::io::Result<Arc<AtomicU8>> {
        let stopped_by = Arc::new(AtomicU8::new(0));
        let seen = stopped_by.clone();
        let mut next = next_signal()?;
        tokio::spawn(async move {
            while let Some(code) = next.recv().await {
                if seen.swap(code, Ordering::SeqCst) != 0 {
                    std::process::exit(code.into());
                }
                // Nothing here may wait for the log: one that hangs must not make the program deaf to the second signal.
                shutdown.cancel();
                console.line("stopping: work in hand is finished; once more to end at once");
            }
        });
        Ok(stopped_by)
    }

    #[cfg(unix)]
    struct Signals {
        interrupt: tokio::signal::unix::Signal,
        terminate: tokio::signal::unix::Signal,
    }

    #[cfg(unix)]
    fn next_signal() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(unix)]
    impl Signals {
        async fn recv(&mut self) -> Option<u8> {
            tokio::select! {
                received = self.interrupt.recv() => received.map(|()| INTERRUPTED),
                received = self.terminate.recv() => received.map(|()| TERMINATED),
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
