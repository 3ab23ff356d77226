//! The MUPDATE server: the master, and a slave's read-only face.

pub mod rules;
