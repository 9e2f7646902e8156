//! What users read on standard error while a command runs.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Off a terminal (cron's mail, a journal) progress is a line now and then: often enough to see that it
/// lives, seldom enough that hours of work stay readable.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Where notices and progress go: standard error, with bars on a terminal and plain lines elsewhere.
/// Cheap to clone; all clones share the bars. A standard error that is closed is ignored.
#[derive(Clone, Debug)]
pub struct Console {
    quiet: bool,
    progress: bool,
    bars: Option<MultiProgress>,
}

impl Console {
    /// The console of this process; `quiet` leaves only [`Console::error`].
    pub fn new(quiet: bool) -> Self {
        let bars = (!quiet && io::stderr().is_terminal())
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { quiet, progress: !quiet, bars }
    }

    /// The same console without the progress of single things, for work on many things at once.
    pub fn without_progress(&self) -> Self {
        Self { progress: false, ..self.clone() }
    }

    /// A notice: one line above the progress bars. Control characters are shown escaped.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            self.error(text);
        }
    }

    /// As [`Console::line`], and also shown when quiet.
    pub fn error(&self, text: &str) {
        self.write_above_bars(format!("{}\n", printable(text)).as_bytes());
    }

    /// Starts the progress of one thing. Its length is unknown until [`Progress::set_length`].
    pub fn progress(&self, label: &str) -> Progress {
        let label = printable(label);
        let renderer = match &self.bars {
            _ if !self.progress => Renderer::Nothing,
            Some(bars) => {
                let bar = bars.add(ProgressBar::no_length());
                bar.set_style(style(false));
                bar.set_prefix(label.clone());
                Renderer::Bar(bar)
            }
            None => Renderer::Lines(Mutex::new(TextProgress { last: Instant::now(), ..TextProgress::default() })),
        };
        Progress { inner: Arc::new(Inner { label, console: self.clone(), renderer }) }
    }

    /// As [`Console::progress`], on a terminal alone: for what a log has lines of its own for.
    pub fn bar(&self, label: &str) -> Progress {
        if self.bars.is_some() { self.progress(label) } else { self.without_progress().progress(label) }
    }

    /// Writes whole lines where they don't tear the bars.
    pub(super) fn write_above_bars(&self, bytes: &[u8]) {
        // A reader that went away must not end the work: there is nobody to tell.
        let write = || drop(io::stderr().lock().write_all(bytes));
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// The text with its control characters escaped, so that a name from outside can't drive the terminal.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn style(with_length: bool) -> ProgressStyle {
    let template = if with_length {
        "{prefix:32!} [{bar:24}] {human_pos}/{human_len} {msg}"
    } else {
        "{prefix:32!} {spinner} {human_pos} {msg}"
    };
    // Both templates are constants that a test parses; the plain bar stands in for one that would not.
    ProgressStyle::with_template(template)
        .map(|style| style.progress_chars("=> "))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The progress of one thing. Clones are the same progress; it disappears with [`Progress::finish`] or its last clone.
#[derive(Clone, Debug)]
pub struct Progress {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    label: String,
    console: Console,
    renderer: Renderer,
}

#[derive(Debug)]
enum Renderer {
    Bar(ProgressBar),
    Lines(Mutex<TextProgress>),
    Nothing,
}

#[derive(Debug)]
struct TextProgress {
    position: u64,
    length: Option<u64>,
    message: String,
    last: Instant,
    finished: bool,
}

impl Default for TextProgress {
    fn default() -> Self {
        Self { position: 0, length: None, message: String::new(), last: Instant::now(), finished: false }
    }
}

impl Progress {
    /// How much is done.
    pub fn set_position(&self, position: u64) {
        self.update(|bar| bar.set_position(position), |plain| plain.position = position);
    }

    /// This much more is done.
    pub fn inc(&self, more: u64) {
        self.update(|bar| bar.inc(more), |plain| plain.position = plain.position.saturating_add(more));
    }

    /// How much there is in all.
    pub fn set_length(&self, length: u64) {
        self.update(
            |bar| {
                if bar.length().is_none() {
                    bar.set_style(style(true));
                }
                bar.set_length(length);
            },
            |plain| plain.length = Some(length),
        );
    }

    /// What is being done now.
    pub fn message(&self, text: &str) {
        let text = printable(text);
        self.update(|bar| bar.set_message(text.clone()), |plain| plain.message.clone_from(&text));
    }

    /// Takes the progress off the terminal.
    pub fn finish(&self) {
        match &self.inner.renderer {
            Renderer::Bar(bar) => bar.finish_and_clear(),
            Renderer::Lines(plain) => plain.lock().unwrap_or_else(PoisonError::into_inner).finished = true,
            Renderer::Nothing => {}
        }
    }

    fn update(&self, on_bar: impl FnOnce(&ProgressBar), on_plain: impl FnOnce(&mut TextProgress)) {
        match &self.inner.renderer {
            Renderer::Bar(bar) => on_bar(bar),
            Renderer::Nothing => {}
            Renderer::Lines(plain) => {
                let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
                on_plain(&mut plain);
                if !plain.finished && plain.last.elapsed() >= LINE_INTERVAL {
                    plain.last = Instant::now();
                    self.inner.console.line(&plain.line(&self.inner.label));
                }
            }
        }
    }
}

impl TextProgress {
    fn line(&self, label: &str) -> String {
        let mut line = format!("{label}: {}", self.position);
        if let Some(length) = self.length {
            line.push_str(&format!(" of {length}"));
        }
        if !self.message.is_empty() {
            line.push_str(&format!(", {}", self.message));
        }
        line
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Renderer::Bar(bar) = &self.renderer {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\u{9b}d"), "a\\u{1b}[2Jb\\r\nc\\u{9b}d");
    }

    #[test]
    fn both_styles_parse() {
        for template in [true, false] {
            drop(style(template));
        }
        assert!(ProgressStyle::with_template("{prefix:32!} [{bar:24}] {human_pos}/{human_len} {msg}").is_ok());
        assert!(ProgressStyle::with_template("{prefix:32!} {spinner} {human_pos} {msg}").is_ok());
    }

    #[test]
    fn progress_off_a_terminal_is_a_sentence() {
        let plain =
            TextProgress { position: 3, length: Some(9), message: "page 2".to_owned(), ..TextProgress::default() };
        assert_eq!(plain.line("contoso/web"), "contoso/web: 3 of 9, page 2");
    }

    #[test]
    fn a_console_is_shared_between_threads() {
        fn shared<T: Clone + Send + Sync>() {}
        shared::<Console>();
        shared::<Progress>();
        let progress = Console::new(true).progress("quiet");
        progress.set_length(2);
        progress.inc(1);
        progress.message("half");
        progress.finish();
    }
}
