//! The limit of open files: which errors it causes, and what to do about it.

use std::error::Error;
use std::fs::File;
use std::io;

use crate::http::sources;

/// Advice for a process that has reached the limit.
pub const HINT: &str = "raise the limit of open files (`ulimit -n`), or run fewer jobs at a time";

/// Files that one operation of a library has open at a time, such as a database with its log and index.
const PROBED_FILES: usize = 8;

/// Returns whether an error comes from the limit: the process's own, or the system's.
pub fn is_limit(error: &(dyn Error + 'static)) -> bool {
    sources(error).filter_map(|error| error.downcast_ref::<io::Error>()).any(is_limit_code)
}

/// Returns whether the process has all but reached the limit, for libraries that hide the cause of their errors, and have
/// closed their files again when they return one.
pub fn is_limit_reached() -> bool {
    let open = |_| std::env::current_exe().and_then(File::open);
    (0..PROBED_FILES).map(open).collect::<io::Result<Vec<File>>>().is_err_and(|error| is_limit_code(&error))
}

/// Raises the process's limit as far as the system allows without rights, and returns it; `None` where the system does not
/// tell.
#[cfg(unix)]
pub fn limit() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is this function's own, and outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return None;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: as above; the structure is only read.
    let is_raised =
        limit.rlim_cur < limit.rlim_max && unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0;
    let current = if is_raised { raised.rlim_cur } else { limit.rlim_cur };
    Some(usize::try_from(current).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
pub fn limit() -> Option<usize> {
    None
}

#[cfg(unix)]
fn is_limit_code(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(not(unix))]
fn is_limit_code(_error: &io::Error) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn limit_is_recognized_among_the_causes() {
        let limit = || io::Error::from_raw_os_error(libc::EMFILE);
        assert!(is_limit(&limit()) && is_limit(&sqlx::Error::Io(limit())));
        assert!(!is_limit(&io::Error::from_raw_os_error(libc::ENOENT)) && !is_limit_reached());
    }
}
