//! A log file that starts anew every day and when it grows large; old ones are compressed and, later, removed.
//!
//! Any number of processes may write to one file. Each line is one write in append mode, under a shared lock of the
//! file; who rotates takes the exclusive lock, so that nobody writes to a file that is being put away. A process
//! whose file was put away by another sees that the path names another file, and opens that.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Days, NaiveDate, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use tracing_subscriber::fmt::MakeWriter;

use crate::private_files;

/// A file of this many bytes is put away before its day ends: editors and `grep` still work on it.
const ROTATE_AT_BYTES: u64 = 100 * 1024 * 1024;
/// A lock is held for the time of one write. Who can't have it so long writes without: a line at the wrong place
/// is better than a program that waits for one that was stopped in the middle.
const LOCK_TIMEOUT: Duration = Duration::from_millis(50);
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(1);
/// So often it is tried to put a file away before that is left to a later line.
const MAX_ROTATION_ATTEMPTS: u32 = 5;
/// Numbers tried for a rotated file's name; this many times 100 MB a day is far beyond any log.
const MAX_FILES_PER_DAY: u32 = 10_000;

/// A rotating log file. Clones write to the same file.
#[derive(Clone)]
pub struct RotatingFile {
    shared: Arc<Mutex<State>>,
}

struct State {
    path: PathBuf,
    keep_days: u32,
    rotate_at: u64,
    /// Whether it starts anew at all: not where its directory can't be changed.
    rotates: bool,
    open: Option<Open>,
    /// Told once when the file can't be written.
    on_error: Option<Box<dyn FnOnce(String) + Send>>,
    today: fn() -> NaiveDate,
}

struct Open {
    file: File,
    /// The day of the lines that the file holds.
    day: NaiveDate,
}

impl RotatingFile {
    /// A log at `path`, made with its first line. `on_error` is called once, when a line can't be written.
    pub fn new(path: PathBuf, keep_days: u32, on_error: impl FnOnce(String) + Send + 'static) -> Self {
        Self {
            shared: Arc::new(Mutex::new(State {
                path,
                keep_days,
                rotate_at: ROTATE_AT_BYTES,
                rotates: true,
                open: None,
                on_error: Some(Box::new(on_error)),
                today: || Utc::now().date_naive(),
            })),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for RotatingFile {
    /// Never fails: a log that can't be written is complained about once and must not end the work.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        if let Err(error) = state.append(line) {
            state.open = None;
            if let Some(on_error) = state.on_error.take() {
                on_error(format!("can't write the log file {}: {error}", state.path.display()));
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RotatingFile {
    type Writer = RotatingFile;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

impl State {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        // Another process may put the file away between opening and locking; each turn opens the new one.
        // Two would do; the bound only makes the end plain.
        const TURNS: usize = 8;
        let mut later = false;
        for _ in 0..TURNS {
            let open = match self.open.take() {
                Some(open) => open,
                None => self.open_file()?,
            };
            let locked = lock_shared(&open.file);
            if !is_at(&open.file, &self.path) {
                continue;
            }
            let due =
                !later && self.rotates && ((self.today)() != open.day || open.file.metadata()?.len() >= self.rotate_at);
            if due {
                drop(locked);
                match self.rotate_open(&open) {
                    Ok(true) => {}
                    // Somebody else is writing or putting it away just now: a later line rotates it. This one is written
                    // under the lock like any other, for what is put away may be compressed already.
                    Ok(false) => (later, self.open) = (true, Some(open)),
                    // The directory can't be changed: better one long file than none.
                    Err(error) => {
                        if let Some(on_error) = self.on_error.take() {
                            on_error(format!("can't start a new log file beside {}: {error}", self.path.display()));
                        }
                        self.rotates = false;
                        self.open = Some(open);
                    }
                }
                continue;
            }
            (&open.file).write_all(line)?;
            drop(locked);
            self.open = Some(open);
            return Ok(());
        }
        Err(io::Error::other("other processes keep replacing it"))
    }

    fn open_file(&self) -> io::Result<Open> {
        if let Some(directory) = self.path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            private_files::create_dir_all(directory)?;
        }
        let file = private_files::open(OpenOptions::new().create(true).append(true), &self.path)?;
        let metadata = file.metadata()?;
        let today = (self.today)();
        let day = match metadata.modified() {
            Ok(time) if metadata.len() > 0 => DateTime::<Utc>::from(time).date_naive().min(today),
            _ => today,
        };
        compress_and_prune_in_background(self.path.clone(), today, self.keep_days);
        Ok(Open { file, day })
    }

    /// Renames the file to its day's name. False when another process holds it: then it is left.
    fn rotate_open(&self, open: &Open) -> io::Result<bool> {
        // Who writes a line holds it for a moment only.
        let mut tries = 0;
        while let Err(TryLockError::WouldBlock) = open.file.try_lock() {
            tries += 1;
            if tries == MAX_ROTATION_ATTEMPTS {
                return Ok(false);
            }
            std::thread::sleep(LOCK_RETRY_DELAY);
        }
        // A file system without locks: go on without, as every single process did before there were locks.
        let moved = if is_at(&open.file, &self.path) { rotate(&self.path, open.day) } else { Ok(()) };
        // Closing the file would unlock it too; this is for the case that it stays open.
        drop(open.file.unlock());
        moved.map(|()| true)
    }
}

/// A shared lock, given back when dropped.
struct SharedLock<'a>(&'a File);

impl Drop for SharedLock<'_> {
    fn drop(&mut self) {
        drop(self.0.unlock());
    }
}

fn lock_shared(file: &File) -> Option<SharedLock<'_>> {
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Some(SharedLock(file)),
            Err(TryLockError::WouldBlock) if waited < LOCK_TIMEOUT => {
                std::thread::sleep(LOCK_RETRY_DELAY);
                waited += LOCK_RETRY_DELAY;
            }
            Err(_) => return None,
        }
    }
}

/// Whether the path still names this open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

/// Elsewhere an open file can't be renamed by another process, so that it is always the same.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Moves the file to the first free name of its day.
fn rotate(path: &Path, day: NaiveDate) -> io::Result<()> {
    for number in 0..MAX_FILES_PER_DAY {
        let target = rotated_name(path, day, number);
        if with_suffix(&target, ".gz").exists() {
            continue;
        }
        // A hard link fails where the name is taken, so that two processes can't choose the same one.
        match fs::hard_link(path, &target) {
            // Compressed meanwhile, it has left its name free, which is still its own.
            Ok(()) if with_suffix(&target, ".gz").exists() => fs::remove_file(&target)?,
            Ok(()) => return fs::remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) if target.exists() => {}
            // A file system without hard links.
            Err(_) => return fs::rename(path, &target),
        }
    }
    Err(io::Error::other(format!("all {MAX_FILES_PER_DAY} names of {day} are taken")))
}

/// `logfile.txt.2026-01-31`, then `logfile.txt.2026-01-31.1` and so on.
fn rotated_name(path: &Path, day: NaiveDate, number: u32) -> PathBuf {
    let suffix = match number {
        0 => format!(".{day}"),
        number => format!(".{day}.{number}"),
    };
    with_suffix(path, &suffix)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Compresses what was put away and removes what is too old; what a process that ends leaves undone, the next does.
fn compress_and_prune_in_background(path: PathBuf, today: NaiveDate, keep_days: u32) {
    // Without a thread the files stay as they are until the next start.
    drop(
        std::thread::Builder::new()
            .name("logfile".to_owned())
            .spawn(move || drop(compress_and_prune(&path, today, keep_days))),
    );
}

fn compress_and_prune(path: &Path, today: NaiveDate, keep_days: u32) -> io::Result<()> {
    let Some(own_name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let oldest = today.checked_sub_days(Days::new(keep_days.into())).unwrap_or(NaiveDate::MIN);
    for entry in fs::read_dir(directory)?.flatten() {
        let name = entry.file_name();
        let Some((day, form)) = name.to_str().and_then(|name| rotated(own_name, name)) else { continue };
        // One file that can't be had must not keep the others.
        let file = entry.path();
        if day < oldest {
            drop(fs::remove_file(file));
        } else {
            match form {
                Form::Plain => drop(compress(&file)),
                Form::Compressed => {}
                Form::Unfinished => drop(remove_if_abandoned(&file)),
            }
        }
    }
    Ok(())
}

/// What a rotated file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Compressed,
    /// Being compressed by a process, or left by one that ended.
    Unfinished,
}

/// The day and the form of a rotated file; other names are not ours to touch.
fn rotated(own_name: &str, name: &str) -> Option<(NaiveDate, Form)> {
    const DAY_LENGTH: usize = 10;
    let rest = name.strip_prefix(own_name)?.strip_prefix('.')?;
    let day = NaiveDate::parse_from_str(rest.get(..DAY_LENGTH)?, "%Y-%m-%d").ok()?;
    let rest = rest.get(DAY_LENGTH..)?;
    let (number, form) = if let Some(rest) = rest.strip_suffix(".gz.tmp") {
        (rest, Form::Unfinished)
    } else if let Some(rest) = rest.strip_suffix(".gz") {
        (rest, Form::Compressed)
    } else {
        (rest, Form::Plain)
    };
    let numbered = number.strip_prefix('.').is_some_and(|digits| digits.parse::<u32>().is_ok());
    (number.is_empty() || numbered).then_some((day, form))
}

/// Compresses a file beside itself, then removes it. One process at a time: the others leave it.
fn compress(path: &Path) -> io::Result<()> {
    let mut source = File::open(path)?;
    match source.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Between the listing and the lock another process may have finished it.
    if !is_at(&source, path) {
        return Ok(());
    }
    let unfinished = with_suffix(path, ".gz.tmp");
    let packed = private_files::open(OpenOptions::new().create(true).truncate(true).write(true), &unfinished)?;
    let mut packed = GzEncoder::new(packed, Compression::default());
    io::copy(&mut source, &mut packed)?;
    packed.finish()?.sync_all()?;
    fs::rename(&unfinished, with_suffix(path, ".gz"))?;
    fs::remove_file(path)
}

/// Removes what a process that ended in the middle left; its source is still there.
fn remove_if_abandoned(path: &Path) -> io::Result<()> {
    const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
    let age = SystemTime::now().duration_since(fs::metadata(path)?.modified()?).unwrap_or_default();
    if age > ABANDONED_AFTER { fs::remove_file(path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn log(path: &Path) -> RotatingFile {
        RotatingFile::new(path.to_owned(), 14, |problem| panic!("{problem}"))
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Every line of the log, whatever file it is in.
    fn lines(directory: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        for name in names(directory) {
            let bytes = fs::read(directory.join(&name)).unwrap();
            let mut text = String::new();
            if name.ends_with(".gz") {
                flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
            } else {
                text = String::from_utf8(bytes).unwrap();
            }
            lines.extend(text.lines().map(str::to_owned));
        }
        lines
    }

    #[test]
    fn the_file_is_made_with_its_first_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/logfile.txt");
        let mut log = log(&path);
        assert!(!path.exists());
        log.write_all(b"first\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\n");
    }

    #[test]
    fn a_file_of_another_day_is_put_away_under_that_day() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logfile.txt");
        fs::write(&path, "old\n").unwrap();
        let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
        File::options().append(true).open(&path).unwrap().set_modified(yesterday).unwrap();
        log(&path).write_all(b"new\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        let rotated = format!("logfile.txt.{}", DateTime::<Utc>::from(yesterday).date_naive());
        assert!(names(directory.path()).iter().any(|name| name.starts_with(&rotated)));
    }

    #[test]
    fn a_full_file_is_put_away_and_no_line_is_lost_between_writers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logfile.txt");
        // Each writer has its own state, as another process has.
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    let mut log = log(path);
                    log.state().rotate_at = 2_000;
                    for line in 0..200 {
                        log.write_all(format!("writer {writer} line {line}\n").as_bytes()).unwrap();
                    }
                });
            }
        });
        assert!(names(directory.path()).len() > 1);
        // The background thread may be between the finished copy and the removal: wait until it is done.
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            compress_and_prune(&path, Utc::now().date_naive(), 14).unwrap();
            if names(directory.path()).iter().all(|name| name == "logfile.txt" || name.ends_with(".gz")) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut found = lines(directory.path());
        assert_eq!(found.len(), 800);
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 800);
    }

    #[test]
    fn old_files_are_removed_and_foreign_ones_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logfile.txt");
        for name in [
            "logfile.txt.2026-01-01",
            "logfile.txt.2026-01-16.gz",
            "logfile.txt.2026-01-17.gz",
            "logfile.txt.2026-01-30.2",
            "logfile.txt.2026-01-01.notes",
            "logfile.txt.bak",
            "other.txt.2026-01-01",
        ] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        compress_and_prune(&path, day("2026-01-31"), 14).unwrap();
        assert_eq!(
            names(directory.path()),
            [
                "logfile.txt.2026-01-01.notes",
                "logfile.txt.2026-01-17.gz",
                "logfile.txt.2026-01-30.2.gz",
                "logfile.txt.bak",
                "other.txt.2026-01-01"
            ]
        );
    }

    #[test]
    fn a_name_that_is_taken_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logfile.txt");
        fs::write(directory.path().join("logfile.txt.2026-01-31.gz"), "a").unwrap();
        fs::write(directory.path().join("logfile.txt.2026-01-31.1"), "b").unwrap();
        fs::write(&path, "c").unwrap();
        rotate(&path, day("2026-01-31")).unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("logfile.txt.2026-01-31.2")).unwrap(), "c");
        assert!(!path.exists());
    }

    #[test]
    fn a_log_that_cannot_be_written_is_complained_about_once() {
        static COMPLAINTS: AtomicUsize = AtomicUsize::new(0);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let mut log = RotatingFile::new(directory.path().join("file/logfile.txt"), 14, |problem| {
            assert!(problem.contains("logfile.txt"), "{problem}");
            COMPLAINTS.fetch_add(1, Ordering::SeqCst);
        });
        for _ in 0..3 {
            log.write_all(b"line\n").unwrap();
        }
        assert_eq!(COMPLAINTS.load(Ordering::SeqCst), 1);
    }
}
