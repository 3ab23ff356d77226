//! All chance of a world, from its seed.

use std::time::Duration;

/// A splitmix64 sequence: the same seed gives the same world.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.roll() % bound as u64) as usize }
    }

    /// Whether an event of so many in a thousand happens.
    pub fn per_mille(&mut self, chance: u32) -> bool {
        self.roll() % 1000 < u64::from(chance)
    }

    /// A time up to `max`.
    pub fn time(&mut self, max: Duration) -> Duration {
        Duration::from_nanos(self.roll() % (max.as_nanos() as u64 + 1))
    }

    /// 32 bytes for a session.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.roll().to_le_bytes());
        }
        bytes
    }
}
