//! What stands between a socket and the HTTP library: it counts bytes, keeps time, and lets through only what is framed strictly.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::framing::{Framing, Phase};
use super::metrics::{Metrics, Refusal};
use super::options::Limits;
use crate::sync::Mutex;

/// What one connection is doing, as the guard and the requests see it and the watch over its time reads it.
pub(super) struct Activity {
    /// When it began; times below are milliseconds after it, plus one. Zero is "it isn't so".
    began: Instant,
    /// Requests whose answer is not yet out.
    in_flight: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    /// Of HTTP/1.1, that all of the last request was read and nothing of the next.
    between: AtomicBool,
    /// The connection ends behind the answer to the request that was read, so nothing more of it needs to be.
    ends: AtomicBool,
    /// Since when nothing could be sent.
    blocked_since: AtomicU64,
    /// Since when each answer in an HTTP/2 stream waits for its client to take more.
    untaken_since: Mutex<Vec<Arc<AtomicU64>>>,
}

/// A connection that is idle for so long is put to rest. Busy ones never are, so it costs them nothing; and the sooner the others
/// are, the more of them use the same memory one after the other.
const REST_AFTER: Duration = Duration::from_millis(100);

/// Why a connection can't go on as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It needs nothing but its socket for now.
    Rest,
    Idle,
    Head,
    Blocked,
}

impl Activity {
    pub(super) fn new() -> Activity {
        Activity {
            began: Instant::now(),
            in_flight: AtomicU32::new(0),
            idle_since: AtomicU64::new(1),
            head_since: AtomicU64::new(0),
            between: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            blocked_since: AtomicU64::new(0),
            untaken_since: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// A request is under way until what is returned is dropped.
    pub(super) fn request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight { activity: self.clone(), untaken_since: None }
    }

    /// Nothing is served any more after the answer that is made now. Of HTTP/1.1.
    pub(super) fn ends(&self) {
        self.ends.store(true, Relaxed);
    }

    fn since(cell: &AtomicU64, begun: bool, now: impl FnOnce() -> u64) {
        match (begun, cell.load(Relaxed)) {
            (true, 0) => cell.store(now(), Relaxed),
            (false, since) if since != 0 => cell.store(0, Relaxed),
            _ => {}
        }
    }

    /// When its time is over if nothing happens, and why. At rest, it stays so.
    pub(super) fn due_at_rest(&self, limits: &Limits) -> Option<(Instant, Overdue)> {
        match self.due(limits)? {
            (_, Overdue::Rest) => Some((self.idle_until(limits.idle_time), Overdue::Idle)),
            due => Some(due),
        }
    }

    fn idle_until(&self, time: Duration) -> Instant {
        self.at(self.idle_since.load(Relaxed), time)
    }

    fn at(&self, since: u64, time: Duration) -> Instant {
        self.began + Duration::from_millis(since.saturating_sub(1)) + time
    }

    /// When its time is over if nothing happens, and why.
    pub(super) fn due(&self, limits: &Limits) -> Option<(Instant, Overdue)> {
        let (head, blocked) = (self.head_since.load(Relaxed), self.blocked_since.load(Relaxed));
        if blocked != 0 {
            return Some((self.at(blocked, limits.body_time), Overdue::Blocked));
        }
        if self.in_flight.load(Relaxed) > 0 {
            let untaken = self.untaken_since.lock();
            let since = untaken.iter().map(|since| since.load(Relaxed)).filter(|since| *since != 0).min();
            return since.map(|since| (self.at(since, limits.body_time), Overdue::Blocked));
        }
        Some(match head {
            0 if self.between.load(Relaxed) => (self.idle_until(REST_AFTER.min(limits.idle_time)), Overdue::Rest),
            0 => (self.idle_until(limits.idle_time), Overdue::Idle),
            head => (self.at(head, limits.header_time), Overdue::Head),
        })
    }
}

/// A request under way.
pub(super) struct InFlight {
    activity: Arc<Activity>,
    /// Of an answer in an HTTP/2 stream.
    untaken_since: Option<Arc<AtomicU64>>,
}

impl InFlight {
    /// The answer goes into a stream whose client says how much it takes. The socket tells nothing of that.
    pub(super) fn goes_into_stream(&mut self) {
        let since = Arc::new(AtomicU64::new(self.activity.now()));
        self.activity.untaken_since.lock().push(since.clone());
        self.untaken_since = Some(since);
    }

    pub(super) fn is_in_stream(&self) -> bool {
        self.untaken_since.is_some()
    }

    /// Whether there is a part of the answer that waits to be taken, as of now.
    pub(super) fn untaken(&self, waits: bool) {
        if let Some(since) = &self.untaken_since {
            since.store(if waits { self.activity.now() } else { 0 }, Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(gone) = &self.untaken_since {
            self.activity.untaken_since.lock().retain(|since| !Arc::ptr_eq(since, gone));
        }
        self.activity.idle_since.store(self.activity.now(), Relaxed);
        self.activity.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The first bytes of a connection that are looked at: as many as tell HTTP/2 from HTTP/1.1.
const FIRST_BYTES: usize = 24;

/// Of what was sent behind a refused head, what is read at a time and at most: a short body is, so that its sender sees the answer
/// and no broken connection.
const LAST_BYTES: usize = 1 << 10;
const LAST_BYTES_MAX: usize = 4 << 10;

/// What a head that is refused ends with, for the library looks only at whole ones.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// A socket, or TLS on one, guarded.
pub(super) struct Guard<T> {
    io: T,
    framing: Framing,
    /// What was read and is still to be given.
    front: Bytes,
    /// What the connection was in the middle of when something was refused. From then on nothing is read: the library answers
    /// what it was given, and closes.
    refused: Option<Phase>,
    /// What is still to be read of [`END_OF_HEAD`] after that.
    end_of_head: &'static [u8],
    /// What may still be read once the connection ends.
    last_bytes: usize,
    activity: Arc<Activity>,
    metrics: Arc<Metrics>,
}

impl<T> Guard<T> {
    pub(super) fn new(io: T, activity: Arc<Activity>, metrics: Arc<Metrics>) -> Guard<T> {
        let (framing, front) = (Framing::new(), Bytes::new());
        Guard {
            io,
            framing,
            front,
            refused: None,
            end_of_head: END_OF_HEAD,
            last_bytes: LAST_BYTES_MAX,
            activity,
            metrics,
        }
    }

    /// The connection rests: what the library had read and not used, of whole requests, comes again.
    pub(super) fn rest(&mut self, unused: &[u8]) {
        let front = [unused, &self.front].concat();
        // Empty lines are not the beginning of anything.
        let lines = front.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.front = Bytes::from(front).slice(lines..);
    }

    fn sent<R>(&self, outcome: &Poll<R>) {
        Activity::since(&self.activity.blocked_since, outcome.is_pending(), || self.activity.now());
    }
}

impl<T: AsyncRead + Unpin> Guard<T> {
    /// Waits for what comes next, with no more memory than that takes, and tells the version that it is. `None` at the end.
    pub(super) fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Version>>> {
        loop {
            if let Some(version) = self.framing.version().filter(|_| !self.front.is_empty()) {
                return Poll::Ready(Ok(Some(version)));
            }
            let mut space = [0; FIRST_BYTES];
            let mut buf = ReadBuf::new(&mut space);
            ready!(self.poll_more(cx, &mut buf))?;
            if buf.filled().is_empty() {
                // The front of something: the library says what that is.
                return Poll::Ready(Ok(Some(Version::HTTP_11).filter(|_| !self.front.is_empty())));
            }
            self.front = [&self.front, buf.filled()].concat().into();
        }
    }

    /// Reads on, behind the front.
    fn poll_more(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.refused {
            None => {}
            // The body ends here, before its end.
            Some(Phase::Body) => return Poll::Ready(Ok(())),
            // An end of the stream could cut off the answer to the request before; a head that ends is looked at.
            Some(_) if self.end_of_head.is_empty() => return Poll::Pending,
            Some(_) => {
                let (now, later) = self.end_of_head.split_at(self.end_of_head.len().min(buf.remaining()));
                buf.put_slice(now);
                self.end_of_head = later;
                return Poll::Ready(Ok(()));
            }
        }
        let before = buf.filled().len();
        if self.activity.ends.load(Relaxed) {
            let mut space = [0; LAST_BYTES];
            let size = LAST_BYTES.min(self.last_bytes).min(buf.remaining());
            if size == 0 {
                return Poll::Pending;
            }
            let mut last = ReadBuf::new(&mut space[..size]);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut last))?;
            self.last_bytes -= last.filled().len();
            buf.put_slice(last.filled());
        } else {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        }
        let read = buf.filled().len() - before;
        self.metrics.received(read as u64);
        if let Err(at) = self.framing.accept(&buf.filled()[before..]) {
            self.refused = Some(self.framing.phase());
            self.metrics.refused(Refusal::Framing);
            // A NUL is allowed nowhere outside a body: the library answers 400 and closes.
            buf.filled_mut()[before + at] = 0;
            buf.set_filled(before + at + 1);
        }
        let phase = self.framing.phase();
        Activity::since(&self.activity.head_since, phase == Phase::Head, || self.activity.now());
        let http1 = self.framing.version() == Some(Version::HTTP_11);
        self.activity.between.store(http1 && phase == Phase::Between && self.refused.is_none(), Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.front.is_empty() {
            return self.poll_more(cx, buf);
        }
        let now = self.front.len().min(buf.remaining());
        buf.put_slice(&self.front[..now]);
        self.front.advance(now);
        if self.front.is_empty() && buf.remaining() > 0 {
            // With what is there behind it, for the library doubles a buffer that it finds begun. What else may come of this, an
            // error or the end, comes of the next read as well.
            let _ = self.poll_more(cx, buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.sent(&outcome);
        if let Poll::Ready(Ok(written)) = outcome {
            self.metrics.sent(written as u64);
        }
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.sent(&outcome);
        if let Poll::Ready(Ok(written)) = outcome {
            self.metrics.sent(written as u64);
        }
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.sent(&outcome);
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
