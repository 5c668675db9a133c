//! Every target on its corpus and on seeded random and mutated inputs: what the checks can afford.
//!
//! `KLINECAST_SEED` replays the seed that a failure names; `KLINECAST_FUZZ_RUNS` says how many
//! inputs there are for each target.

use std::path::PathBuf;

use klinecast_fuzz::{TARGETS, Target};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Inputs for each target by default.
const RUNS: u64 = 1_000;
const BYTES_MAX: usize = 600;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// What libFuzzer has found of use, and the seeds.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).expect("it can be read");
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}

/// Names the input if the target panics.
struct Named<'a>(&'a Target, String);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the target {} does not hold for {}", self.0.name, self.1);
        }
    }
}

/// Random bytes, or something of the corpus with some bytes changed, left out or twice.
fn input(rng: &mut SmallRng, corpus: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    if corpus.is_empty() || rng.random_bool(0.5) {
        let mut bytes = vec![0; rng.random_range(0..BYTES_MAX)];
        rng.fill(&mut bytes[..]);
        return bytes;
    }
    let mut bytes = corpus[rng.random_range(0..corpus.len())].1.clone();
    for _ in 0..rng.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => drop(bytes.drain(at..bytes.len().min(at + rng.random_range(1..9)))),
            _ => {
                let part = bytes[at..bytes.len().min(at + 8)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a target of this name");
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "there is something to begin with");
    for (path, bytes) in &corpus {
        let _named = Named(target, path.display().to_string());
        (target.run)(bytes);
    }
    let seeds = match number("KLINECAST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("KLINECAST_FUZZ_RUNS").unwrap_or(RUNS),
    };
    for seed in seeds {
        let bytes = input(&mut SmallRng::seed_from_u64(seed), &corpus);
        let _named = Named(target, format!("KLINECAST_SEED={seed}"));
        (target.run)(&bytes);
    }
}

#[test]
fn frames_are_read_as_the_parser_alone_reads_them() {
    run("frame_decoder");
}

#[test]
fn compressed_messages_are_read_as_another_decompressor_reads_them() {
    run("deflate");
}

#[test]
fn requests_are_bounded_and_the_same_in_every_spelling() {
    run("request");
}

#[test]
fn protobuf_requests_mean_what_their_json_means() {
    run("protobuf_request");
}

#[test]
fn frames_of_clients_of_binance_are_bounded_and_the_same_in_every_spelling() {
    run("binance_request");
}

#[test]
fn queries_of_clients_of_binance_are_bounded_and_the_same_in_every_spelling() {
    run("binance_query");
}

#[test]
fn after_any_payload_of_the_bus_a_newer_bar_is_delivered() {
    run("bus_payloads");
}

#[test]
fn any_checkpoint_is_refused_or_gone_on_from() {
    run("checkpoint");
}

#[test]
fn frames_and_pages_of_binance_are_read_alike_by_both_decoders() {
    run("binance");
}

#[test]
fn frames_and_pages_of_coinbase_are_read_alike_by_both_decoders() {
    run("coinbase");
}

#[test]
fn frames_and_pages_of_okx_are_read_alike_by_both_decoders() {
    run("okx");
}

#[test]
fn every_target_is_tested_here() {
    let source = include_str!("bounded.rs");
    for target in TARGETS {
        let call = format!("run(\"{}\");", target.name);
        assert!(source.contains(&call), "{call}");
    }
}

#[test]
fn the_corpus_is_small() {
    let bytes: usize = TARGETS
        .iter()
        .flat_map(corpus)
        .map(|(_, bytes)| bytes.len())
        .sum();
    assert!(
        bytes < 1_000_000,
        "{bytes} bytes: minimise it with scripts/fuzz.sh"
    );
}
