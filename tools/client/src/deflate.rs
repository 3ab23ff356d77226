//! COMPRESS=DEFLATE: both directions of a connection as raw deflate streams (RFC 4978).

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Bytes that the output grows by.
const STEP_BYTES: usize = 32 * 1024;

/// The two streams of a connection.
pub(crate) struct Deflate {
    out: Compress,
    input: Decompress,
}

impl Deflate {
    pub(crate) fn new() -> Deflate {
        Deflate { out: Compress::new(Compression::default(), false), input: Decompress::new(false) }
    }

    /// Compresses bytes and all that is needed to read them.
    pub(crate) fn compress(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(bytes.len() / 2 + STEP_BYTES);
        let before = self.out.total_in();
        loop {
            // Truncation: no more was taken than there is.
            let taken = (self.out.total_in() - before) as usize;
            self.out
                .compress_vec(&bytes[taken..], &mut out, FlushCompress::Sync)
                .map_err(io::Error::other)?;
            let is_done = self.out.total_in() - before == bytes.len() as u64 && out.len() < out.capacity();
            if is_done {
                return Ok(out);
            }
            out.reserve(STEP_BYTES);
        }
    }

    /// Appends what compressed bytes mean, at most `limit` bytes.
    pub(crate) fn decompress(&mut self, bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> io::Result<()> {
        let before = self.input.total_in();
        loop {
            out.reserve(STEP_BYTES);
            // Truncation: no more was taken than there is.
            let taken = (self.input.total_in() - before) as usize;
            let status = self.input.decompress_vec(&bytes[taken..], out, FlushDecompress::Sync);
            let is_ended = matches!(status.map_err(io::Error::other)?, Status::StreamEnd);
            let is_done = self.input.total_in() - before == bytes.len() as u64 && out.len() < out.capacity();
            if is_ended || is_done {
                return Ok(());
            }
            if out.len() > limit {
                return Err(io::Error::other("too much in one piece of compressed data"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_is_read_back_at_every_split() {
        let text = b"X0 MAILBOX \"user.a\" \"be1!default\" \"a\tlrs\t\"\r\n".repeat(5);
        let whole = Deflate::new().compress(&text).unwrap();
        for cut in 0..=whole.len() {
            let (mut deflate, mut out) = (Deflate::new(), Vec::new());
            deflate.decompress(&whole[..cut], &mut out, 1 << 20).unwrap();
            deflate.decompress(&whole[cut..], &mut out, 1 << 20).unwrap();
            assert_eq!(out, text, "{cut}");
        }
    }

    #[test]
    fn large_pieces_pass_and_bombs_do_not() {
        let zeros = vec![0; 3 << 20];
        let small = Deflate::new().compress(&zeros).unwrap();
        let mut out = Vec::new();
        Deflate::new().decompress(&small, &mut out, 4 << 20).unwrap();
        assert_eq!(out, zeros);
        assert!(Deflate::new().decompress(&small, &mut Vec::new(), 1 << 20).is_err());
    }
}
