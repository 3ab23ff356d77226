//! What a machine wants, in order, until the driver polls it.

use std::collections::VecDeque;

use protocols::proxy::{Output, Side};

/// Outputs in order; adjoining writes to one side are one.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Queued>,
}

enum Queued {
    Bytes { to: Side, bytes: Vec<u8> },
    Output(Output),
}

impl Outbox {
    /// Appends an output other than a write.
    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(Queued::Output(output));
    }

    /// Appends what `write` authors for a side.
    pub(crate) fn author(&mut self, side: Side, write: impl FnOnce(&mut Vec<u8>)) {
        match self.queue.back_mut() {
            Some(Queued::Bytes { to, bytes }) if *to == side => {
                write(bytes);
            }
            Some(Queued::Bytes { .. } | Queued::Output(_)) | None => {
                let mut bytes = Vec::new();
                write(&mut bytes);
                self.queue.push_back(Queued::Bytes { to: side, bytes });
            }
        }
    }

    /// Appends bytes for a side.
    pub(crate) fn write(&mut self, side: Side, bytes: &[u8]) {
        self.author(side, |out| out.extend_from_slice(bytes));
    }

    /// Gives the next output.
    pub(crate) fn poll(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        match self.queue.pop_front()? {
            Queued::Output(output) => Some(output),
            Queued::Bytes { to, bytes } => {
                scratch.extend_from_slice(&bytes);
                Some(Output::Write { to })
            }
        }
    }
}
