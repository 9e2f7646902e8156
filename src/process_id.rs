//! The identity of a process that holds a lease. A holder that has provably ended loses its leases at once, before they expire.

use std::fs;

use xxhash_rust::xxh3::xxh3_64;

/// Returns the identity of this process: the machine's boot, the process namespace, its id there, and its start. `None` except
/// on Linux; then only the lease's expiry counts.
pub fn this_process() -> Option<String> {
    let pid = std::process::id();
    Some(format!("{} {pid} {}", pid_namespace()?, start_of(pid)?))
}

/// Returns whether the process of an [identity](this_process) has certainly ended. One of another machine or container can't be judged from here.
pub fn has_ended(identity: &str) -> bool {
    let Some(here) = pid_namespace() else { return false };
    let Some(process) = identity.strip_prefix(&here) else { return false };
    let mut fields = process.split_whitespace();
    let (Some(pid), Some(start)) = (fields.next().and_then(|pid| pid.parse().ok()), fields.next()) else {
        return false;
    };
    // The start tells whether the id belongs to another process by now.
    start_of(pid).as_deref() != Some(start)
}

/// Returns 8 hex digits for this machine and process namespace, for names that users read; random ones, which match no other,
/// where the system does not tell.
pub fn namespace_mark() -> String {
    let mark = pid_namespace().map_or_else(rand::random, |here| (xxh3_64(here.as_bytes()) & 0xffff_ffff) as u32);
    format!("{mark:08x}")
}

/// Returns whether a process has certainly ended, by its id and the [mark](namespace_mark) of where it ran. One of another
/// machine or container can't be judged from here.
pub fn has_pid_ended(pid: u32, mark: &str) -> bool {
    pid_namespace().is_some() && mark == namespace_mark() && start_of(pid).is_none()
}

/// Returns the machine's boot id and the process namespace.
fn pid_namespace() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.to_str()?))
}

/// Returns a process's start, the 22nd field of `/proc/PID/stat` (proc_pid_stat(5)); the 2nd, a name in brackets, may itself
/// contain spaces and brackets. A zombie counts as ended.
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
    fn only_ended_processes_of_this_machine_have_ended() {
        let own = this_process().unwrap();
        assert!(!has_ended(&own));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = format!("{} {} {}", pid_namespace().unwrap(), child.id(), start_of(child.id()).unwrap());
        assert!(!has_ended(&other) && !has_pid_ended(child.id(), &namespace_mark()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(has_ended(&other) && has_pid_ended(child.id(), &namespace_mark()));
        assert!(!has_pid_ended(child.id(), "00000000"), "another machine can't be judged");
        assert!(!has_ended(&other.replacen("pid:[", "pid:[9", 1)), "another namespace can't be judged");
        assert!(!has_ended("") && !has_ended("nonsense"));
    }
}
