//! Bytes to typed requests and back. Nothing here knows a socket, a clock or an engine.

pub mod event_stream;
