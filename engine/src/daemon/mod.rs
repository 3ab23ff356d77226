//! The daemon around the engine.

mod notify;
mod privileges;
mod sys;

pub use privileges::USER;
