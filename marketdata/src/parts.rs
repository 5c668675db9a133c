//! The program's parts: tasks that must all live until the program stops.
//!
//! If a worker, connection, publisher or backfiller ends by itself, above all by a panic, the
//! program looks healthy but does no work: its symbols stop silently. So the first end ends the
//! program with an error, and its supervisor starts it again from its checkpoints.

use std::future::{Future, poll_fn};
use std::task::Poll;

use tokio::task::{JoinError, JoinSet};
use tracing::error;

/// A part ended although nobody had stopped it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {part} task {how}, and the program cannot run without it: start the program again, and report this line and the lines before it"
)]
pub struct PartEnded {
    /// Which part.
    pub part: &'static str,
    /// How it ended.
    pub how: String,
}

/// Tasks of one kind. They end when it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    name: &'static str,
    tasks: JoinSet<()>,
}

impl Part {
    /// A part without tasks; `name` is its name in errors and logs.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            tasks: JoinSet::new(),
        }
    }

    /// Starts a task, which must live until the program stops.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits until every task has ended, after they were stopped.
    ///
    /// # Errors
    /// The first task that panicked; the others are still awaited.
    pub(crate) async fn join(&mut self) -> Result<(), PartEnded> {
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(failed) = ended {
                let ended = self.ended(Err(failed));
                error!(part = self.name, how = ended.how, "a task failed");
                result = result.and(Err(ended));
            }
        }
        result
    }

    fn ended(&self, ended: Result<(), JoinError>) -> PartEnded {
        PartEnded {
            part: self.name,
            how: match ended {
                Ok(()) => "ended by itself".to_owned(),
                Err(error) if error.is_panic() => {
                    let panic = error.into_panic();
                    let text = panic
                        .downcast_ref::<&str>()
                        .map(|text| (*text).to_owned())
                        .or_else(|| panic.downcast_ref::<String>().cloned());
                    format!("panicked: {}", text.as_deref().unwrap_or("without a text"))
                }
                Err(error) => error.to_string(),
            },
        }
    }
}

/// Completes when the first task ends. Parts without tasks never complete.
pub(crate) async fn first_end(parts: &mut [&mut Part]) -> PartEnded {
    poll_fn(|context| {
        for part in &mut *parts {
            if let Poll::Ready(Some(ended)) = part.tasks.poll_join_next(context) {
                return Poll::Ready(part.ended(ended));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn the_first_task_that_panics_or_ends_is_named_with_its_reason() {
        let (mut workers, mut feeds, mut none) =
            (Part::new("worker"), Part::new("feed"), Part::new("none"));
        for _ in 0..3 {
            workers.spawn(pending());
            feeds.spawn(pending());
        }
        let (panic_now, told) = oneshot::channel::<()>();
        feeds.spawn(async move {
            let _ = told.await;
            panic!("fault of the test");
        });
        panic_now.send(()).expect("it waits");
        let ended = first_end(&mut [&mut workers, &mut none, &mut feeds]).await;
        assert_eq!(ended.part, "feed");
        assert_eq!(ended.how, "panicked: fault of the test");
        workers.spawn(async {});
        let ended = first_end(&mut [&mut workers, &mut none, &mut feeds]).await;
        assert_eq!((ended.part, &*ended.how), ("worker", "ended by itself"));
    }

    #[tokio::test]
    async fn a_task_that_panics_while_it_drains_is_an_error_too() {
        let mut part = Part::new("store");
        part.spawn(async { panic!("late fault of the test") });
        part.spawn(async {});
        let ended = part.join().await.expect_err("one panicked");
        assert!(
            ended.to_string().contains("late fault of the test"),
            "{ended}"
        );
        assert_eq!(part.join().await, Ok(()));
    }
}
