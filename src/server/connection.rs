//! One connection, from its first byte to its last: clear text or TLS, HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::Version;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::alarm::Alarm;
use super::body::AnswerBody;
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
pub(super) struct Http {
    one: http1::Builder,
    two: http2::Builder<TokioExecutor>,
}

impl Http {
    pub(super) fn new(limits: &Limits) -> Http {
        let (mut one, mut two) = (http1::Builder::new(), http2::Builder::new(TokioExecutor::new()));
        // The alarm is the exact one: this timer runs while a connection is idle, too.
        let head_time = limits.idle_time + limits.header_time;
        one.timer(TokioTimer::new()).header_read_timeout(head_time);
        one.max_headers(limits.headers).max_buf_size(limits.header_bytes);
        two.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_INTERVAL);
        two.max_concurrent_streams(limits.streams).max_header_list_size(limits.header_bytes as u32);
        two.max_pending_accept_reset_streams(RESET_STREAMS_MAX).max_local_error_reset_streams(RESET_STREAMS_MAX);
        two.initial_stream_window_size(STREAM_WINDOW_BYTES).initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        two.max_send_buf_size(STREAM_SEND_BYTES);
        Http { one, two }
    }
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
        return Box::pin(converse(stream, peer, room)).await;
    }
    let Some(config) = room.tls.config() else {
        room.metrics.refused(Refusal::NoCertificate);
        tracing::warn!(%peer, "refused a TLS handshake: the server has no certificate; use http://, or configure one");
        let _ = stream.try_write(&HANDSHAKE_FAILURE);
        return;
    };
    let handshake = Box::pin(TlsAcceptor::from(config).accept(stream));
    match timeout(limits.handshake_time, unless_stopped(&mut stop, handshake)).await {
        Ok(Some(Ok(stream))) => Box::pin(converse(stream, peer, room)).await,
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

/// Speaks HTTP on a connection until it ends. Between requests that are far apart an HTTP/1.1 connection rests: then there is no
/// more of it than the socket and what is here.
pub(super) async fn converse<S, T>(stream: T, peer: SocketAddr, room: Arc<Room<S>>)
where
    S: Service,
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Arc::new(Activity::new());
    let mut guard = Guard::new(stream, activity.clone(), room.metrics.clone());
    let mut alarm = Alarm::new(activity, &room.options.limits);
    let mut resting = None;
    loop {
        let version = wait(&mut guard, &mut alarm, peer, &room).await;
        drop(resting.take());
        // On the heap, and gone from there when it is over.
        let rested = match version {
            None => {
                // By TLS, a client is told. It may be gone, or take nothing.
                let _ = timeout(FAREWELL, guard.shutdown()).await;
                return;
            }
            Some(Version::HTTP_2) => return Box::pin(speak_http2(guard, &mut alarm, peer, &room)).await,
            Some(_) => Box::pin(speak_http1(guard, &mut alarm, peer, &room)).await,
        };
        let Some(silent) = rested else { return };
        (guard, resting) = (silent, Some(room.metrics.resting()));
    }
}

/// Waits for the first bytes, of the connection or after a rest, and tells what they are; `None` if it is to end.
async fn wait<S, T>(guard: &mut Guard<T>, alarm: &mut Alarm, peer: SocketAddr, room: &Room<S>) -> Option<Version>
where
    T: AsyncRead + Unpin,
{
    let mut stop = room.stop.clone();
    let first = poll_fn(|cx| match guard.poll_first(cx) {
        // It may have been closed, or broken, between requests.
        Poll::Ready(first) => Poll::Ready(first.ok().flatten()),
        Poll::Pending => alarm.poll_at_rest(cx, &room.options.limits).map(|why| {
            overdue(why, peer, room);
            None
        }),
    });
    unless_stopped(&mut stop, first).await.flatten()
}

/// `None` when the connection is over; otherwise all is answered, and nothing comes.
async fn speak_http1<S, T>(
    guard: Guard<T>,
    alarm: &mut Alarm,
    peer: SocketAddr,
    room: &Arc<Room<S>>,
) -> Option<Guard<T>>
where
    S: Service,
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let answering = answering(room, alarm, peer);
    let mut connection = room.http.one.serve_connection(TokioIo::new(guard), answering);
    let end = |connection: Pin<&mut _>| http1::Connection::graceful_shutdown(connection);
    if watch_over(&mut connection, alarm, peer, room, end).await != Some(Overdue::Rest) {
        return None;
    }
    let parts = connection.into_parts();
    let mut guard = parts.io.into_inner();
    guard.rest(&parts.read_buf);
    Some(guard)
}

async fn speak_http2<S, T>(guard: Guard<T>, alarm: &mut Alarm, peer: SocketAddr, room: &Arc<Room<S>>)
where
    S: Service,
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let answering = answering(room, alarm, peer);
    let mut connection = room.http.two.serve_connection(TokioIo::new(guard), answering);
    let end = |connection: Pin<&mut _>| http2::Connection::graceful_shutdown(connection);
    watch_over(&mut connection, alarm, peer, room, end).await;
}

/// Who answers the requests of a connection.
fn answering<S: Service>(
    room: &Arc<Room<S>>,
    alarm: &Alarm,
    peer: SocketAddr,
) -> impl HttpService<Incoming, ResBody = AnswerBody, Error = Infallible, Future: Send + 'static> + use<S> {
    let (room, activity) = (room.clone(), alarm.activity.clone());
    // On the heap, for the library keeps the room for an answer as long as it speaks on the connection.
    service_fn(move |request| Box::pin(answer::answer(room.clone(), activity.clone(), peer, request)))
}

/// Lets the library speak until that is over or the connection's time is, and says why that is. `end` asks it to come to an end.
async fn watch_over<S, C>(
    connection: &mut C,
    alarm: &mut Alarm,
    peer: SocketAddr,
    room: &Room<S>,
    end: impl Fn(Pin<&mut C>),
) -> Option<Overdue>
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    let limits = &room.options.limits;
    let mut connection = Pin::new(connection);
    let mut stop = room.stop.clone();
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    let mut stopping = false;
    let ended = poll_fn(|cx| {
        if !stopping && stopped.as_mut().poll(cx).is_ready() {
            stopping = true;
            end(connection.as_mut());
        }
        loop {
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                return Poll::Ready(Ok(outcome));
            }
            match ready!(alarm.poll(cx, limits)) {
                // HTTP/2 clients are told that it ends; others see it.
                Overdue::Idle if alarm.farewell.is_none() => {
                    alarm.farewell = Some(Instant::now() + FAREWELL);
                    end(connection.as_mut());
                }
                why => return Poll::Ready(Err(why)),
            }
        }
    })
    .await;
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            // A client that left is everyday; what is no HTTP is counted.
            if error.is_parse() {
                room.metrics.refused(Refusal::Malformed);
            }
            tracing::debug!(%peer, %error, "a connection ended");
            None
        }
        Err(why) => {
            overdue(why, peer, room);
            Some(why)
        }
    }
}

/// Counts, before the client can see it.
fn overdue<S>(why: Overdue, peer: SocketAddr, room: &Room<S>) {
    match why {
        Overdue::Idle | Overdue::Rest => {}
        Overdue::Head => {
            room.metrics.refused(Refusal::HeadTime);
            tracing::info!(%peer, "a request's head took too long");
        }
        Overdue::Blocked => {
            room.metrics.refused(Refusal::Blocked);
            tracing::info!(%peer, "a client takes no answer");
        }
    }
}
