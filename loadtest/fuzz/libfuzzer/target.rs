//! All targets in one program, so that there is only one to build: `KLINECAST_FUZZ_TARGET` selects
//! the target.

#![no_main]

use std::sync::LazyLock;

use klinecast_fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("KLINECAST_FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    target.unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("set KLINECAST_FUZZ_TARGET to one of {}", names.join(", "))
    })
});

fuzz_target!(|data: &[u8]| (TARGET.run)(data));
