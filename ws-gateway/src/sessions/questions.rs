//! Questions that tasks ask: each of them ends with an answer, or without one where its task
//! panicked.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};

/// Questions under way, by what they are for.
#[derive(Debug)]
pub(crate) struct Questions<K, A> {
    tasks: JoinSet<A>,
    asked: HashMap<Id, K>,
}

impl<K, A: Send + 'static> Questions<K, A> {
    /// None so far.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            asked: HashMap::new(),
        }
    }

    /// Asks one.
    pub(crate) fn ask(&mut self, key: K, answer: impl Future<Output = A> + Send + 'static) {
        let task = self.tasks.spawn(answer);
        self.asked.insert(task.id(), key);
    }

    /// Whether none is under way.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits for the next one that ends; `None` if none is under way. Its answer is `None` if its
    /// task panicked, which the panic's own message has said. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<(K, Option<A>)> {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            if let Some(ended) = self.ended(ended) {
                return Some(ended);
            }
        }
        None
    }

    fn ended(&mut self, ended: Result<(Id, A), JoinError>) -> Option<(K, Option<A>)> {
        let (id, answer) = match ended {
            Ok((id, answer)) => (id, Some(answer)),
            Err(error) => (error.id(), None),
        };
        Some((self.asked.remove(&id)?, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn panics() -> u32 {
        panic!("for this test")
    }

    #[tokio::test]
    async fn a_question_whose_task_panics_ends_without_an_answer() {
        let mut questions: Questions<&str, u32> = Questions::new();
        assert!(questions.is_empty() && questions.next().await.is_none());
        questions.ask("panics", panics());
        questions.ask("is answered", async { 7 });
        let mut ended = vec![questions.next().await, questions.next().await];
        ended.sort();
        assert_eq!(
            ended,
            [Some(("is answered", Some(7))), Some(("panics", None))]
        );
        assert!(questions.is_empty());
    }
}
