//! Bodies: of requests, read whole within limits; of answers, whole or as events.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::guard::InFlight;
use super::metrics::Refusal;
use super::options::Limits;
use super::service::{ApiBody, EventReceiver};

/// A slow body earns a second for each so many bytes.
const BYTES_PER_SECOND: u64 = 64 << 10;
/// A body up to here is small. The last of the budget is kept for those, so that few large ones that stall shut nobody out.
const SMALL: usize = 64 << 10;
/// What part of the budget that is.
const RESERVED: usize = 8;
/// What a unit of [`Budget`] stands for: its counter has 32 bits for each step.
const UNIT: usize = 1 << 10;

/// Bytes that bodies in memory may take together.
pub(super) struct Budget {
    units: Arc<Semaphore>,
    /// Units that only small bodies get.
    reserved: usize,
}

/// A share of a [`Budget`], given back on drop.
#[derive(Default)]
pub(super) struct Share {
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Budget {
        let bytes = limits.bodies_bytes;
        // Alone, the largest body always has room.
        let reserved = (bytes / RESERVED).min(bytes - limits.body_bytes.min(bytes)) / UNIT;
        let units = Arc::new(Semaphore::new(bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS)));
        Budget { units, reserved }
    }

    /// An answer that holds its share until it is sent. A small one has none: it is soon with the system.
    ///
    /// # Errors
    /// There is no room.
    pub(super) fn hold(&self, body: ApiBody) -> Result<ApiBody, Unread> {
        let bytes = match body {
            ApiBody::Whole(bytes) if bytes.len() > SMALL => bytes,
            other => return Ok(other),
        };
        let mut share = Share::default();
        if !self.grow(&mut share, bytes.len()) {
            return Err(Unread::NoRoom);
        }
        // The library keeps the bytes, and nothing else of a body, until they are sent.
        Ok(ApiBody::Whole(Bytes::from_owner(Held { bytes, _share: share })))
    }

    /// Lets a share grow; `false` if there is not as much left.
    fn grow(&self, share: &mut Share, by: usize) -> bool {
        let wanted = (share.bytes + by).div_ceil(UNIT) - share.bytes.div_ceil(UNIT);
        let Ok(units) = u32::try_from(wanted) else { return false };
        if share.bytes + by > SMALL && self.units.available_permits() < wanted + self.reserved {
            return false;
        }
        let Ok(permit) = self.units.clone().try_acquire_many_owned(units) else { return false };
        share.bytes += by;
        match &mut share.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        true
    }
}

/// Bytes with their share.
struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A request's body could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// Longer than allowed.
    TooLarge,
    /// Too slow.
    TooSlow,
    /// All bodies together take more than there is room for.
    NoRoom,
    /// Not what HTTP has, or the client left.
    Broken,
}

impl Unread {
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Unread::TooLarge => Refusal::BodySize,
            Unread::TooSlow => Refusal::BodyTime,
            Unread::NoRoom => Refusal::Memory,
            Unread::Broken => Refusal::BodyBroken,
        }
    }
}

/// Reads a body whole. The share is held as long as the bytes are.
pub(super) async fn read(mut body: Incoming, limits: &Limits, budget: &Budget) -> Result<(Bytes, Share), Unread> {
    let declared = body.size_hint();
    if declared.lower() > limits.body_bytes as u64 {
        return Err(Unread::TooLarge);
    }
    let mut due = Instant::now() + limits.body_time;
    let mut share = Share::default();
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        // What came earns time, but none to say nothing.
        let frame = timeout_at(due.min(Instant::now() + limits.body_time), body.frame()).await;
        let data = match frame.map_err(|_| Unread::TooSlow)? {
            None => break,
            Some(Err(_)) => return Err(Unread::Broken),
            // Trailers say nothing that any of our services reads.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_) => continue,
            },
        };
        if share.bytes + data.len() > limits.body_bytes {
            return Err(Unread::TooLarge);
        }
        if !budget.grow(&mut share, data.len()) {
            return Err(Unread::NoRoom);
        }
        due += Duration::from_millis(data.len() as u64 * 1000 / BYTES_PER_SECOND);
        // A body in one piece, as most are, is not copied.
        match &first {
            None if rest.is_empty() => first = Some(data),
            _ => {
                if let Some(first) = first.take() {
                    let whole = declared.upper().unwrap_or(0).min(limits.body_bytes as u64) as usize;
                    rest.reserve(whole.max(first.len() + data.len()));
                    rest.extend_from_slice(&first);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok((first.unwrap_or_else(|| rest.freeze()), share))
}

/// An answer goes into an HTTP/2 stream in pieces: the next is asked for when its client takes one.
const PIECE_BYTES: usize = 64 << 10;

/// Becomes ready when the server stops.
type Stopping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What an answer carries, and what lasts until it is out.
pub(super) struct AnswerBody {
    content: Content,
    in_flight: InFlight,
}

enum Content {
    Whole(Option<Bytes>),
    Events(EventReceiver, Stopping),
}

impl AnswerBody {
    pub(super) fn new(body: ApiBody, in_flight: InFlight, stop: &watch::Receiver<bool>) -> AnswerBody {
        let content = match body {
            ApiBody::Whole(bytes) => Content::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())),
            ApiBody::Events(events) => {
                let mut stop = stop.clone();
                let stopping = async move {
                    // An error is a server that is gone.
                    let _ = stop.wait_for(|stop| *stop).await;
                };
                Content::Events(events, Box::pin(stopping))
            }
        };
        AnswerBody { content, in_flight }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let in_pieces = self.in_flight.is_in_stream();
        let next = match &mut self.content {
            Content::Whole(Some(bytes)) if in_pieces && bytes.len() > PIECE_BYTES => {
                Poll::Ready(Some(bytes.split_to(PIECE_BYTES)))
            }
            Content::Whole(bytes) => Poll::Ready(bytes.take()),
            Content::Events(events, stopping) => match events.poll_recv(cx) {
                Poll::Ready(event) => Poll::Ready(event),
                // The client sees a whole end and subscribes elsewhere, or again.
                Poll::Pending => stopping.as_mut().poll(cx).map(|()| None),
            },
        };
        self.in_flight.untaken(next.is_ready());
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Events(..) => SizeHint::default(),
        }
    }
}
