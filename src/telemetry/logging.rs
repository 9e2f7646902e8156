//! The log: always a file, and standard error with `--verbose`.

use std::io;
use std::path::PathBuf;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::{ChronoUtc, FormatTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::{Console, Level, RotatingFile};

/// The log's settings, `logging.*`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// The log file.
    pub file: PathBuf,
    /// The least severe level that is logged.
    pub level: Level,
    /// Days that rotated log files are kept.
    pub keep_days: u32,
}

/// Starts the log of this process. The file and its directory are created with the first line.
///
/// A second call changes nothing: the first log stays.
pub fn start(settings: &LogConfig, verbose: bool, console: &Console) {
    let reporter = console.clone();
    let file = RotatingFile::new(settings.file.clone(), settings.keep_days, move |problem| {
        reporter.error(&format!("warning: {problem}; the work goes on without a log file"));
    });
    let to_file = layer(file).with_filter(filter(settings.level));
    let to_stderr = verbose.then(|| layer(AboveBars(console.clone())).with_filter(filter(settings.level)));
    drop(tracing_subscriber::registry().with(to_file).with(to_stderr).try_init());
}

/// Passes msght's own lines at the level, and those of its libraries at `warn` at most: their debug lines would drown ours and
/// could contain headers.
fn filter(level: Level) -> Targets {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("msght", level)
}

fn layer<S, W>(writer: W) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static + Send + Sync,
{
    fmt::layer().with_writer(writer).with_ansi(false).with_target(false).with_timer(utc_time())
}

fn utc_time() -> impl FormatTime + Send + Sync + 'static {
    ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".to_owned())
}

/// A writer to standard error above the progress bars.
struct AboveBars(Console);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Console);

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_above_bars(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
