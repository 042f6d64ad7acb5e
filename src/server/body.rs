//! Bodies: of requests, read whole within limits; of answers, whole or as events.

use std::convert::Infallible;
use std::future::Future;
use std::io;
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
#[derive(Clone)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    /// Units that only small bodies get.
    reserved: usize,
}

/// A share of a [`Budget`], given back on drop. Of so many bytes, in units that are rounded up.
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

    /// An answer that is about to be written.
    pub(crate) fn draft(&self) -> Draft {
        Draft { bytes: Vec::with_capacity(128), share: Share::default(), budget: self.clone() }
    }

    /// The same, of about so many bytes: it has room for them from the start, or is refused before it holds any. Where it grew as it is
    /// written, many at a time could hold half of what each needs, and none of them would come to its end.
    ///
    /// # Errors
    /// There is no room.
    pub(crate) fn draft_of(&self, bytes: usize) -> io::Result<Draft> {
        let mut draft = self.draft();
        if bytes > SMALL {
            draft.grow_by(bytes, bytes)?;
        }
        Ok(draft)
    }

    /// An answer that holds its share until it is sent, if it was written without one. A small one has none: it is soon with the
    /// system.
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
        Ok(ApiBody::Held(Bytes::from_owner(Held { bytes, _share: share })))
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

impl Share {
    /// Gives back what is beyond so many bytes.
    fn shrink(&mut self, bytes: usize) {
        let units = self.bytes.div_ceil(UNIT).saturating_sub(bytes.div_ceil(UNIT));
        drop(self.permit.as_mut().and_then(|permit| permit.split(units)));
        self.bytes = self.bytes.min(bytes);
    }
}

/// An answer while it is written: it has its share of the room before it takes the memory, and fails where there is none. A small
/// one needs none.
pub(crate) struct Draft {
    bytes: Vec<u8>,
    share: Share,
    budget: Budget,
}

impl Draft {
    /// As it is sent, with a share of its size.
    pub(crate) fn finish(self) -> ApiBody {
        let Draft { mut bytes, mut share, .. } = self;
        if bytes.len() <= SMALL {
            return ApiBody::Whole(bytes.into());
        }
        bytes.shrink_to_fit();
        share.shrink(bytes.len());
        ApiBody::Held(Bytes::from_owner(Held { bytes, _share: share }))
    }

    /// Makes room for so many bytes more: as many as there are again, or fewer where there is not so much left.
    #[cold]
    fn grow(&mut self, by: usize) -> io::Result<()> {
        let length = self.bytes.len();
        let more = self.bytes.capacity().max(by);
        self.grow_by(by, if length + by <= SMALL { more.min(SMALL - length) } else { more })
    }

    /// Makes room for `more` bytes, or for as many as there is room for, `by` at least.
    fn grow_by(&mut self, by: usize, mut more: usize) -> io::Result<()> {
        let length = self.bytes.len();
        while !self.may_have(length + more) {
            if more == by {
                return Err(io::Error::new(io::ErrorKind::OutOfMemory, NO_ROOM));
            }
            more = (more / 2).max(by);
        }
        self.bytes.reserve_exact(more);
        Ok(())
    }

    fn may_have(&mut self, bytes: usize) -> bool {
        let more = bytes - self.share.bytes;
        bytes <= SMALL || self.budget.grow(&mut self.share, more)
    }
}

impl io::Write for Draft {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.capacity() - self.bytes.len() < piece.len() {
            self.grow(piece.len())?;
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes with their share. The library keeps these, and nothing else of a body, until they are sent.
struct Held<B> {
    bytes: B,
    _share: Share,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// What a client is told where there is no room for a body.
pub(crate) const NO_ROOM: &str = "the bodies of all requests together take too much memory; try again";

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

/// Reads a body whole. It holds its share as long as anybody has it: a client that leaves does not end what is done with it.
pub(super) async fn read(mut body: Incoming, limits: &Limits, budget: &Budget) -> Result<Bytes, Unread> {
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
    let bytes = first.unwrap_or_else(|| rest.freeze());
    Ok(Bytes::from_owner(Held { bytes, _share: share }))
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
            ApiBody::Whole(bytes) | ApiBody::Held(bytes) => {
                Content::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
            }
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const MIB: usize = 1 << 20;

    fn written(draft: &mut Draft, bytes: usize) -> io::Result<()> {
        // In pieces of a size that divides nothing.
        (0..bytes.div_ceil(777)).try_for_each(|at| draft.write_all(&[b'x'; 777][..(bytes - at * 777).min(777)]))
    }

    fn length(body: &ApiBody) -> usize {
        match body {
            ApiBody::Whole(bytes) | ApiBody::Held(bytes) => bytes.len(),
            ApiBody::Events(_) => 0,
        }
    }

    #[test]
    fn an_answer_has_its_room_before_it_has_its_memory() {
        // It was written first, of whatever size, and then there was no room for it.
        let budget = Budget::new(&Limits::default().body_bytes(MIB).bodies_bytes(4 * MIB));
        let free = || budget.units.available_permits() * UNIT;
        let mut draft = budget.draft();
        for _ in 0..3 {
            written(&mut draft, MIB).unwrap();
            let taken = 4 * MIB - free();
            assert!(draft.bytes.capacity() <= taken, "{} of memory, {taken} of room", draft.bytes.capacity());
        }
        // The last eighth is for what is small.
        let refused = written(&mut draft, MIB).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::OutOfMemory);
        assert!(draft.bytes.len() > 3 * MIB + MIB / 4, "all there is was used: {}", draft.bytes.len());
        drop(draft);
        assert_eq!(free(), 4 * MIB);

        let mut draft = budget.draft();
        written(&mut draft, MIB + 1).unwrap();
        let body = draft.finish();
        assert_eq!((length(&body), 4 * MIB - free()), (MIB + 1, MIB + UNIT), "what it does not need is given back");
        let body = budget.hold(body).unwrap();
        assert_eq!(4 * MIB - free(), MIB + UNIT, "it is counted once");
        drop(body);
        assert_eq!(free(), 4 * MIB);
    }

    #[test]
    fn answers_of_a_known_size_do_not_starve_each_other() {
        let budget = Budget::new(&Limits::default().body_bytes(MIB).bodies_bytes(16 * MIB));
        let drafts: Vec<_> = (0..20).map(|_| budget.draft_of(2 * MIB - 1)).collect();
        // All are begun before one is written.
        let mut refused = 0;
        for draft in drafts {
            match draft {
                Ok(mut draft) => written(&mut draft, 2 * MIB - 1).unwrap(),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 13, "seven have room, for the last eighth is for what is small");
        // Small ones, and those that turn out larger, need nothing in advance.
        let mut draft = budget.draft_of(10).unwrap();
        written(&mut draft, 2 * MIB).unwrap();
        assert_eq!(length(&draft.finish()), 2 * MIB);
    }

    #[test]
    fn a_small_answer_needs_no_room() {
        let budget = Budget::new(&Limits::default().body_bytes(MIB).bodies_bytes(MIB));
        let mut all = Share::default();
        assert!(budget.grow(&mut all, MIB));
        let mut draft = budget.draft();
        written(&mut draft, SMALL).unwrap();
        assert_eq!(draft.bytes.capacity(), SMALL);
        assert!(written(&mut draft, 1).is_err());
        drop(all);
        written(&mut draft, 1).unwrap();
        assert_eq!(length(&draft.finish()), SMALL + 1);
    }
}
