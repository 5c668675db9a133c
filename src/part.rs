//! A part of the program, without which the others are of no use.

use anyhow::Context as _;
use service::Service;

/// Runs a part of the program. Without each of them the others are of no use: when one ends before
/// the shutdown, of itself or of an error, they all end in order, and the program with an error.
pub(crate) async fn part(
    name: &'static str,
    service: &Service,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let outcome = work.await;
    let is_early = !service.shutdown.is_triggered();
    service.shutdown.trigger();
    outcome.with_context(|| format!("{name} failed"))?;
    anyhow::ensure!(!is_early, "{name} ended before the shutdown");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_early_ends_the_others_and_the_program_with_an_error() {
        for outcome in [Ok(()), Err(anyhow::anyhow!("on purpose"))] {
            let service = Service::for_test();
            let others = async {
                service.shutdown.triggered().await;
                Ok(())
            };
            let (ended, others) = tokio::join!(
                part("first", &service, async { outcome }),
                part("second", &service, others),
            );
            let error = ended.expect_err("it ended early");
            assert!(error.to_string().starts_with("first "), "{error}");
            assert!(others.is_ok());
        }
    }

    #[tokio::test]
    async fn parts_that_end_after_the_shutdown_end_well() {
        let service = Service::for_test();
        service.shutdown.trigger();
        assert!(part("first", &service, async { Ok(()) }).await.is_ok());
    }
}
