//! A network link that a test can cut: connections stay open, and nothing passes until it is mended.
//!
//! What was sent meanwhile arrives afterwards, as after a network that dropped packets for a while.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Bytes that are forwarded at once.
const PIECE_BYTES: usize = 64 << 10;

/// See the module. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    is_cut: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// A link to a server, on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(server: SocketAddr) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, server).await
    }

    /// The same, on another address of this network.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start_at(near: Ipv4Addr, server: SocketAddr) -> Self {
        let listener = TcpListener::bind((near, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let is_cut = Arc::new(watch::Sender::new(false));
        let task = tokio::spawn(forward(listener, server, Arc::clone(&is_cut)));
        Self {
            address,
            is_cut,
            task,
        }
    }

    /// Where the near end is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Lets pass what waits, and what comes.
    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn forward(listener: TcpListener, server: SocketAddr, is_cut: Arc<watch::Sender<bool>>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let is_cut = is_cut.subscribe();
        connections.spawn(async move {
            // A server that is not there refuses: so does the link, by closing.
            if until_whole(&mut is_cut.clone()).await
                && let Ok(far) = TcpStream::connect(server).await
            {
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::select! {
                    () = copy(near_read, far_write, is_cut.clone()) => {}
                    () = copy(far_read, near_write, is_cut) => {}
                }
            }
        });
    }
}

/// Waits until the link is not cut; false if it is dropped.
async fn until_whole(is_cut: &mut watch::Receiver<bool>) -> bool {
    is_cut.wait_for(|is_cut| !is_cut).await.is_ok()
}

/// Until one of the ends closes.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut is_cut: watch::Receiver<bool>) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        if !until_whole(&mut is_cut).await || to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
    // The end does not pass a cut link, either.
    until_whole(&mut is_cut).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::{holds, until};

    #[tokio::test]
    async fn nothing_passes_a_cut_link_and_everything_does_afterwards() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let link = Link::start(server.local_addr().expect("an address")).await;
        let mut near = TcpStream::connect(link.address())
            .await
            .expect("it listens");
        near.write_all(b"a").await.expect("sent");
        let (mut far, _) = server.accept().await.expect("forwarded");
        let mut byte = [0];
        far.read_exact(&mut byte).await.expect("forwarded");
        link.cut();
        near.write_all(b"b").await.expect("the near end takes it");
        drop(near);
        // A second connection shows that the link is at work, and does not pass either.
        let second = TcpStream::connect(link.address())
            .await
            .expect("it listens");
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(
            far.try_read(&mut byte)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        );
        link.mend();
        far.read_exact(&mut byte).await.expect("forwarded");
        assert_eq!(byte, *b"b");
        assert_eq!(far.read(&mut byte).await.expect("the end passes"), 0);
        drop(second);
        drop(server);
        until("a link without a server closes", async || {
            let mut third = TcpStream::connect(link.address())
                .await
                .map_err(|error| error.to_string())?;
            let end = third.read(&mut [0]).await;
            holds(!matches!(end, Ok(1..)), || format!("{end:?}"))
        })
        .await;
    }
}
