//! A log file that is rotated daily and when it grows large; rotated files are compressed and later removed.
//!
//! Any number of processes may write to one file. Each line is one write in append mode under a shared lock of the file;
//! rotation takes the exclusive lock, so that nobody writes to a file that is being rotated. A process whose file was rotated
//! by another notices that the path names another file, and opens that one.

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

/// Size in bytes at which a file is rotated before its day ends: editors and `grep` still handle it.
const ROTATE_AT_BYTES: u64 = 100 * 1024 * 1024;
/// Limit for the shared lock, which others hold for one write. After that a line is written without it: a misplaced line is
/// better than a program that waits for one that was stopped during its write.
const LOCK_TIMEOUT: Duration = Duration::from_millis(50);
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(1);
/// Attempts at a rotation before it is left to a later line.
const MAX_ROTATION_ATTEMPTS: u32 = 5;
/// Upper bound on the rotated files of a day; times 100 MB it is far beyond any log.
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
    /// False once the directory turned out to be read-only.
    rotates: bool,
    open: Option<Open>,
    /// Called once, with the first error.
    on_error: Option<Box<dyn FnOnce(String) + Send>>,
    today: fn() -> NaiveDate,
}

struct Open {
    file: File,
    /// The day of the lines that the file holds.
    day: NaiveDate,
}

impl RotatingFile {
    /// Opens a log at `path`, which is created with its first line. `on_error` is called once, when a line can't be written.
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
    /// Never fails: a log that can't be written is reported once and must not end the work.
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
        // Another process may rotate the file between opening and locking; each attempt opens the new one. Two are enough; the
        // bound only guarantees an end.
        const MAX_ATTEMPTS: usize = 8;
        let mut later = false;
        for _ in 0..MAX_ATTEMPTS {
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
                    // Another process is writing or rotating: a later line rotates the file. This one is written under the lock
                    // like any other, because a rotated file may be compressed already.
                    Ok(false) => (later, self.open) = (true, Some(open)),
                    // The directory is read-only: one long file is better than none.
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

    /// Renames the file to its day's name. Returns false, and leaves the file, if another process holds it.
    fn rotate_open(&self, open: &Open) -> io::Result<bool> {
        // A writer holds the lock only for a moment.
        let mut tries = 0;
        while let Err(TryLockError::WouldBlock) = open.file.try_lock() {
            tries += 1;
            if tries == MAX_ROTATION_ATTEMPTS {
                return Ok(false);
            }
            std::thread::sleep(LOCK_RETRY_DELAY);
        }
        // A file system without locks is used without them.
        let moved = if is_at(&open.file, &self.path) { rotate(&self.path, open.day) } else { Ok(()) };
        // Closing the file unlocks it, too; this is for a file that stays open.
        drop(open.file.unlock());
        moved.map(|()| true)
    }
}

/// A shared lock, released on drop.
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

/// Returns whether the path still names this open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

/// Elsewhere another process can't rename an open file, so that it is always the same.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Renames the file to the first free name of its day.
fn rotate(path: &Path, day: NaiveDate) -> io::Result<()> {
    for number in 0..MAX_FILES_PER_DAY {
        let target = rotated_name(path, day, number);
        if with_suffix(&target, ".gz").exists() {
            continue;
        }
        // A hard link fails where the name is taken, so that two processes can't choose the same one.
        match fs::hard_link(path, &target) {
            // The file of that name was compressed meanwhile, and the name still belongs to it.
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

/// Returns the name of a rotated file: `logfile.txt.2026-01-31`, then `logfile.txt.2026-01-31.1` and so on.
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

/// Compresses rotated files and removes those that are too old; what a process leaves undone, the next one does.
fn compress_and_prune_in_background(path: PathBuf, today: NaiveDate, keep_days: u32) {
    // If no thread can be started, the next process does it.
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
        let Some((day, form)) = name.to_str().and_then(|name| parse_rotated_name(own_name, name)) else { continue };
        // One file's error must not affect the others.
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

/// The form of a rotated file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Compressed,
    /// The unfinished output of a compression, which may have been abandoned.
    Unfinished,
}

/// Parses the name of a rotated file: its day and form, or `None` for other files.
fn parse_rotated_name(own_name: &str, name: &str) -> Option<(NaiveDate, Form)> {
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

/// Compresses a file beside itself, then removes it. Does nothing if another process is doing so.
fn compress(path: &Path) -> io::Result<()> {
    let mut source = File::open(path)?;
    match source.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Another process may have finished between the listing and the lock.
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

/// Removes the output of a compression that was abandoned; its source still exists.
fn remove_if_abandoned(path: &Path) -> io::Result<()> {
    const ABANDONED_AFTER: Duration = Duration::from_hours(24);
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

    /// Reads every line of the log, whatever file it is in.
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
    fn the_first_line_creates_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/logfile.txt");
        let mut log = log(&path);
        assert!(!path.exists());
        log.write_all(b"first\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\n");
    }

    #[test]
    fn a_file_of_another_day_is_rotated_under_that_day() {
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
    fn rotation_of_a_full_file_loses_no_line_of_concurrent_writers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logfile.txt");
        // Each writer has its own state, like another process.
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
    fn old_files_are_removed_and_others_kept() {
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
    fn rotation_never_overwrites() {
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
    fn an_unwritable_log_is_reported_once() {
        static REPORTS: AtomicUsize = AtomicUsize::new(0);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let mut log = RotatingFile::new(directory.path().join("file/logfile.txt"), 14, |problem| {
            assert!(problem.contains("logfile.txt"), "{problem}");
            REPORTS.fetch_add(1, Ordering::SeqCst);
        });
        for _ in 0..3 {
            log.write_all(b"line\n").unwrap();
        }
        assert_eq!(REPORTS.load(Ordering::SeqCst), 1);
    }
}
