//! The way into a session: sockets that are made in its own network.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use belljar_sandbox::spec::{Place, SocketSpec};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use crate::native::Connection;

type Making = Pin<Box<dyn Future<Output = io::Result<OwnedFd>> + Send>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

/// Makes sockets from which the session's replicas are reached.
#[derive(Clone)]
pub(crate) struct Door(Arc<dyn Fn(Kind) -> Making + Send + Sync>);

impl Door {
    /// Through the session's init or warden. The sockets are where commands and scenarios are, so faults on the way from
    /// there hold for them too.
    pub(crate) fn of(connection: Arc<Connection>, address: Ipv4Addr) -> Self {
        Self(Arc::new(move |kind| {
            let connection = Arc::clone(&connection);
            Box::pin(async move {
                let spec = match kind {
                    Kind::Tcp => SocketSpec::Tcp(Place::Session),
                    Kind::Udp => SocketSpec::UdpBound(Place::Session, address, 0),
                };
                connection.socket(spec).await.map_err(io::Error::other)
            })
        }))
    }

    pub(crate) async fn tcp(&self, address: SocketAddrV4) -> Result<TcpStream, Shut> {
        let socket = (self.0)(Kind::Tcp).await.map_err(Shut::NoSocket)?;
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        let stream = socket.connect(address.into()).await.map_err(Shut::NoConnection)?;
        // What comes in is passed on as it came; it does not wait for more.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    pub(crate) async fn udp(&self, address: SocketAddrV4) -> Result<UdpSocket, Shut> {
        let socket = (self.0)(Kind::Udp).await.map_err(Shut::NoSocket)?;
        let socket = std::net::UdpSocket::from(socket);
        let socket = UdpSocket::from_std(socket).map_err(Shut::NoSocket)?;
        socket.connect(address).await.map_err(Shut::NoConnection)?;
        Ok(socket)
    }
}

/// Why nothing goes through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Shut {
    /// There was not even a socket: too many, or the session has ended.
    #[error("no socket in the session")]
    NoSocket(#[source] io::Error),
    #[error("no connection")]
    NoConnection(#[source] io::Error),
}
