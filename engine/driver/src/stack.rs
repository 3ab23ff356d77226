//! One layer over another: deflate inside TLS.

use std::mem;

use crate::layer::{Decoded, Layer, LayerError, Wire};

/// A layer that stands over another one. Both have had their handshakes.
pub(crate) struct Stack {
    lower: Box<dyn Layer>,
    upper: Box<dyn Layer>,
    /// Decoded by the lower layer, not yet by the upper one: at most what one record holds, and what stood
    /// before the switch.
    pending: Vec<u8>,
    at: usize,
    /// What the upper layer decoded in place.
    own: Vec<u8>,
    /// Between the two on the way out; empty between calls.
    between: Wire,
    /// Bytes that were to be sent before the upper layer came: only the lower one encodes them.
    before: usize,
}

impl Stack {
    /// Puts `upper` over `lower`, which has decoded `early` already and is still to encode `before` bytes.
    pub(crate) fn new(lower: Box<dyn Layer>, upper: Box<dyn Layer>, early: Vec<u8>, before: usize) -> Stack {
        Stack { lower, upper, pending: early, at: 0, own: Vec::new(), between: Wire::default(), before }
    }

    fn decode_pending(&mut self, reply: &mut Wire) -> Result<Decoded, LayerError> {
        let from = self.at;
        let Decoded { consumed, plain, step } = self.upper.decode(&mut self.pending[from..], reply)?;
        self.own.extend_from_slice(&self.pending[from + plain.start..from + plain.end]);
        self.at += consumed;
        if self.at == self.pending.len() {
            // An idle connection keeps no memory for it.
            (self.pending, self.at) = (Vec::new(), 0);
        }
        Ok(Decoded { consumed: 0, plain: 0..0, step })
    }
}

impl Layer for Stack {
    fn start(&mut self, _reply: &mut Wire) -> Result<(), LayerError> {
        Ok(())
    }

    fn is_established(&self) -> bool {
        true
    }

    fn holds_input(&self) -> bool {
        !self.pending.is_empty()
    }

    fn decode(&mut self, wire: &mut [u8], reply: &mut Wire) -> Result<Decoded, LayerError> {
        if self.holds_input() {
            return self.decode_pending(reply);
        }
        let Decoded { consumed, plain, step } = self.lower.decode(wire, reply)?;
        self.pending.extend_from_slice(&wire[plain]);
        let mut own = Vec::new();
        self.lower.take_decoded(&mut own);
        self.pending.append(&mut own);
        Ok(Decoded { consumed, plain: 0..0, step })
    }

    fn take_decoded(&mut self, into: &mut Vec<u8>) {
        self.upper.take_decoded(into);
        into.append(&mut self.own);
    }

    fn encode(&mut self, plain: &[u8], wire: &mut Wire) -> Result<(), LayerError> {
        let (before, plain) = plain.split_at(self.before.min(plain.len()));
        if !before.is_empty() {
            self.before -= before.len();
            self.lower.encode(before, wire)?;
        }
        if plain.is_empty() {
            return Ok(());
        }
        let mut between = mem::take(&mut self.between);
        self.upper.encode(plain, &mut between)?;
        let sealed = self.lower.encode(between.bytes(), wire);
        between.clear(0);
        self.between = between;
        sealed
    }

    fn close(&mut self, wire: &mut Wire) {
        self.lower.close(wire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::Deflaters;
    use crate::layer::Step;

    /// Turns every octet round, one record of at most five octets at a time.
    struct Mirror;

    impl Layer for Mirror {
        fn start(&mut self, _reply: &mut Wire) -> Result<(), LayerError> {
            Ok(())
        }

        fn decode(&mut self, wire: &mut [u8], _reply: &mut Wire) -> Result<Decoded, LayerError> {
            let n = wire.len().min(5);
            wire[..n].iter_mut().for_each(|octet| *octet = !*octet);
            Ok(Decoded { consumed: n, plain: 0..n, step: Step::Progress })
        }

        fn encode(&mut self, plain: &[u8], wire: &mut Wire) -> Result<(), LayerError> {
            plain.iter().for_each(|octet| wire.append(&[!*octet]));
            Ok(())
        }

        fn close(&mut self, _wire: &mut Wire) {}
    }

    fn stack(early: Vec<u8>) -> Stack {
        Stack::new(Box::new(Mirror), Deflaters::default().layer().unwrap(), early, 0)
    }

    fn decoded(stack: &mut Stack, wire: &[u8]) -> Vec<u8> {
        let (mut wire, mut all) = (wire.to_vec(), Vec::new());
        while !wire.is_empty() || stack.holds_input() {
            let Decoded { consumed, .. } = stack.decode(&mut wire, &mut Wire::default()).unwrap();
            let mut own = Vec::new();
            stack.take_decoded(&mut own);
            all.extend(own);
            wire.drain(..consumed);
        }
        all
    }

    #[test]
    fn what_goes_in_at_one_end_comes_out_at_the_other() {
        let (mut a, mut b) = (stack(Vec::new()), stack(Vec::new()));
        for text in [b"hello".to_vec(), b"x".repeat(100_000), b"".to_vec(), b"bye".to_vec()] {
            let mut wire = Wire::default();
            a.encode(&text, &mut wire).unwrap();
            assert_eq!(decoded(&mut b, wire.bytes()), text);
        }
    }

    #[test]
    fn what_the_lower_layer_had_decoded_is_the_upper_one_s() {
        let mut early = Wire::default();
        Deflaters::default().layer().unwrap().encode(b"said at once", &mut early).unwrap();
        let mut b = stack(early.bytes().to_vec());
        assert!(b.holds_input());
        assert_eq!(decoded(&mut b, b""), b"said at once");
    }

    #[test]
    fn what_was_to_be_sent_before_is_not_the_upper_one_s() {
        let (mut a, mut wire) = (stack(Vec::new()), Wire::default());
        a.before = 4;
        a.encode(b"OK", &mut wire).unwrap();
        a.encode(b"\r\nhello", &mut wire).unwrap();
        let (plain, deflated) = wire.bytes().split_at(4);
        assert_eq!(plain.iter().map(|octet| !octet).collect::<Vec<u8>>(), b"OK\r\n");
        assert_eq!(decoded(&mut stack(Vec::new()), deflated), b"hello");
    }

    #[test]
    fn garbage_is_an_error_of_the_whole() {
        let mut b = stack(Vec::new());
        let mut wire = [0x00_u8; 64];
        let mut results = (0..40).map(|_| b.decode(&mut wire, &mut Wire::default()));
        assert!(results.any(|result| result.is_err()));
    }
}
