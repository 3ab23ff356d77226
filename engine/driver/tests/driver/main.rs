//! The driver under toy sessions and a carrier in memory, at random splits.

mod forwards;
mod layers;
mod overload;
mod pipes;
mod pool;
mod toy;
mod turns;
mod world;
