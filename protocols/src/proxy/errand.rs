//! Sessions that other sessions have run for them.

use std::fmt;

use super::Session;

/// A session that another one has run for it, made where it runs.
pub struct Errand(pub Box<dyn FnOnce() -> Box<dyn Session> + Send>);

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Errand")
    }
}
