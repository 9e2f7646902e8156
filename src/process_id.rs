//! Which process holds a lease, and whether it is provably gone: then what it held is free at once, not only when the
//! lease ends.

use std::fs;

use xxhash_rust::xxh3::xxh3_64;

/// This process: the machine's start, the process namespace, its id there, and when it started. Nothing where the
/// system doesn't tell (only Linux does); then only the lease's end counts.
pub fn this_process() -> Option<String> {
    let pid = std::process::id();
    Some(format!("{} {pid} {}", surroundings()?, start_of(pid)?))
}

/// Whether a holder has certainly ended. One of another machine or container can't be judged from here.
pub fn is_gone(holder: &str) -> bool {
    let Some(here) = surroundings() else { return false };
    let Some(process) = holder.strip_prefix(&here) else { return false };
    let mut fields = process.split_whitespace();
    let (Some(pid), Some(start)) = (fields.next().and_then(|pid| pid.parse().ok()), fields.next()) else {
        return false;
    };
    // An id that has been given to another process since shows by its start.
    start_of(pid).as_deref() != Some(start)
}

/// This machine and process namespace in 8 hex digits, for names that users read; a random mark where the system doesn't tell,
/// which matches no other.
pub fn surroundings_mark() -> String {
    let mark = surroundings().map_or_else(rand::random, |here| (xxh3_64(here.as_bytes()) & 0xffff_ffff) as u32);
    format!("{mark:08x}")
}

/// Whether a process has certainly ended, by its number and the [mark](surroundings_mark) of where it ran. One of another
/// machine or container can't be judged from here.
pub fn has_ended(pid: u32, mark: &str) -> bool {
    surroundings().is_some() && mark == surroundings_mark() && start_of(pid).is_none()
}

fn surroundings() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.to_str()?))
}

/// The 22nd field of `/proc/PID/stat` (proc_pid_stat(5)); the 2nd, a name in brackets, may itself have spaces and
/// brackets. A process that has ended but was not waited for counts as gone.
fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18).map(str::to_owned) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_machine_that_has_ended_is_gone() {
        let own = this_process().unwrap();
        assert!(!is_gone(&own));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = format!("{} {} {}", surroundings().unwrap(), child.id(), start_of(child.id()).unwrap());
        assert!(!is_gone(&other) && !has_ended(child.id(), &surroundings_mark()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_gone(&other) && has_ended(child.id(), &surroundings_mark()));
        assert!(!has_ended(child.id(), "00000000"), "another machine can't be judged");
        assert!(!is_gone(&other.replacen("pid:[", "pid:[9", 1)), "another namespace can't be judged");
        assert!(!is_gone("") && !is_gone("nonsense"));
    }
}
