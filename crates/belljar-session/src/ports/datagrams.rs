//! Datagrams in and out. UDP knows no connections, so everybody who sends gets a socket of his own inside, by which
//! the answers find back to him, until nothing has gone either way for a while.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{Id, JoinSet};
use tokio::time::timeout;

use super::gate::{Open, connections};
use crate::machine::ReplicaIndex;

/// After this without a datagram a sender is forgotten.
const IDLE: Duration = Duration::from_mins(1);
/// How many datagrams of one sender wait; those beyond are lost, as datagrams may be.
const WAITING: usize = 64;
/// How many senders a port knows at once.
const SENDERS: usize = 1024;
/// No datagram is longer.
const LONGEST: usize = 65536;

/// One who sends, and the replica that he has been given.
struct Sender {
    replica: ReplicaIndex,
    datagrams: mpsc::Sender<Vec<u8>>,
    task: Id,
}

/// Carries datagrams until the socket breaks, which it does not.
pub(super) async fn serve(open: Arc<Open>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut senders: HashMap<SocketAddr, Sender> = HashMap::new();
    let mut tasks: JoinSet<SocketAddr> = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                // An error is about a datagram that was sent before; who did not take it is gone.
                let Ok((length, from)) = received else { continue };
                if let Some(sender) = sender(&open, &socket, &mut senders, &mut tasks, from) {
                    let _ = sender.try_send(buffer[..length].to_vec());
                }
            }
            Some(ended) = tasks.join_next_with_id() => {
                if let Ok((task, from)) = ended
                    && senders.get(&from).is_some_and(|sender| sender.task == task)
                {
                    senders.remove(&from);
                }
            }
        }
    }
}

/// The way to the replica of whoever sends. None where no replica runs: his datagrams are lost.
fn sender<'a>(
    open: &Arc<Open>,
    socket: &Arc<UdpSocket>,
    senders: &'a mut HashMap<SocketAddr, Sender>,
    tasks: &mut JoinSet<SocketAddr>,
    from: SocketAddr,
) -> Option<&'a mpsc::Sender<Vec<u8>>> {
    let is_served =
        senders.get(&from).is_some_and(|one| !one.datagrams.is_closed() && !open.is_down(one.replica));
    if !is_served {
        // Its replica may have gone; another one may be there.
        senders.remove(&from);
        let replica = *open.candidates().ok()?.first()?;
        let permit = Arc::clone(connections()).try_acquire_owned().ok().filter(|_| senders.len() < SENDERS);
        let Some(permit) = permit else {
            open.overloaded("datagrams come from more senders than can be told apart");
            return None;
        };
        let (datagrams, incoming) = mpsc::channel(WAITING);
        let (open, socket) = (Arc::clone(open), Arc::clone(socket));
        let task = tasks.spawn(async move {
            carry(open, socket, from, replica, incoming, permit).await;
            from
        });
        senders.insert(from, Sender { replica, datagrams, task: task.id() });
    }
    senders.get(&from).map(|one| &one.datagrams)
}

async fn carry(
    open: Arc<Open>,
    socket: Arc<UdpSocket>,
    from: SocketAddr,
    replica: ReplicaIndex,
    mut incoming: mpsc::Receiver<Vec<u8>>,
    _permit: OwnedSemaphorePermit,
) {
    match open.door.udp(open.address(replica)).await {
        Ok(inner) => exchange(&socket, from, &inner, &mut incoming, IDLE).await,
        Err(error) => open.overloaded(&error.to_string()),
    }
}

/// Carries both ways until it has been quiet for so long, or the sender has been given another replica.
async fn exchange(
    socket: &UdpSocket,
    from: SocketAddr,
    inner: &UdpSocket,
    incoming: &mut mpsc::Receiver<Vec<u8>>,
    idle: Duration,
) {
    let mut buffer = vec![0; LONGEST];
    let one = async |incoming: &mut mpsc::Receiver<Vec<u8>>, buffer: &mut [u8]| {
        tokio::select! {
            datagram = incoming.recv() => {
                let datagram = datagram?;
                // Nobody may listen there, or not any more: then it is lost.
                let _ = inner.send(&datagram).await;
            }
            received = inner.recv(buffer) => {
                if let Ok(length) = received {
                    let _ = socket.send_to(&buffer[..length], from).await;
                }
            }
        }
        Some(())
    };
    while let Ok(Some(())) = timeout(idle, one(incoming, &mut buffer)).await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_find_back_and_silence_ends_it() {
        let bind = || UdpSocket::bind("127.0.0.1:0");
        let (outside, client, replica) =
            (bind().await.unwrap(), bind().await.unwrap(), bind().await.unwrap());
        let inner = bind().await.unwrap();
        inner.connect(replica.local_addr().unwrap()).await.unwrap();
        let (sender, mut incoming) = mpsc::channel(4);
        let from = client.local_addr().unwrap();
        let carried = async {
            exchange(&outside, from, &inner, &mut incoming, Duration::from_millis(300)).await;
        };
        let talk = async {
            let mut buffer = [0; 64];
            sender.send(b"ping".to_vec()).await.unwrap();
            let (length, to) = replica.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], b"ping");
            replica.send_to(b"pong", to).await.unwrap();
            let (length, _) = client.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], b"pong");
        };
        // It ends by itself although the sender is still there.
        tokio::join!(carried, talk);
        assert!(!sender.is_closed());
    }
}
