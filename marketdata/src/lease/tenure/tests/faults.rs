//! Anything may happen, at any time.

use proptest::prelude::*;

use super::world::{SILENCE_MS, World};

#[derive(Clone, Debug)]
enum Fault {
    Stop(usize, i64),
    Cut(usize, i64),
    /// Records on their way to a program are lost.
    Lose(usize),
    Stream(bool),
    /// Dies, and another one starts in its place.
    Restart(usize),
    Pass(i64),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0usize..3, 100i64..4_000).prop_map(|(who, ms)| Fault::Stop(who, ms)),
        (0usize..3, 100i64..4_000).prop_map(|(who, ms)| Fault::Cut(who, ms)),
        (0usize..3).prop_map(Fault::Lose),
        any::<bool>().prop_map(Fault::Stream),
        (0usize..3).prop_map(Fault::Restart),
        (50i64..1_500).prop_map(Fault::Pass),
    ]
}

proptest! {
    /// Whatever stops, is cut off, loses records, dies or comes back, at whatever time: the bus
    /// stores nothing under a lease after a later one, no number is given twice, no bar is stored
    /// twice, and when all is well again one program publishes each instrument.
    #[test]
    fn one_program_publishes_each_instrument_after_any_faults(
        faults in proptest::collection::vec(fault(), 0..40),
        is_shared in proptest::bool::weighted(0.2),
    ) {
        let names = ["b", "c", "a"];
        let mut world = match is_shared {
            true => World::shared(&names, 3),
            false => World::new(&names, 3),
        };
        let mut restarts = 0;
        for fault in faults {
            match fault {
                Fault::Stop(who, ms) => world.programs[who].stopped_until = world.now + ms,
                Fault::Cut(who, ms) => world.cut(who, ms),
                Fault::Lose(who) => world.lose(who),
                Fault::Stream(has_stream) => world.has_stream = has_stream,
                Fault::Restart(who) => {
                    restarts += 1;
                    world.restart(who, &format!("r{restarts}"));
                }
                Fault::Pass(ms) => world.pass(ms),
            }
        }
        world.has_stream = true;
        world.pass(4_000 + 4 * SILENCE_MS);
        for instrument in 0..3 {
            prop_assert_eq!(world.publishers(instrument).len(), 1, "instrument {}", instrument);
            let stored = world.stored.iter().filter(|(of, _, _)| *of == instrument);
            let numbers: Vec<(u64, usize)> = stored.map(|(_, by, number)| (*number, *by)).collect();
            prop_assert!(numbers.is_sorted_by_key(|(number, _)| *number));
            let mut record = world.record[instrument].clone();
            prop_assert!(!record.is_empty(), "nothing was stored");
            record.sort_unstable();
            let twice = record.windows(2).find(|pair| pair[0] == pair[1]);
            prop_assert_eq!(twice, None, "a bar was stored twice");
        }
        if is_shared {
            // Instruments go where they belong.
            world.pass(80_000);
        }
        let before = world.leases.clone();
        world.pass(5_000);
        prop_assert_eq!(before, world.leases, "no lease changes hands without a reason");
    }
}
