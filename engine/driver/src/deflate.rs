//! COMPRESS DEFLATE (RFC 4978, in MUPDATE as Cyrus speaks it): raw deflate both ways.

use std::sync::Arc;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::layer::{Decoded, Joins, Layer, LayerError, Step, Wire};

/// Connections that may be compressed at a time; each keeps about 420 KiB (measured with zlib-rs).
pub const COMPRESSED_MAX: usize = 256;

/// Received bytes that one step inflates; deflate makes at most 1,032 times as many of them.
const WIRE_BYTES_PER_STEP: usize = 256;

/// Room that is made for inflated bytes at a time.
const ROOM_BYTES: usize = 4 * 1024;

/// How hard is compressed: lists shrink to a quarter at 600 MB/s, more takes five times as long.
const LEVEL: u32 = 1;

/// How many connections are compressed, and the way to be one of them.
#[derive(Clone, Default)]
pub struct Deflaters(Arc<()>);

impl Deflaters {
    /// Makes a layer.
    ///
    /// # Errors
    /// One sentence for the log: [`COMPRESSED_MAX`] connections are compressed.
    pub fn layer(&self) -> Result<Box<dyn Layer>, Box<str>> {
        if Arc::strong_count(&self.0) > COMPRESSED_MAX {
            return Err(format!("{COMPRESSED_MAX} connections are compressed already").into());
        }
        let (inflate, inflated) = (Decompress::new(false), Vec::new());
        Ok(Box::new(Deflate { inflate, inflated, deflate: None, _place: Arc::clone(&self.0) }))
    }
}

/// The layer of one connection.
struct Deflate {
    inflate: Decompress,
    /// What the last step made.
    inflated: Vec<u8>,
    /// Nine tenths of the memory: made when there is something to say.
    deflate: Option<Compress>,
    _place: Arc<()>,
}

impl Layer for Deflate {
    fn start(&mut self, _reply: &mut Wire) -> Result<(), LayerError> {
        Ok(())
    }

    fn is_established(&self) -> bool {
        true
    }

    fn decode(&mut self, wire: &mut [u8], _reply: &mut Wire) -> Result<Decoded, LayerError> {
        let wire = &wire[..wire.len().min(WIRE_BYTES_PER_STEP)];
        let mut consumed = 0;
        // Room that is left over says that everything has come out.
        while consumed < wire.len() || self.inflated.len() == self.inflated.capacity() {
            self.inflated.reserve(ROOM_BYTES);
            let (took, made) = (self.inflate.total_in(), self.inflate.total_out());
            let status =
                self.inflate.decompress_vec(&wire[consumed..], &mut self.inflated, FlushDecompress::Sync);
            let status = status.map_err(|_| LayerError("what came is not deflate".into()))?;
            consumed += count(self.inflate.total_in() - took);
            if status == flate2::Status::StreamEnd {
                return Ok(Decoded { consumed, plain: 0..0, step: Step::Closed });
            }
            if (took, made) == (self.inflate.total_in(), self.inflate.total_out()) {
                break;
            }
        }
        Ok(Decoded { consumed, plain: 0..0, step: Step::Progress })
    }

    fn joins(&self) -> Joins {
        Joins::Over
    }

    fn take_decoded(&mut self, into: &mut Vec<u8>) {
        std::mem::swap(&mut self.inflated, into);
        self.inflated.clear();
    }

    fn encode(&mut self, plain: &[u8], wire: &mut Wire) -> Result<(), LayerError> {
        let deflate = self.deflate.get_or_insert_with(|| Compress::new(Compression::new(LEVEL), false));
        let mut done = 0;
        loop {
            let room = plain.len() - done + ROOM_BYTES;
            let (took, made) = (deflate.total_in(), deflate.total_out());
            wire.append_with(room, |out| {
                let packed = deflate.compress(&plain[done..], out, FlushCompress::Sync);
                packed.map_err(|_| LayerError("cannot deflate".into()))?;
                Ok(count(deflate.total_out() - made))
            })?;
            done += count(deflate.total_in() - took);
            if done == plain.len() && count(deflate.total_out() - made) < room {
                return Ok(());
            }
        }
    }

    fn close(&mut self, _wire: &mut Wire) {}
}

/// Bytes of one call, which are far fewer.
fn count(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflated(layer: &mut dyn Layer, wire: &[u8]) -> Vec<u8> {
        let (mut all, mut wire) = (Vec::new(), wire.to_vec());
        while !wire.is_empty() {
            let decoded = layer.decode(&mut wire, &mut Wire::default()).unwrap();
            assert!(decoded.consumed > 0, "a step that does nothing");
            wire.drain(..decoded.consumed);
            let mut own = Vec::new();
            layer.take_decoded(&mut own);
            all.extend_from_slice(&own);
        }
        all
    }

    fn deflated(layer: &mut dyn Layer, plain: &[u8]) -> Vec<u8> {
        let mut wire = Wire::default();
        layer.encode(plain, &mut wire).unwrap();
        wire.bytes().to_vec()
    }

    #[test]
    fn what_one_end_says_the_other_hears_at_once_at_every_split() {
        let (mut a, mut b) = (Deflaters::default().layer().unwrap(), Deflaters::default().layer().unwrap());
        for text in ["a1 NOOP\r\n", "", "a2 LIST\r\n"] {
            let wire = deflated(&mut *a, text.as_bytes());
            for at in 0..=wire.len() {
                // The state is kept between messages: each split has a pair of its own.
                let (mut c, mut d) =
                    (Deflaters::default().layer().unwrap(), Deflaters::default().layer().unwrap());
                let wire = deflated(&mut *c, text.as_bytes());
                let (head, tail) = wire.split_at(at.min(wire.len()));
                let heard = [inflated(&mut *d, head), inflated(&mut *d, tail)].concat();
                assert_eq!(heard, text.as_bytes());
            }
            assert_eq!(inflated(&mut *b, &wire), text.as_bytes());
        }
    }

    #[test]
    fn one_step_makes_no_more_than_its_bound_and_all_comes_out() {
        let (mut a, mut b) = (Deflaters::default().layer().unwrap(), Deflaters::default().layer().unwrap());
        let bomb = vec![b'0'; 8 * 1024 * 1024];
        let mut wire = deflated(&mut *a, &bomb);
        let mut total = 0;
        while !wire.is_empty() {
            let decoded = b.decode(&mut wire, &mut Wire::default()).unwrap();
            wire.drain(..decoded.consumed);
            let mut own = Vec::new();
            b.take_decoded(&mut own);
            assert!(own.len() <= 1100 * WIRE_BYTES_PER_STEP, "{}", own.len());
            total += own.len();
        }
        assert_eq!(total, bomb.len());
    }

    #[test]
    fn garbage_is_an_error_and_places_are_counted() {
        let deflaters = Deflaters::default();
        let mut layer = deflaters.layer().unwrap();
        assert!(layer.decode(&mut [0xff; 64], &mut Wire::default()).is_err());
        let others: Vec<_> = (1..COMPRESSED_MAX).map(|_| deflaters.layer().unwrap()).collect();
        assert!(deflaters.layer().is_err());
        drop(layer);
        assert!(deflaters.layer().is_ok());
        drop(others);
    }
}
