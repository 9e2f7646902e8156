//! Which process holds a lease, and whether it is provably gone: then what it held is free at once, not only when the
//! lease ends.

use std::fs;

/// This process: the machine's start, the process namespace, its id there, and when it started. Nothing where the
/// system doesn't tell (only Linux does); then only the lease's end counts.
pub(super) fn this_process() -> Option<String> {
    let pid = std::process::id();
    Some(format!("{} {pid} {}", surroundings()?, start_of(pid)?))
}

/// Whether a holder has certainly ended. One of another machine or container can't be judged from here.
pub(super) fn is_gone(holder: &str) -> bool {
    let Some(here) = surroundings() else { return false };
    let Some(process) = holder.strip_prefix(&here) else { return false };
    let mut fields = process.split_whitespace();
    let (Some(pid), Some(start)) = (fields.next().and_then(|pid| pid.parse().ok()), fields.next()) else {
        return false;
    };
    // An id that has been given to another process since shows by its start.
    start_of(pid).as_deref() != Some(start)
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
        assert!(!is_gone(&other));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_gone(&other));
        assert!(!is_gone(&other.replacen("pid:[", "pid:[9", 1)), "another namespace can't be judged");
        assert!(!is_gone("") && !is_gone("nonsense"));
    }
}
