//! Which bars are traced.

use super::context::TraceContext;
use super::tracer::{Tracer, tracer};

/// Chooses one in so many bars. Each owner of a stream of bars has one of its own, so that nothing
/// is shared between threads.
#[derive(Debug)]
pub struct Sampler {
    tracer: Option<&'static Tracer>,
    /// Bars until the next one that is traced.
    until_next: u32,
}

impl Default for Sampler {
    /// The sampler that the process's flags ask for.
    fn default() -> Sampler {
        Sampler {
            tracer: tracer(),
            until_next: 0,
        }
    }
}

impl Sampler {
    /// A new trace for a bar if it is its turn, or if it `must` be traced.
    #[inline]
    pub fn trace(&mut self, must: bool) -> Option<TraceContext> {
        self.trace_with(self.tracer?.one_in(), must)
    }

    fn trace_with(&mut self, one_in: u32, must: bool) -> Option<TraceContext> {
        let is_due = self.until_next == 0;
        self.until_next = match is_due {
            true => one_in.saturating_sub(1),
            false => self.until_next - 1,
        };
        (is_due || must).then(TraceContext::begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_bars_is_traced_and_each_that_must_be() {
        let mut sampler = Sampler::default();
        let traced: Vec<u32> = (0..25)
            .filter(|_| sampler.trace_with(10, false).is_some())
            .collect();
        assert_eq!(traced, [0, 10, 20]);
        assert!(sampler.trace_with(10, true).is_some());
        assert!((0..3).all(|_| sampler.trace_with(1, false).is_some() || sampler.until_next > 0));
    }

    #[test]
    fn without_an_endpoint_nothing_is_traced() {
        assert_eq!(Sampler::default().trace(true), None);
    }
}
