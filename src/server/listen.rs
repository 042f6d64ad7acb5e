//! Accepts connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use super::Room;
use super::connection::{self, unless_stopped};
use super::places::Places;
use super::service::Service;
use crate::error::{Error, Result};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// What is left to say to a connection that is one too many; there is no telling yet what it speaks.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// How long nothing is accepted after the system could give no connection: for want of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens at an address. Called within the runtime that is to serve.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    socket().map_err(Error::io("listen at", address.to_string()))
}

/// Accepts until the server stops. A connection has one of `places` as long as it lasts.
pub(super) async fn accept<S: Service>(listener: TcpListener, room: Arc<Room<S>>, places: Arc<Places>) {
    let mut stop = room.stop.clone();
    while let Some(accepted) = unless_stopped(&mut stop, listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = match places.take(peer.ip()) {
            Ok(place) => place,
            Err(why) => {
                room.metrics.refused(why);
                tracing::warn!(%peer, ?why, "refused a connection: there are too many");
                let _ = stream.try_write(TOO_MANY);
                continue;
            }
        };
        // Without it a small answer may wait 40 ms for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let open = room.metrics.connection();
        let serving = connection::serve(stream, peer, room.clone());
        tokio::spawn(async move {
            serving.await;
            drop((open, place));
        });
    }
}
