//! CPU time and memory of a process and its children, from /proc.

use std::fs;
use std::io;
use std::time::Duration;

/// Ticks of a second in /proc (`USER_HZ`), the same on all our machines.
const TICKS: u64 = 100;

/// A process with everything it has started.
pub fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        for thread in threads(pid) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"));
            all.extend(
                children.unwrap_or_default().split_ascii_whitespace().filter_map(|c| c.parse::<u32>().ok()),
            );
        }
    }
    all
}

fn threads(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Time on a CPU of all threads (kernel threads that work for the process included), to the nanosecond.
/// Children that have ended and were waited for count to the hundredth of a second, threads that have ended not.
///
/// # Errors
/// The process is gone.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    let mut seen = false;
    for pid in family(pid) {
        for thread in threads(pid) {
            let Ok(text) = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")) else {
                continue;
            };
            total += text.split_ascii_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
            seen = true;
        }
        total += waited_for(pid) * (1_000_000_000 / TICKS);
    }
    if seen { Ok(Duration::from_nanos(total)) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Ticks of its children that have ended and were waited for (`cutime` and `cstime`).
fn waited_for(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: state is the third field, these are the 16th and 17th.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split_ascii_whitespace();
    fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Proportional set size in bytes. Children that end meanwhile are left out.
///
/// # Errors
/// The process is gone or not ours.
pub fn memory(root: u32) -> io::Result<u64> {
    let mut total = 0;
    for pid in family(root) {
        let text = match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
            Ok(text) => text,
            Err(e) if pid == root => return Err(e),
            Err(_) => continue,
        };
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib: u64 = line.and_then(|l| l.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0);
        total += kib * 1024;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_time_grows_with_work() {
        let me = std::process::id();
        let before = cpu_time(me).unwrap();
        let sum = (0..50_000_000_u64).fold(0, |a, b| std::hint::black_box(a ^ b));
        assert!(std::hint::black_box(sum) != 1);
        assert!(cpu_time(me).unwrap() > before);
    }

    #[test]
    fn time_of_a_child_stays_when_it_has_ended() {
        let me = std::process::id();
        let before = waited_for(me);
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        assert!(std::process::Command::new("sh").args(["-c", busy]).status().unwrap().success());
        assert!(waited_for(me) > before);
    }

    #[test]
    fn absent_process_is_an_error() {
        assert!(cpu_time(u32::MAX).is_err());
        assert!(memory(u32::MAX).is_err());
    }
}
