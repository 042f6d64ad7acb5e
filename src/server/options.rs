//! How a server is started.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::access_key::AccessKey;
use super::tls::TlsIdentity;
use crate::env::TestClock;
use crate::error::{Error, Result};
use crate::options::within;

/// How a server is started.
///
/// ```
/// use braidlog::server::ServerOptions;
/// let options = ServerOptions::new().listen(["127.0.0.1:4566".parse().unwrap()]).worker_threads(1);
/// assert_eq!(options.listen[0].port(), 4566);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Where it listens; port 0 for one that is free. Default `127.0.0.1:0`. Beyond loopback it listens only with
    /// [`access_keys`](Self#structfield.access_keys) or [`allow_anonymous`](Self#structfield.allow_anonymous).
    pub listen: Vec<SocketAddr>,
    /// Threads that serve connections. Default 2, 1 to 1,024.
    pub worker_threads: usize,
    /// Certificate and key for TLS, on the same ports as clear text. Default none: who asks for TLS is refused. While it serves,
    /// [`Server::set_tls`](super::Server::set_tls) sets others.
    pub tls: Option<TlsIdentity>,
    /// Who may call. Requests must be signed by one of these, if there is any. Default none: everybody may.
    pub access_keys: Vec<AccessKey>,
    /// Listen beyond loopback though everybody may call. Default no.
    pub allow_anonymous: bool,
    /// Whether `POST /_braidlog/reset` deletes all streams. Default: where all listeners are on loopback and there are no access
    /// keys, for the call itself is not signed.
    pub allow_reset: Option<bool>,
    /// The engine's clock, if clients may read and move it through `/_braidlog/clock`.
    pub test_clock: Option<Arc<TestClock>>,
    /// Whether members of a request that the service doesn't know are refused rather than ignored. Default no.
    pub strict: bool,
    /// Whether requests, who made them and what came of them are kept as records of the stream `braidlog-audit`, for a week.
    /// Default no.
    pub audit: bool,
    /// What a client may cost.
    pub limits: Limits,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            worker_threads: 2,
            tls: None,
            access_keys: Vec::new(),
            allow_anonymous: false,
            allow_reset: None,
            test_clock: None,
            strict: false,
            audit: false,
            limits: Limits::default(),
        }
    }
}

/// What a client may cost.
///
/// ```
/// use braidlog::server::Limits;
/// let limits = Limits::new().body_bytes(1 << 20);
/// assert_eq!(limits.header_bytes, 64 << 10);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at a time; who comes then is answered 503 and closed. Default 20,000, 1 to 1,000,000.
    pub connections: usize,
    /// Of these, how many one address may have; more are refused in the same way. Those of a network of IPv6 (64 bits) are one, for
    /// one customer has them all. Loopback has no such limit: behind it is this machine or a proxy that speaks for everybody.
    /// Default `None`: half of `connections`. 1 and up; as many as `connections` for no limit.
    pub connections_per_peer: Option<usize>,
    /// Accounts besides the engine's own that callers can make by naming them where nobody has to sign; a further one is answered
    /// `LimitExceededException`. Each has a catalog in the store for good. Default 1,000, at most 1,000,000; 0 for none.
    pub accounts: usize,
    /// Bytes of a request's head; more are answered 431. Default 64 KiB, 8 KiB to 1 MiB.
    pub header_bytes: usize,
    /// Header fields of a request; more are answered 431. Default 100, 16 to 1,000.
    pub headers: usize,
    /// How long a head may take from its first byte; then the connection is cut. Default 10 s.
    pub header_time: Duration,
    /// Bytes of a request's body; more are answered 413, by what `Content-Length` says before any is read. Default 16 MiB:
    /// 10 MiB of records in base64 and what is around them.
    pub body_bytes: usize,
    /// How long a body may take, with one second more for each 64 KiB that came, and how long nothing of it may come; then the
    /// answer is 408. A client that takes no answer is cut when nothing could be sent for so long, in HTTP/2 of
    /// any of its answers. Default 30 s.
    pub body_time: Duration,
    /// Bytes of bodies in memory at a time: of all requests that are read or answered, and of answers of more than 64 KiB from
    /// when they are written until they are sent; what goes beyond is answered 503 with `Retry-After`. The last eighth is for
    /// bodies of up to 64 KiB. Default 256 MiB, at least `body_bytes`, at most 1 TiB.
    pub bodies_bytes: usize,
    /// How long a TLS handshake may take. Default 10 s.
    pub handshake_time: Duration,
    /// How long a connection may have no request on its way; then it is closed. Default 75 s.
    pub idle_time: Duration,
    /// Streams of one HTTP/2 connection at a time. Default 128, 1 to 10,000.
    pub streams: u32,
    /// How long requests under way may take to end once the server stops. Default 800 ms.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 20_000,
            connections_per_peer: None,
            accounts: 1_000,
            header_bytes: 64 << 10,
            headers: 100,
            header_time: Duration::from_secs(10),
            body_bytes: 16 << 20,
            body_time: Duration::from_secs(30),
            bodies_bytes: 256 << 20,
            handshake_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            streams: 128,
            drain_time: Duration::from_millis(800),
        }
    }
}

macro_rules! setters {
    ($($name:ident: $type:ty),* $(,)?) => {
        $(
            #[doc = concat!("Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
            #[must_use]
            pub fn $name(mut self, value: $type) -> Self {
                self.$name = value;
                self
            }
        )*
    };
}

impl Limits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        connections: usize, accounts: usize, header_bytes: usize, headers: usize, header_time: Duration, body_bytes: usize,
        body_time: Duration, bodies_bytes: usize, handshake_time: Duration, idle_time: Duration, streams: u32,
        drain_time: Duration,
    }

    /// Sets [`connections_per_peer`](Self#structfield.connections_per_peer).
    #[must_use]
    pub fn connections_per_peer(mut self, connections: usize) -> Self {
        self.connections_per_peer = Some(connections);
        self
    }

    /// How many connections one address may have.
    pub(super) fn peer_connections(&self) -> usize {
        self.connections_per_peer.unwrap_or(self.connections.div_ceil(2))
    }

    fn check(&self) -> Result<()> {
        within("connections", self.connections as u64, 1, 1_000_000)?;
        within("connections_per_peer", self.peer_connections() as u64, 1, 1_000_000)?;
        within("accounts", self.accounts as u64, 0, 1_000_000)?;
        within("header_bytes", self.header_bytes as u64, 8 << 10, 1 << 20)?;
        within("headers", self.headers as u64, 16, 1_000)?;
        within("body_bytes", self.body_bytes as u64, 1, 1 << 40)?;
        within("bodies_bytes", self.bodies_bytes as u64, self.body_bytes as u64, 1 << 40)?;
        within("streams", u64::from(self.streams), 1, 10_000)?;
        let times = [
            ("header_time", self.header_time),
            ("body_time", self.body_time),
            ("handshake_time", self.handshake_time),
            ("idle_time", self.idle_time),
        ];
        times.into_iter().try_for_each(|(name, time)| {
            // A day is longer than any client needs, and no sum with it overflows.
            within(name, u64::try_from(time.as_millis()).unwrap_or(u64::MAX), 1, 86_400_000)
        })
    }
}

impl ServerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! { worker_threads: usize, allow_anonymous: bool, strict: bool, audit: bool, limits: Limits }

    /// Sets [`listen`](Self#structfield.listen).
    #[must_use]
    pub fn listen(mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.listen = addresses.into_iter().collect();
        self
    }

    /// Sets [`tls`](Self#structfield.tls).
    #[must_use]
    pub fn tls(mut self, identity: TlsIdentity) -> Self {
        self.tls = Some(identity);
        self
    }

    /// Adds one of [`access_keys`](Self#structfield.access_keys).
    #[must_use]
    pub fn access_key(mut self, key: AccessKey) -> Self {
        self.access_keys.push(key);
        self
    }

    /// Sets [`allow_reset`](Self#structfield.allow_reset).
    #[must_use]
    pub fn allow_reset(mut self, allow: bool) -> Self {
        self.allow_reset = Some(allow);
        self
    }

    /// Sets [`test_clock`](Self#structfield.test_clock): the one that the engine was opened with.
    #[must_use]
    pub fn test_clock(mut self, clock: Arc<TestClock>) -> Self {
        self.test_clock = Some(clock);
        self
    }

    /// Whether requests must be signed.
    pub fn authenticates(&self) -> bool {
        !self.access_keys.is_empty()
    }

    pub(crate) fn resets(&self) -> bool {
        let local = self.listen.iter().all(|address| address.ip().is_loopback());
        self.allow_reset.unwrap_or(local && !self.authenticates())
    }

    pub(crate) fn check(&self) -> Result<()> {
        within("worker_threads", self.worker_threads as u64, 1, 1024)?;
        self.limits.check()?;
        if self.listen.is_empty() {
            return Err(Error::invalid("listen", "nothing", "a server needs an address to listen at"));
        }
        for address in &self.listen {
            if !address.ip().is_loopback() && !self.authenticates() && !self.allow_anonymous {
                let why = "others than this machine could call, and nobody has to sign: configure credentials, \
                           or allow anonymous calls by name";
                return Err(Error::invalid("listen", address, why));
            }
        }
        Ok(())
    }
}
