//! Stops the parts of the program in the order of the flow.

use std::time::Duration;

use bus::Bus;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::lease::command::Leases;
use crate::parts::{Part, PartEnded, first_end};

/// The parts of the running program, and the tokens that stop them. Workers have no token: they end
/// when every sender to them is gone.
pub(super) struct Running {
    /// What hands instruments over to other programs, and takes them.
    pub(super) ownership: Part,
    pub(super) owning: CancellationToken,
    /// What takes leases and holds them.
    pub(super) leasing: Part,
    pub(super) leases: Leases,
    /// Stops it. It releases what it still holds.
    pub(super) releasing: CancellationToken,
    pub(super) supervisors: Part,
    pub(super) feeding: CancellationToken,
    pub(super) backfillers: Part,
    pub(super) reconcilers: Part,
    pub(super) listings: Part,
    /// What answers questions about the venues' own bars.
    pub(super) archives: Part,
    /// Stops the backfillers, reconcilers, listings and archives.
    pub(super) fetching: CancellationToken,
    pub(super) workers: Part,
    pub(super) publishers: Part,
    /// The tasks that store bars and checkpoints.
    pub(super) lanes: Part,
    /// Stops the publishers and lanes.
    pub(super) publishing: CancellationToken,
    pub(super) marks: Part,
    pub(super) marking: CancellationToken,
    pub(super) tellers: Part,
    pub(super) telling: CancellationToken,
}

impl Running {
    /// Completes when the first task of any part ends.
    pub(super) async fn first_end(&mut self) -> PartEnded {
        let mut parts = [
            &mut self.ownership,
            &mut self.leasing,
            &mut self.supervisors,
            &mut self.backfillers,
            &mut self.reconcilers,
            &mut self.listings,
            &mut self.archives,
            &mut self.workers,
            &mut self.publishers,
            &mut self.lanes,
            &mut self.marks,
            &mut self.tellers,
        ];
        first_end(&mut parts).await
    }

    /// Stops each part when those before it have ended. The bus has half of `deadline` to accept
    /// what is left.
    ///
    /// # Errors
    /// The first task that panicked; the others are still awaited.
    pub(super) async fn drain(
        mut self,
        bus: &dyn Bus,
        deadline: Duration,
    ) -> Result<(), PartEnded> {
        info!("marketdata drains");
        // While everything still runs: another program that follows the same instruments goes on in
        // a moment.
        if timeout(deadline / 4, self.leases.hand_over())
            .await
            .is_err()
        {
            warn!("the bus did not accept the handover before the drain deadline");
        }
        self.owning.cancel();
        self.feeding.cancel();
        let mut ended = self.ownership.join().await;
        ended = ended.and(self.supervisors.join().await);
        self.fetching.cancel();
        ended = ended.and(self.backfillers.join().await);
        ended = ended.and(self.reconcilers.join().await);
        ended = ended.and(self.listings.join().await);
        ended = ended.and(self.archives.join().await);
        // Every sender is gone now, so the workers end after they have worked off their inputs.
        ended = ended.and(self.workers.join().await);
        self.telling.cancel();
        self.publishing.cancel();
        let stored = timeout(deadline / 2, async {
            let mut ended = self.publishers.join().await;
            // Marks follow the bars, and the position of the marks is stored after them.
            self.marking.cancel();
            ended = ended.and(self.marks.join().await);
            ended = ended.and(self.lanes.join().await);
            (ended, bus.flush().await)
        });
        match stored.await {
            Ok((stored, flushed)) => {
                ended = ended.and(stored);
                if let Err(error) = flushed {
                    warn!(error = %error, "the bus did not confirm the last messages");
                }
            }
            Err(_) => warn!("the bus did not accept all messages before the drain deadline"),
        }
        self.releasing.cancel();
        ended = ended.and(self.leasing.join().await);
        ended = ended.and(self.tellers.join().await);
        info!("marketdata has drained");
        ended
    }
}
