//! What the server counts, for Prometheus. Names and meanings are in `docs/metrics.md`.
//!
//! Labels come from lists that are compiled in (operations of the service models, reasons, status codes), never from a request,
//! so what a scrape returns is bounded whatever clients send.

mod histogram;
mod maintenance;
mod shards;
mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};

use crate::sync::{Arc, Mutex};
use histogram::Histogram;
pub(crate) use text::{CONTENT_TYPE, health_word};

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $label:literal),* $(,)?) => {
        /// Why a request or a connection was refused before any service saw it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Refusal {
            $($(#[$doc])* $name,)*
        }

        impl Refusal {
            const ALL: &[Refusal] = &[$(Refusal::$name,)*];

            fn label(self) -> &'static str {
                match self {
                    $(Refusal::$name => $label,)*
                }
            }
        }
    };
}

refusals! {
    /// There are as many connections as are allowed.
    Connections = "connections",
    /// There are as many connections of one address as are allowed.
    PeerConnections = "peer_connections",
    /// TLS, without a certificate.
    NoCertificate = "no_certificate",
    /// A TLS handshake that failed or took too long.
    Handshake = "handshake",
    /// Bytes that are not HTTP.
    Malformed = "malformed",
    /// A request that could be read in two ways.
    Framing = "framing",
    /// A head that took too long.
    HeadTime = "head_time",
    /// A client that takes no answer.
    Blocked = "blocked",
    /// A head that no service reads: an absolute target, two hosts, an upgrade.
    Head = "head",
    /// Too many header fields.
    Headers = "headers",
    /// A body that is too long.
    BodySize = "body_size",
    /// A body that took too long.
    BodyTime = "body_time",
    /// A body that ended early, or was no body.
    BodyBroken = "body_broken",
    /// A compressed body.
    Encoding = "encoding",
    /// All bodies together took too much memory.
    Memory = "memory",
    /// An administrative call from a web page.
    Origin = "origin",
    /// Nothing is at the path.
    Path = "path",
}

/// Calls of one operation.
#[derive(Default)]
struct Operation {
    by_status: Mutex<BTreeMap<u16, u64>>,
    seconds: Histogram,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// The counters of one server.
pub(crate) struct Metrics {
    operations: RwLock<BTreeMap<&'static str, Arc<Operation>>>,
    refused: Vec<AtomicU64>,
    connections: AtomicU64,
    connections_total: AtomicU64,
    resting: AtomicU64,
    in_flight: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    unknown_members: AtomicU64,
    audit_lost: AtomicU64,
    maintenance: maintenance::Counts,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        Metrics {
            operations: RwLock::default(),
            refused: Refusal::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            connections: AtomicU64::new(0),
            connections_total: AtomicU64::new(0),
            resting: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            unknown_members: AtomicU64::new(0),
            audit_lost: AtomicU64::new(0),
            maintenance: maintenance::Counts::default(),
        }
    }

    /// A call of an operation was answered. `operation` is a name from a service's model, or `unknown`; `status` is the HTTP
    /// status; the bytes are those of the bodies.
    pub(crate) fn request(&self, operation: &'static str, status: u16, seconds: f64, bytes_in: u64, bytes_out: u64) {
        let known = self.operations.read().unwrap_or_else(PoisonError::into_inner).get(operation).cloned();
        let known = known.unwrap_or_else(|| {
            let mut operations = self.operations.write().unwrap_or_else(PoisonError::into_inner);
            operations.entry(operation).or_default().clone()
        });
        *known.by_status.lock().entry(status).or_default() += 1;
        known.seconds.record(seconds);
        known.bytes_in.fetch_add(bytes_in, Relaxed);
        known.bytes_out.fetch_add(bytes_out, Relaxed);
    }

    pub(crate) fn refused(&self, why: Refusal) {
        if let Some(counter) = self.refused.get(why as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// A request had a member that the service's model doesn't have.
    pub(crate) fn unknown_member(&self) {
        self.unknown_members.fetch_add(1, Relaxed);
    }

    /// Entries of the audit log that could not be kept.
    pub(crate) fn audit_lost(&self, entries: u64) {
        self.audit_lost.fetch_add(entries, Relaxed);
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Relaxed);
    }

    /// A connection is open until what is returned is dropped.
    pub(crate) fn connection(self: &Arc<Self>) -> Open {
        self.connections_total.fetch_add(1, Relaxed);
        Open::new(self, |metrics| &metrics.connections)
    }

    /// A connection rests until what is returned is dropped.
    pub(crate) fn resting(self: &Arc<Self>) -> Open {
        Open::new(self, |metrics| &metrics.resting)
    }

    /// A request is being read or answered until what is returned is dropped.
    pub(crate) fn in_flight(self: &Arc<Self>) -> Open {
        Open::new(self, |metrics| &metrics.in_flight)
    }
}

/// One more of something, until it is dropped.
pub(crate) struct Open {
    metrics: Arc<Metrics>,
    gauge: fn(&Metrics) -> &AtomicU64,
}

impl Open {
    fn new(metrics: &Arc<Metrics>, gauge: fn(&Metrics) -> &AtomicU64) -> Open {
        gauge(metrics).fetch_add(1, Relaxed);
        Open { metrics: metrics.clone(), gauge }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        (self.gauge)(&self.metrics).fetch_sub(1, Relaxed);
    }
}
