//! Datagrams in and out. UDP knows no connections, so everybody who sends gets a socket of his own inside, by which
//! the answers find back to him, until nothing has gone either way for a while.
//!
//! Nothing is kept: a datagram that cannot be passed on at once is lost, as it may be in any network.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use belljar_model::ReplicaName;
use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::door::Shut;
use super::gate::{Open, connections};

/// After so long without a datagram, and at most twice as long, a sender is forgotten.
const IDLE: Duration = Duration::from_mins(1);
/// A socket inside that takes longer to be had is as good as none.
const SOCKET_WITHIN: Duration = Duration::from_secs(1);
/// How many senders a port knows at once.
const SENDERS: usize = 1024;
/// No datagram is longer.
const LONGEST: usize = 65536;

/// One who sends, and the replica that he has been given.
struct Sender {
    replica: ReplicaName,
    inner: Arc<UdpSocket>,
    /// Since the last look at it.
    has_sent: Arc<AtomicBool>,
    answers: AbortHandle,
}

/// Carries datagrams until the session has ended.
pub(super) async fn serve(open: Arc<Open>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut senders: HashMap<SocketAddr, Sender> = HashMap::new();
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                // An error is about a datagram that was sent before; who did not take it is gone.
                let Ok((length, from)) = received else { continue };
                if !senders.get(&from).is_some_and(|one| !one.answers.is_finished() && !open.is_down(&one.replica)) {
                    // Its replica may have gone; another one may be there.
                    if let Some(old) = senders.remove(&from) {
                        old.answers.abort();
                    }
                    let room = senders.len() < SENDERS;
                    if let Some(sender) = admit(&open, &socket, &mut answers, from, room).await {
                        senders.insert(from, sender);
                    }
                }
                if let Some(sender) = senders.get(&from) {
                    sender.has_sent.store(true, Ordering::Relaxed);
                    // Nobody may listen there, or not any more.
                    let _ = sender.inner.try_send(&buffer[..length]);
                }
            }
            Some(_) = answers.join_next() => senders.retain(|_, sender| !sender.answers.is_finished()),
        }
    }
}

/// The way to a replica for whoever sends. None where no replica runs: his datagrams are lost.
async fn admit(
    open: &Open,
    socket: &Arc<UdpSocket>,
    answers: &mut JoinSet<()>,
    from: SocketAddr,
    room: bool,
) -> Option<Sender> {
    let replica = open.candidates().ok()?.into_iter().next()?;
    let address = open.address(&replica)?;
    let permit = Arc::clone(connections()).try_acquire_owned().ok().filter(|_| room);
    let Some(permit) = permit else {
        open.overloaded("datagrams come from more senders than can be told apart");
        return None;
    };
    let made = async {
        let inner = open.door.udp(address).await?;
        // Only when the runtime has seen that it can be written to does it say so.
        inner.writable().await.map_err(Shut::NoSocket)?;
        Ok::<_, Shut>(inner)
    };
    let inner = match timeout(SOCKET_WITHIN, made).await {
        Ok(Ok(inner)) => Arc::new(inner),
        Ok(Err(error)) => {
            open.overloaded(&error.to_string());
            return None;
        }
        Err(_) => return None,
    };
    let has_sent = Arc::new(AtomicBool::new(true));
    let (outer, back, sent) = (Arc::clone(socket), Arc::clone(&inner), Arc::clone(&has_sent));
    let answers = answers.spawn(async move {
        let _permit: OwnedSemaphorePermit = permit;
        answer(&outer, from, &back, &sent, IDLE).await;
    });
    Some(Sender { replica: replica.replica, inner, has_sent, answers })
}

/// Carries the answers back until it has been quiet for so long both ways.
async fn answer(outer: &UdpSocket, to: SocketAddr, inner: &UdpSocket, has_sent: &AtomicBool, idle: Duration) {
    loop {
        match timeout(idle, inner.readable()).await {
            Ok(Ok(())) => pass_on(outer, to, inner),
            Err(_) if has_sent.swap(false, Ordering::Relaxed) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// One datagram, if there is one. Room for it is taken only while there is.
fn pass_on(outer: &UdpSocket, to: SocketAddr, inner: &UdpSocket) {
    let mut datagram = Vec::with_capacity(LONGEST);
    // An error is told once, and is about one that was sent before.
    if inner.try_recv_buf(&mut datagram).is_ok() {
        let _ = outer.try_send_to(&datagram, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_find_back_and_silence_ends_it() {
        let bind = || UdpSocket::bind("127.0.0.1:0");
        let (outer, client, replica) = (bind().await.unwrap(), bind().await.unwrap(), bind().await.unwrap());
        let inner = bind().await.unwrap();
        inner.connect(replica.local_addr().unwrap()).await.unwrap();
        let to = client.local_addr().unwrap();
        let has_sent = AtomicBool::new(true);
        let carried = answer(&outer, to, &inner, &has_sent, Duration::from_millis(200));
        let talk = async {
            let mut buffer = vec![0; LONGEST];
            let large = vec![7; 40_000];
            for _ in 0..3 {
                replica.send_to(&large, inner.local_addr().unwrap()).await.unwrap();
                let (length, _) = client.recv_from(&mut buffer).await.unwrap();
                assert_eq!(buffer[..length], large);
            }
        };
        // It ends by itself; that somebody sent has been seen once.
        tokio::join!(carried, talk);
        assert!(!has_sent.load(Ordering::Relaxed));
    }
}
