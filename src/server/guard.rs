//! What stands between a socket and the HTTP library: it counts bytes, keeps time, and lets through only what is framed strictly.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::framing::{Framing, Phase};
use super::metrics::{Metrics, Refusal};
use super::options::Limits;

/// What one connection is doing, as the guard and the requests see it and the watch over its time reads it.
pub(super) struct Activity {
    /// When it began; times below are milliseconds after it, plus one. Zero is "it isn't so".
    began: Instant,
    /// Requests whose answer is not yet out.
    in_flight: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    /// Since when nothing could be sent.
    blocked_since: AtomicU64,
}

/// Why a connection's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
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
            blocked_since: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// A request is under way until what is returned is dropped.
    pub(super) fn request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self.clone())
    }

    fn since(cell: &AtomicU64, begun: bool, now: impl FnOnce() -> u64) {
        match (begun, cell.load(Relaxed)) {
            (true, 0) => cell.store(now(), Relaxed),
            (false, since) if since != 0 => cell.store(0, Relaxed),
            _ => {}
        }
    }

    /// When its time is over if nothing happens, and why.
    pub(super) fn due(&self, limits: &Limits) -> Option<(Instant, Overdue)> {
        let at = |since: u64, time: Duration| self.began + Duration::from_millis(since.saturating_sub(1)) + time;
        let (head, blocked) = (self.head_since.load(Relaxed), self.blocked_since.load(Relaxed));
        if blocked != 0 {
            return Some((at(blocked, limits.body_time), Overdue::Blocked));
        }
        if self.in_flight.load(Relaxed) > 0 {
            return None;
        }
        Some(match head {
            0 => (at(self.idle_since.load(Relaxed), limits.idle_time), Overdue::Idle),
            head => (at(head, limits.header_time), Overdue::Head),
        })
    }
}

/// A request under way.
pub(super) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Relaxed);
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// What a head that is refused ends with, for the library looks only at whole ones.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// A socket, or TLS on one, guarded.
pub(super) struct Guard<T> {
    io: T,
    framing: Framing,
    /// What the connection was in the middle of when something was refused. From then on nothing is read: the library answers
    /// what it was given, and closes.
    refused: Option<Phase>,
    /// What is still to be read of [`END_OF_HEAD`] after that.
    end_of_head: &'static [u8],
    activity: Arc<Activity>,
    metrics: Arc<Metrics>,
}

impl<T> Guard<T> {
    pub(super) fn new(io: T, activity: Arc<Activity>, metrics: Arc<Metrics>) -> Guard<T> {
        Guard { io, framing: Framing::new(), refused: None, end_of_head: END_OF_HEAD, activity, metrics }
    }

    fn sent<R>(&self, outcome: &Poll<R>) {
        Activity::since(&self.activity.blocked_since, outcome.is_pending(), || self.activity.now());
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        self.metrics.received(read as u64);
        if let Err(at) = self.framing.accept(&buf.filled()[before..]) {
            self.refused = Some(self.framing.phase());
            self.metrics.refused(Refusal::Framing);
            // A NUL is allowed nowhere outside a body: the library answers 400 and closes.
            buf.filled_mut()[before + at] = 0;
            buf.set_filled(before + at + 1);
        }
        let in_head = self.framing.phase() == Phase::Head;
        Activity::since(&self.activity.head_since, in_head, || self.activity.now());
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
