//! The AWS-compatible server, in process: `braidlog serve` is this and a command line.
//!
//! ```
//! # fn main() -> braidlog::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use braidlog::Engine;
//! use braidlog::server::Server;
//! let engine = Engine::open(dir.path())?;
//! let server = Server::start(engine.clone())?;                         // at a free port of loopback
//! println!("export AWS_ENDPOINT_URL={}", server.endpoint());
//! server.stop();
//! engine.close()
//! # }
//! ```
//!
//! HTTP/1.1 and HTTP/2, in clear text and, with a certificate, by TLS, are spoken on every port. Who may call, how much a client
//! may cost, and what else there is: [`ServerOptions`].
//!
//! | module | what |
//! |---|---|
//! | `service` | the seam to those who answer for an AWS service |
//! | `listen`, `places`, `connection`, `tls`, `alarm` | sockets, protocols, the watch over a connection's time |
//! | `framing`, `guard` | which bytes of HTTP/1.1 get to the library |
//! | `answer`, `body`, `admin` | one request; bodies within limits; what the server answers itself |
//! | `metrics` | figures |
//! | `access_key`, `resources` | who may call; what is made at the start |

mod access_key;
mod admin;
mod alarm;
mod answer;
mod audit;
pub(crate) mod auth;
mod aws;
mod body;
mod connection;
mod framing;
mod guard;
mod kinesis;
mod listen;
mod metrics;
mod options;
mod places;
mod resources;
mod service;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use access_key::AccessKey;
pub use options::{Limits, ServerOptions};
pub use resources::Resources;
pub use tls::TlsIdentity;

use self::body::Budget;
use self::connection::Http;
use self::metrics::Metrics;
use self::places::Places;
use self::service::Service;
use self::tls::CurrentIdentity;
use crate::Engine;
use crate::error::{Error, Result};

/// Calls that wait for a disk, at a time. More wait for these.
const BLOCKING_THREADS_MAX: usize = 64;
/// What is still running when the time to drain is over gets this long to notice.
const ABANDON_TIME: Duration = Duration::from_millis(100);

/// Who answers for the AWS services.
fn service(engine: Engine, options: &ServerOptions, metrics: Arc<Metrics>) -> Result<impl Service> {
    aws::AwsService::new(engine, options, metrics)
}

/// What all connections of a server share.
struct Room<S> {
    service: S,
    engine: Engine,
    options: ServerOptions,
    metrics: Arc<Metrics>,
    budget: Budget,
    http: Http,
    tls: Arc<CurrentIdentity>,
    /// True once the server stops.
    stop: watch::Receiver<bool>,
}

impl<S> Room<S> {
    fn request_id(&self) -> String {
        request_id(&self.engine)
    }
}

/// An id for one request, as random UUIDs look.
pub(crate) fn request_id(engine: &Engine) -> String {
    let random = &engine.store().core().env.random;
    // The bits that say version 4, variant 1 (RFC 9562, section 5.4).
    let high = random.next_u64() & !0xf000 | 0x4000;
    let low = random.next_u64() & !(0b11 << 62) | 0b10 << 62;
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}

/// A running server. It has threads of its own, so it can be used from programs with and without an async runtime, and there may
/// be many in a process. Dropped, it stops.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use std::io::{Read, Write};
/// use braidlog::{Engine, server::Server};
/// let server = Server::start(Engine::open(dir.path())?)?;
/// let mut client = std::net::TcpStream::connect(server.addresses()[0]).unwrap();
/// client.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
/// let mut answer = String::new();
/// client.read_to_string(&mut answer).unwrap();
/// assert!(answer.starts_with("HTTP/1.1 200 OK"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    tls: Arc<CurrentIdentity>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves an engine at a free port of loopback. It listens when this returns, which takes about a millisecond. The engine
    /// stays the caller's: stopping the server doesn't close it.
    ///
    /// # Errors
    /// As [`Server::start_with`].
    pub fn start(engine: Engine) -> Result<Server> {
        Server::start_with(engine, ServerOptions::default())
    }

    /// As [`Server::start`], with options.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], [`Error::InvalidArgument`], among them an address beyond loopback where everybody could call;
    /// [`Error::Io`] for an address that is taken or not this machine's.
    pub fn start_with(engine: Engine, options: ServerOptions) -> Result<Server> {
        let metrics = Arc::new(Metrics::new());
        metrics.watch(&engine);
        let service = service(engine.clone(), &options, metrics.clone())?;
        launch(service, engine, options, metrics)
    }

    /// Where it listens, with real port numbers, in the order of [`ServerOptions::listen`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What a client is pointed to: `http://127.0.0.1:40123`, of the first address. One that means all addresses is given as
    /// loopback.
    pub fn endpoint(&self) -> String {
        self.addresses.first().map(|address| endpoint("http", *address)).unwrap_or_default()
    }

    /// TLS handshakes go by this identity from now on; connections that there are stay as they are.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a certificate that is expired or not yet valid: then the one before stays.
    pub fn set_tls(&self, identity: TlsIdentity) -> Result<()> {
        self.tls.replace(identity)
    }

    /// Accepts nothing more, lets what is under way end, at most [`Limits::drain_time`], and ends the threads. Streams of events
    /// end at once. Blocks for up to a second.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // It could only have panicked, and then it is over, too.
            let _ = thread.join();
        }
    }
}

/// The URL of an address, one that a client can connect to.
pub(crate) fn endpoint(scheme: &str, mut address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(ref mut v4) if v4.ip().is_unspecified() => v4.set_ip(std::net::Ipv4Addr::LOCALHOST),
        SocketAddr::V6(ref mut v6) if v6.ip().is_unspecified() => v6.set_ip(std::net::Ipv6Addr::LOCALHOST),
        _ => {}
    }
    format!("{scheme}://{address}")
}

/// Starts a server with these to answer.
fn launch<S: Service>(service: S, engine: Engine, options: ServerOptions, metrics: Arc<Metrics>) -> Result<Server> {
    options.check()?;
    let authentication = options.authenticates();
    let (stop, stopped) = watch::channel(false);
    let room = room(service, engine, options, metrics, stopped)?;
    let tls = room.tls.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(room.options.worker_threads)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("braidlog-http")
        .enable_io()
        .enable_time()
        .build()
        .map_err(Error::io("start threads", "braidlog-http"))?;
    match start_on(&runtime, room) {
        Ok((running, addresses)) => {
            tracing::info!(?addresses, authentication, "listening");
            let run = move || {
                runtime.block_on(running);
                runtime.shutdown_timeout(ABANDON_TIME);
            };
            let thread = std::thread::Builder::new().name("braidlog-server".into()).spawn(run);
            let thread = thread.map_err(Error::io("start thread", "braidlog-server"))?;
            Ok(Server { addresses, stop, tls, thread: Some(thread) })
        }
        Err(error) => {
            // Dropping it would wait, which a caller that is itself async may not.
            runtime.shutdown_background();
            Err(error)
        }
    }
}

/// What the connections of a server share.
fn room<S: Service>(
    service: S,
    engine: Engine,
    options: ServerOptions,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
) -> Result<Arc<Room<S>>> {
    let clock = engine.store().core().env.clock.clone();
    let tls = Arc::new(CurrentIdentity::new(options.tls.clone(), clock)?);
    let (http, budget) = (Http::new(&options.limits), Budget::new(&options.limits));
    Ok(Arc::new(Room { service, engine, options, metrics, budget, http, tls, stop }))
}

type Started<F> = (F, Vec<SocketAddr>);

/// Listens, and gives what serves until it is told to stop.
fn start_on<S: Service>(
    runtime: &Runtime,
    room: Arc<Room<S>>,
) -> Result<Started<impl Future<Output = ()> + Send + 'static>> {
    let _within = runtime.enter();
    let listeners = room.options.listen.iter().map(|address| listen::listen(*address)).collect::<Result<Vec<_>>>()?;
    let mut addresses = Vec::with_capacity(listeners.len());
    for listener in &listeners {
        addresses.push(listener.local_addr().map_err(Error::io("look at", "the listening socket"))?);
    }
    let places = Arc::new(Places::new(&room.options.limits));
    for listener in listeners {
        tokio::spawn(listen::accept(listener, room.clone(), places.clone()));
    }
    let running = async move {
        let mut stop = room.stop.clone();
        // An error is a server that was dropped.
        let _ = stop.wait_for(|stop| *stop).await;
        tracing::info!("stopping");
        if tokio::time::timeout(room.options.limits.drain_time, places.all_free()).await.is_err() {
            tracing::info!("some requests were still under way");
        }
        tracing::info!("stopped");
    };
    Ok((running, addresses))
}
