//! The seam between the room of sockets and those who answer for an AWS service.

use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use http::request::Parts;
use tokio::sync::mpsc;

use super::body::Budget;

/// The header that names a request, in its answer.
pub(super) const REQUEST_ID: &str = "x-amzn-requestid";

/// What one request asks for, read whole.
pub(crate) struct ApiRequest {
    /// The body, at most as long as [`Limits::body_bytes`](super::Limits::body_bytes) allows.
    pub(crate) body: Bytes,
    /// Who asks.
    pub(crate) peer: SocketAddr,
    /// Where an answer that may be large is written: in a [`Draft`](super::body::Draft).
    pub(crate) budget: Budget,
}

/// Frames of an event stream, in the order they are sent. The stream ends when the sender is dropped, and when the server
/// stops; the sender sees by `closed` that the client is gone.
pub(crate) type EventReceiver = mpsc::Receiver<Bytes>;

/// What a response carries.
pub(crate) enum ApiBody {
    /// All of it.
    Whole(Bytes),
    /// All of it, with its share of the memory for bodies.
    Held(Bytes),
    /// Frames that are sent one by one, each as soon as it is there.
    Events(EventReceiver),
}

/// Answers requests to AWS services. Knows no socket.
pub(crate) trait Service: Send + Sync + 'static {
    /// What is known of a request from its head.
    type Admitted: Send;

    /// Looks at the head before anything is read of the body, and before a client that waits for `100 Continue` gets it. Who is
    /// refused here costs no more than a head.
    ///
    /// # Errors
    /// The answer to who is refused; the connection is closed behind it.
    fn admit(&self, head: &Parts, peer: SocketAddr) -> Result<Self::Admitted, Box<http::Response<ApiBody>>>;

    /// Answers. Must not block the thread: what waits for a disk goes to `tokio::task::spawn_blocking`, or is a `Ticket`.
    fn call(
        &self,
        request: ApiRequest,
        admitted: Self::Admitted,
    ) -> impl Future<Output = http::Response<ApiBody>> + Send;
}
