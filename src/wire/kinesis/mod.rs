//! Kinesis Data Streams on the wire.

mod model;

pub use model::*;
