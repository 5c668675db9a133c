//! What other parts of the program ask of the task that holds the leases.

use tokio::sync::{mpsc, oneshot};

use crate::instrument::InstrumentId;

/// Most commands that wait.
const COMMANDS_MAX: usize = 16;

/// What others ask of the task.
pub(crate) enum Command {
    /// These instruments are followed from now on, and published if nobody else does.
    Join(Vec<InstrumentId>),
    /// These are followed no more. What was to be published of them is. Answers when others may
    /// take them.
    Leave(Vec<InstrumentId>, oneshot::Sender<()>),
    /// The program stops: instruments that another program follows go to it. Answers when they may
    /// be taken.
    HandOver(oneshot::Sender<()>),
    /// Publishers of an older build have higher epochs: continue above them.
    Renumber,
}

/// Asks the task.
#[derive(Clone, Debug)]
pub(crate) struct Leases(mpsc::Sender<Command>);

impl Leases {
    /// The asking side, and the task's.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
        (Self(sender), receiver)
    }

    /// See [`Command::Join`]. Nothing happens if the task has ended: the program ends.
    pub(crate) async fn join(&self, instruments: Vec<InstrumentId>) {
        let _ = self.0.send(Command::Join(instruments)).await;
    }

    /// See [`Command::Leave`].
    pub(crate) async fn leave(&self, instruments: Vec<InstrumentId>) {
        let (answer, answered) = oneshot::channel();
        if self
            .0
            .send(Command::Leave(instruments, answer))
            .await
            .is_ok()
        {
            let _ = answered.await;
        }
    }

    /// See [`Command::HandOver`].
    pub(crate) async fn hand_over(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.send(Command::HandOver(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }

    /// See [`Command::Renumber`].
    pub(crate) async fn renumber(&self) {
        let _ = self.0.send(Command::Renumber).await;
    }
}
