//! One connection, from its first byte to its last: clear text or TLS, HTTP/1.1 or HTTP/2, and the watch over its time.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::guard::{Activity, Guard, Overdue};
use super::metrics::Refusal;
use super::options::Limits;
use super::service::Service;
use super::tls::{HANDSHAKE_FAILURE, HANDSHAKE_RECORD};
use super::{Room, answer};

/// How often a silent HTTP/2 client is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Streams that a client opened and reset before they were answered (CVE-2023-44487): beyond, the connection ends.
const RESET_STREAMS_MAX: usize = 32;
/// Bytes of an answer that wait in an HTTP/2 stream for its client.
const STREAM_SEND_BYTES: usize = 256 << 10;
/// Bytes that an HTTP/2 client may send ahead: of one stream, of the connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// A connection that was told to end because it was idle gets this long to do it.
const FAREWELL: Duration = Duration::from_millis(500);

/// The HTTP library, set up once for all connections of a server.
pub(super) fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let mut http1 = builder.http1();
    // The watch below is the exact one: this timer runs while a connection is idle, too.
    let head_time = limits.idle_time + limits.header_time;
    http1.timer(TokioTimer::new()).header_read_timeout(head_time);
    http1.max_headers(limits.headers).max_buf_size(limits.header_bytes);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_INTERVAL);
    http2.max_concurrent_streams(limits.streams).max_header_list_size(limits.header_bytes as u32);
    http2.max_pending_accept_reset_streams(RESET_STREAMS_MAX).max_local_error_reset_streams(RESET_STREAMS_MAX);
    http2.initial_stream_window_size(STREAM_WINDOW_BYTES).initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    http2.max_send_buf_size(STREAM_SEND_BYTES);
    builder
}

/// Serves a connection until it ends, or the server does.
pub(super) async fn serve<S: Service>(stream: TcpStream, peer: SocketAddr, room: Arc<Room<S>>) {
    let limits = &room.options.limits;
    let mut first = [0];
    let mut stop = room.stop.clone();
    let read = tokio::time::timeout(limits.idle_time, unless_stopped(&mut stop, stream.peek(&mut first))).await;
    // Nothing came, or the client left, or the server stops: there is nobody to tell.
    let Ok(Some(Ok(1))) = read else { return };
    // What follows is on the heap: a task is as large as its largest moment, and ten thousand may wait before their first byte.
    if first[0] != HANDSHAKE_RECORD {
        return Box::pin(watch_over(stream, peer, room)).await;
    }
    let Some(identity) = &room.options.tls else {
        room.metrics.refused(Refusal::NoCertificate);
        tracing::warn!(%peer, "refused a TLS handshake: the server has no certificate; use http://, or configure one");
        let _ = stream.try_write(&HANDSHAKE_FAILURE);
        return;
    };
    let handshake = Box::pin(TlsAcceptor::from(identity.config.clone()).accept(stream));
    match timeout(limits.handshake_time, unless_stopped(&mut stop, handshake)).await {
        Ok(Some(Ok(stream))) => Box::pin(watch_over(stream, peer, room)).await,
        Ok(None) => {}
        Ok(Some(Err(error))) => {
            room.metrics.refused(Refusal::Handshake);
            tracing::info!(%peer, %error, "a TLS handshake failed");
        }
        Err(_) => {
            room.metrics.refused(Refusal::Handshake);
            tracing::info!(%peer, "a TLS handshake took too long");
        }
    }
}

/// What `work` comes to; `None` if the server stops first.
pub(super) async fn unless_stopped<T>(stop: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => stopped.as_mut().poll(cx).map(|_| None),
    })
    .await
}

/// Speaks HTTP on a connection, and ends it when its time is over.
async fn watch_over<S, T>(stream: T, peer: SocketAddr, room: Arc<Room<S>>)
where
    S: Service,
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = &room.options.limits;
    let activity = Arc::new(Activity::new());
    let io = TokioIo::new(Guard::new(stream, activity.clone(), room.metrics.clone()));
    let answering = {
        let (room, activity) = (room.clone(), activity.clone());
        // On the heap, for the library keeps the room for an answer as long as the connection: 10,000 idle ones would each.
        service_fn(move |request| Box::pin(answer::answer(room.clone(), activity.clone(), peer, request)))
    };
    let mut connection = Box::pin(room.http.serve_connection(io, answering));
    let mut stop = room.stop.clone();
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    let mut stopping = false;
    // When a connection that was told to end must have done so.
    let mut farewell = None;
    let mut armed = Instant::now() + limits.idle_time;
    let mut alarm = pin!(sleep_until(armed));
    let ended = poll_fn(|cx| {
        if !stopping && stopped.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
            return Poll::Ready(Ok(outcome));
        }
        loop {
            let now = Instant::now();
            let (due, why) = match (activity.due(limits), farewell) {
                (None, _) => (now + limits.idle_time, Overdue::Idle),
                (Some((_, Overdue::Idle)), Some(farewell)) => (farewell, Overdue::Idle),
                (Some(due), _) => due,
            };
            // One that moved nearer is set at once; one that moved away is seen when it rings, which costs each request nothing.
            if due < armed {
                armed = due;
                alarm.as_mut().reset(due);
            }
            ready!(alarm.as_mut().poll(cx));
            if now < due {
                armed = due;
                alarm.as_mut().reset(due);
            } else if why == Overdue::Idle && farewell.is_none() {
                // HTTP/2 clients are told that it ends; others see it.
                farewell = Some(now + FAREWELL);
                connection.as_mut().graceful_shutdown();
                if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                    return Poll::Ready(Ok(outcome));
                }
            } else {
                return Poll::Ready(Err(why));
            }
        }
    })
    .await;
    match ended {
        Ok(Ok(())) | Err(Overdue::Idle) => {}
        Ok(Err(error)) => {
            // A client that left is everyday; what is no HTTP is counted.
            if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                room.metrics.refused(Refusal::Malformed);
            }
            tracing::debug!(%peer, %error, "a connection ended");
        }
        Err(Overdue::Head) => {
            room.metrics.refused(Refusal::HeadTime);
            tracing::info!(%peer, "a request's head took too long");
        }
        Err(Overdue::Blocked) => {
            room.metrics.refused(Refusal::Blocked);
            tracing::info!(%peer, "a client takes no answer");
        }
    }
}
