//! The console: notices, errors and progress on standard error while a command runs.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Minimum time between progress lines off a terminal (cron's mail, a journal): often enough to show that work goes on, rare
/// enough that hours of it stay readable.
const LINE_INTERVAL: Duration = Duration::from_secs(30);
/// Columns of a progress line's label.
const MAX_LABEL_WIDTH: u16 = 32;
/// Columns from which a progress line has a bar.
const MIN_WIDTH_WITH_BAR: u16 = 80;

/// Standard error, with progress bars on a terminal and plain lines elsewhere. Clones share the bars. A closed standard error
/// is ignored.
#[derive(Clone, Debug)]
pub struct Console {
    quiet: bool,
    progress: bool,
    bars: Option<MultiProgress>,
}

impl Console {
    /// Creates the console of this process; `quiet` leaves only [`Console::error`].
    pub fn new(quiet: bool) -> Self {
        let bars = (!quiet && io::stderr().is_terminal())
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { quiet, progress: !quiet, bars }
    }

    /// Returns the same console without progress, for work on many things at once.
    pub fn without_progress(&self) -> Self {
        Self { progress: false, ..self.clone() }
    }

    /// Writes a notice above the progress bars. Control characters are escaped.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            self.error(text);
        }
    }

    /// Writes a line that is shown when quiet, too.
    pub fn error(&self, text: &str) {
        self.write_above_bars(format!("{}\n", printable(text)).as_bytes());
    }

    /// Starts the progress of one operation. Its length is unknown until [`Progress::set_length`].
    pub fn progress(&self, label: &str) -> Progress {
        let label = printable(label);
        let renderer = match &self.bars {
            _ if !self.progress => Renderer::Nothing,
            Some(bars) => {
                let bar = bars.add(ProgressBar::no_length());
                bar.set_style(style(terminal_width(), false));
                bar.set_prefix(label.clone());
                Renderer::Bar(bar)
            }
            None => Renderer::Lines(Mutex::new(TextProgress { last: Instant::now(), ..TextProgress::default() })),
        };
        Progress { inner: Arc::new(Inner { label, console: self.clone(), renderer }) }
    }

    /// Starts progress that only a terminal shows, for operations that report lines of their own.
    pub fn start_terminal_progress(&self, label: &str) -> Progress {
        if self.bars.is_some() { self.progress(label) } else { self.without_progress().progress(label) }
    }

    /// Writes whole lines above the bars.
    pub(super) fn write_above_bars(&self, bytes: &[u8]) {
        // A reader that has gone away must not end the work.
        let write = || drop(io::stderr().lock().write_all(bytes));
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// Escapes control characters, so that a name from outside can't control the terminal.
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

fn terminal_width() -> u16 {
    Term::stderr().size().1
}

/// Returns the template of a progress line, which fits into a terminal of at least 40 columns.
fn template(width: u16, with_length: bool) -> String {
    let label = MAX_LABEL_WIDTH.min(width / 3);
    match with_length {
        true if width >= MIN_WIDTH_WITH_BAR => {
            format!("{{prefix:{label}!}} [{{bar:24}}] {{human_pos}}/{{human_len}} {{wide_msg}}")
        }
        true => format!("{{prefix:{label}!}} {{human_pos}}/{{human_len}} {{wide_msg}}"),
        false => format!("{{prefix:{label}!}} {{spinner}} {{human_pos}} {{wide_msg}}"),
    }
}

fn style(width: u16, with_length: bool) -> ProgressStyle {
    // A test parses the templates; indicatif's own bar would stand in for one that does not parse.
    ProgressStyle::with_template(&template(width, with_length))
        .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "))
}

/// The progress of one operation. It disappears with [`Progress::finish`] or its last clone.
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
    /// Sets the amount that is done.
    pub fn set_position(&self, position: u64) {
        self.update(|bar| advance(bar, position), |text| text.position = position);
    }

    /// Adds to the amount that is done.
    pub fn inc(&self, more: u64) {
        self.update(
            |bar| advance(bar, bar.position().saturating_add(more)),
            |text| text.position = text.position.saturating_add(more),
        );
    }

    /// Sets the expected total, which grows if more than that is done.
    pub fn set_length(&self, length: u64) {
        self.update(
            |bar| {
                if bar.length().is_none() {
                    bar.set_style(style(terminal_width(), true));
                }
                bar.set_length(length);
            },
            |text| text.length = Some(length),
        );
    }

    /// Sets the description of the current step.
    pub fn message(&self, text: &str) {
        let text = printable(text);
        self.update(|bar| bar.set_message(text.clone()), |progress| progress.message.clone_from(&text));
    }

    /// Removes the progress from the terminal.
    pub fn finish(&self) {
        match &self.inner.renderer {
            Renderer::Bar(bar) => bar.finish_and_clear(),
            Renderer::Lines(text) => text.lock().unwrap_or_else(PoisonError::into_inner).finished = true,
            Renderer::Nothing => {}
        }
    }

    fn update(&self, on_bar: impl FnOnce(&ProgressBar), on_text: impl FnOnce(&mut TextProgress)) {
        match &self.inner.renderer {
            Renderer::Bar(bar) => on_bar(bar),
            Renderer::Nothing => {}
            Renderer::Lines(text) => {
                let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                on_text(&mut text);
                if !text.finished && text.last.elapsed() >= LINE_INTERVAL {
                    text.last = Instant::now();
                    self.inner.console.line(&text.line(&self.inner.label));
                }
            }
        }
    }
}

/// Moves a bar to a position. The total is an estimate, and grows with it.
fn advance(bar: &ProgressBar, position: u64) {
    if bar.length().is_some_and(|length| length < position) {
        bar.set_length(position);
    }
    bar.set_position(position);
}

impl TextProgress {
    fn line(&self, label: &str) -> String {
        let mut line = format!("{label}: {}", self.position);
        if let Some(length) = self.length {
            line.push_str(&format!(" of {}", length.max(self.position)));
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
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\u{9b}d"), "a\\u{1b}[2Jb\\r\nc\\u{9b}d");
    }

    /// A terminal that keeps the last line drawn.
    #[derive(Debug)]
    struct Screen {
        width: u16,
        line: Arc<Mutex<String>>,
    }

    impl indicatif::TermLike for Screen {
        fn width(&self) -> u16 {
            self.width
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            if !text.trim().is_empty() {
                text.clone_into(&mut self.line.lock().unwrap());
            }
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn progress_line_fits_into_narrow_terminals() {
        for (width, with_length) in [(40, true), (40, false), (79, true), (80, true), (200, true), (200, false)] {
            let line = Arc::new(Mutex::new(String::new()));
            let screen = Screen { width, line: Arc::clone(&line) };
            let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen), 255);
            let bar = ProgressBar::with_draw_target(with_length.then_some(420), target);
            bar.set_style(style(width, with_length));
            bar.set_prefix("contoso/a-repository-with-a-long-name pull_requests");
            bar.set_message("a message that is longer than what is left of the line, whatever the terminal's width is");
            advance(&bar, 424);
            bar.force_draw();
            let drawn = line.lock().unwrap().clone();
            assert!(
                drawn.starts_with("contoso/a-rep") && drawn.contains(if with_length { "424/424" } else { "424" }),
                "{drawn:?}"
            );
            assert!(console::measure_text_width(&drawn) <= usize::from(width), "{width}: {drawn:?}");
            assert_eq!(drawn.contains('['), with_length && width >= 80, "{drawn:?}");
        }
    }

    #[test]
    fn text_progress_is_one_phrase_whose_total_grows() {
        let text =
            TextProgress { position: 3, length: Some(9), message: "page 2".to_owned(), ..TextProgress::default() };
        assert_eq!(text.line("contoso/web"), "contoso/web: 3 of 9, page 2");
        let more = TextProgress { position: 424, length: Some(420), ..TextProgress::default() };
        assert_eq!(more.line("details"), "details: 424 of 424");
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
