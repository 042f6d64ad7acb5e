//! The places that connections have: so many in all, and so many for one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::Refusal;
use super::options::Limits;
use crate::sync::Mutex;

/// Of an address of IPv6, the bits of its network.
const NETWORK_BITS: u128 = !0 << 64;

pub(super) struct Places {
    free: Arc<Semaphore>,
    all: usize,
    of_peer_max: usize,
    /// How many each has, of those that have any.
    peers: Mutex<HashMap<IpAddr, usize>>,
}

/// A place, free again when dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    peer: Option<(Arc<Places>, IpAddr)>,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Places {
        let (all, of_peer_max) = (limits.connections, limits.peer_connections());
        Places { free: Arc::new(Semaphore::new(all)), all, of_peer_max, peers: Mutex::default() }
    }

    /// A place for a connection from this address.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Refusal> {
        let permit = self.free.clone().try_acquire_owned().map_err(|_| Refusal::Connections)?;
        let Some(peer) = peer(address) else { return Ok(Place { _permit: permit, peer: None }) };
        let mut peers = self.peers.lock();
        let count = peers.entry(peer).or_default();
        // One that has none may have one.
        if *count >= self.of_peer_max {
            return Err(Refusal::PeerConnections);
        }
        *count += 1;
        drop(peers);
        Ok(Place { _permit: permit, peer: Some((self.clone(), peer)) })
    }

    /// Waits until every place is free.
    pub(super) async fn all_free(&self) {
        // Limits are far below 2^32. Nobody closes it.
        let _ = self.free.acquire_many(u32::try_from(self.all).unwrap_or(u32::MAX)).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((places, peer)) = &self.peer else { return };
        let mut peers = places.peers.lock();
        if let Some(count) = peers.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(peer);
            }
        }
    }
}

/// What counts as one peer; none for loopback.
fn peer(address: IpAddr) -> Option<IpAddr> {
    let peer = match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => Ipv6Addr::from_bits(address.to_bits() & NETWORK_BITS).into(),
        other => other,
    };
    Some(peer).filter(|peer| !peer.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, of_peer: Option<usize>) -> Arc<Places> {
        let mut limits = Limits::new().connections(connections);
        limits.connections_per_peer = of_peer;
        Arc::new(Places::new(&limits))
    }

    fn take(places: &Arc<Places>, address: &str) -> Result<Place, Refusal> {
        places.take(address.parse().unwrap())
    }

    #[test]
    fn one_address_gets_no_more_than_its_share() {
        let places = places(10, Some(2));
        let first = take(&places, "192.0.2.1").unwrap();
        let _second = take(&places, "::ffff:192.0.2.1").unwrap();
        assert_eq!(take(&places, "192.0.2.1").err(), Some(Refusal::PeerConnections));
        let _other = take(&places, "192.0.2.2").unwrap();
        drop(first);
        let _again = take(&places, "192.0.2.1").unwrap();
        assert_eq!(take(&places, "192.0.2.1").err(), Some(Refusal::PeerConnections));
    }

    #[test]
    fn without_a_number_it_is_half_and_a_refusal_takes_no_place() {
        let places = places(5, None);
        let mut held: Vec<Place> = (0..3).map(|_| take(&places, "192.0.2.1").unwrap()).collect();
        for _ in 0..5 {
            assert_eq!(take(&places, "192.0.2.1").err(), Some(Refusal::PeerConnections));
        }
        held.extend((0..2).map(|_| take(&places, "192.0.2.2").unwrap()));
        assert_eq!(take(&places, "192.0.2.3").err(), Some(Refusal::Connections));
        drop(held);
        assert!(places.peers.lock().is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_loopback_is_nobody() {
        let places = places(10, Some(1));
        let _one = take(&places, "2001:db8:0:1::1").unwrap();
        assert_eq!(take(&places, "2001:db8:0:1:ffff::2").err(), Some(Refusal::PeerConnections));
        let _other = take(&places, "2001:db8:0:2::1").unwrap();
        for address in ["127.0.0.1", "127.0.0.1", "::1", "::1", "::ffff:127.0.0.1"] {
            std::mem::forget(take(&places, address).unwrap());
        }
    }
}
