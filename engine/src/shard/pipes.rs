//! The pipes that bytes are spliced through.

use std::io;

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use super::Pipe;

/// What a pipe holds if the system lets it: larger ones gain little (10.7 GB/s per core at 64 KiB,
/// 13.0 at 1 MiB) and count against `pipe-user-pages-soft`.
pub const PIPE_BYTES: usize = 256 * 1024;

/// Below this a pipe is not worth a splice: past the user's soft limit the kernel gives two pages.
const PIPE_BYTES_MIN: usize = 64 * 1024;

/// Makes up to `count` pipes; fewer, when the user's limits allow no more. Called before privileges
/// are dropped: root has no such limit.
///
/// # Errors
/// Not even one pipe could be made for want of descriptors.
pub fn pipes(count: usize) -> io::Result<Vec<Pipe>> {
    let mut made = Vec::with_capacity(count);
    for _ in 0..count {
        let (reader, writer) = match pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) {
            Ok(ends) => ends,
            Err(why) if made.is_empty() => return Err(why.into()),
            Err(_) => break,
        };
        // A refusal leaves the size that it has, which is asked next.
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        let bytes = fcntl_getpipe_size(&writer)?;
        if bytes < PIPE_BYTES_MIN {
            break;
        }
        made.push(Pipe { reader, writer, bytes });
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_as_many_as_asked_and_worth_a_splice() {
        let made = pipes(3).expect("descriptors");
        assert!(made.len() <= 3);
        assert!(made.iter().all(|pipe| pipe.bytes >= PIPE_BYTES_MIN));
    }
}
