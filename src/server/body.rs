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
/// What a unit of [`Budget`] stands for: its counter has 32 bits for each step.
const UNIT: usize = 1 << 10;

/// Bytes that bodies in memory may take together.
pub(super) struct Budget(Arc<Semaphore>);

/// A share of a [`Budget`], given back on drop.
#[derive(Default)]
pub(super) struct Share {
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Budget {
        Budget(Arc::new(Semaphore::new(bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Lets a share grow; `false` if there is not as much left.
    fn grow(&self, share: &mut Share, by: usize) -> bool {
        let wanted = (share.bytes + by).div_ceil(UNIT) - share.bytes.div_ceil(UNIT);
        let Ok(units) = u32::try_from(wanted) else { return false };
        let Ok(permit) = self.0.clone().try_acquire_many_owned(units) else { return false };
        share.bytes += by;
        match &mut share.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        true
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
    let began = Instant::now();
    let mut share = Share::default();
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        let earned = Duration::from_millis(share.bytes as u64 * 1000 / BYTES_PER_SECOND);
        let frame = timeout_at(began + limits.body_time + earned, body.frame()).await;
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

/// Becomes ready when the server stops.
type Stopping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What an answer carries, and what lasts until it is out.
pub(super) struct AnswerBody {
    content: Content,
    _in_flight: InFlight,
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
        AnswerBody { content, _in_flight: in_flight }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Events(events, stopping) => match events.poll_recv(cx) {
                Poll::Ready(frame) => Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes)))),
                // The client sees a whole end and subscribes elsewhere, or again.
                Poll::Pending => stopping.as_mut().poll(cx).map(|()| None),
            },
        }
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
