//! Bytes to typed requests and back: codecs that know no socket and no engine.
//!
//! ```text
//! body --protocol--> typed input --check--> dispatch ... typed output --protocol--> body
//! ```
//!
//! The types of a service, what bounds their members and which errors it names are written by a program from the service's
//! own model (`kinesis/model.rs`). What the bytes look like is told once, for all services, by [`protocol`].

mod bounded;
pub mod check;
pub mod error;
pub mod event_stream;
mod excerpt;
pub mod kinesis;
pub mod protocol;
pub mod scalar;

pub use error::ApiError;
pub use protocol::Protocol;
