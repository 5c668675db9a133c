//! Threads for the connections only: the input of clients waits for these, and never for the
//! threads that take bars from the bus and send them.
//!
//! On common threads, a flood of requests and handshakes has as many ready tasks as clients, and
//! each step of a bar from the bus to the sockets waits behind all of them. With separate threads,
//! the system shares the processors between both groups.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The threads; their tasks end when it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionThreads(Option<Runtime>);

impl ConnectionThreads {
    /// This many threads; 0 is one for each processor.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub(crate) fn start(count: usize) -> std::io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        if count > 0 {
            builder.worker_threads(count);
        }
        let runtime = builder.enable_all().thread_name("connections").build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs a task on these threads.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let runtime = self.0.as_ref().expect("it is there until it is dropped");
        runtime.spawn(task)
    }
}

impl Drop for ConnectionThreads {
    fn drop(&mut self) {
        // Without waiting: this may be a task of another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
