//! The tasks that must run as long as the gateway. A task that ends earlier ends the gateway:
//! otherwise only clients would notice it.

use std::collections::HashMap;

use service::Shutdown;
use tokio::task::{Id, JoinSet};

use crate::error::Error;

/// Owns the gateway's long-lived tasks.
#[derive(Debug)]
pub(crate) struct Tasks {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    shutdown: Shutdown,
}

impl Tasks {
    /// No task yet. Once `shutdown` has started, tasks may end.
    #[must_use]
    pub(crate) fn new(shutdown: Shutdown) -> Self {
        Self {
            tasks: JoinSet::new(),
            names: HashMap::new(),
            shutdown,
        }
    }

    /// Begins a task. Its name is for people.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Completes with an error once a task has panicked, or has ended before the shutdown. Cancel
    /// safe.
    pub(crate) async fn failed(&mut self) -> Error {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let (id, why) = match ended {
                Ok((id, ())) => (id, None),
                Err(error) => (error.id(), Some(error.to_string())),
            };
            let task = self.names.remove(&id).unwrap_or("unnamed");
            match why {
                Some(why) => return Error::Task { task, why },
                None if self.shutdown.is_triggered() => {}
                None => {
                    let why = "it returned before the shutdown".to_owned();
                    return Error::Task { task, why };
                }
            }
        }
        std::future::pending().await
    }

    /// Ends all tasks, and waits until they have ended.
    pub(crate) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use service::Service;
    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_task_that_panics_or_returns_too_early_is_an_error_with_its_name() {
        let service = Service::for_test();
        let mut tasks = Tasks::new(service.shutdown.clone());
        tasks.spawn("steady", std::future::pending());
        tasks.spawn("brief", async {});
        let error = timeout(DEADLINE, tasks.failed()).await.expect("an end");
        assert!(
            matches!(error, Error::Task { task: "brief", .. }),
            "{error}"
        );
        // A panic is an error at any time, a return only before the shutdown.
        service.shutdown.trigger();
        tasks.spawn("brief", async {});
        tasks.spawn("broken", async { panic!("on purpose") });
        let error = timeout(DEADLINE, tasks.failed()).await.expect("an end");
        assert!(
            matches!(error, Error::Task { task: "broken", .. }),
            "{error}"
        );
        assert!(error.to_string().contains("on purpose"), "{error}");
        timeout(DEADLINE, tasks.end()).await.expect("an end");
    }
}
