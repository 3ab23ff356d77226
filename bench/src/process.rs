//! CPU time and memory of a process and its children, from /proc.

use std::fs;
use std::io;
use std::time::Duration;

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

/// Time on a CPU of all threads (kernel threads that work for the process included), to the
/// nanosecond. Threads that have ended are not counted.
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
    }
    if seen { Ok(Duration::from_nanos(total)) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Proportional set size in bytes.
///
/// # Errors
/// The process is gone or not ours.
pub fn memory(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for pid in family(pid) {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
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
    fn absent_process_is_an_error() {
        assert!(cpu_time(u32::MAX).is_err());
        assert!(memory(u32::MAX).is_err());
    }
}
