//! What a pipeline keeps, and what a checkpoint holds.

use market_core::{Pipeline, PipelineConfig, Quality, Timeframe, Trade};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::driver::{Driver, NOON, trade};

const HOUR_MS: i64 = 3_600_000;
/// NATS refuses messages above 1 MB.
const CHECKPOINT_BYTES_MAX: usize = 262_144;

#[test]
fn an_outage_of_three_hours_and_its_healing_keep_little_and_make_small_checkpoints() {
    let mut driver = Driver::new();
    let mut most_kept = 0;
    let mut most_bytes = 0;
    let mut look = |driver: &Driver| {
        most_kept = most_kept.max(driver.pipeline.kept_bars());
        most_bytes = most_bytes.max(
            driver
                .pipeline
                .checkpoint()
                .map_or(0, |state| state.encode("").len()),
        );
    };
    let at = |id: u64| trade(id, NOON + id as i64 * 1_000, 10_000 + id % 100);
    for id in 1..=60 {
        driver.run_to(at(id).event_ms);
        driver.offer(&at(id));
    }
    driver.pipeline.feed_down(driver.now);
    while driver.now < NOON + 3 * HOUR_MS {
        driver.at(driver.now + 1_000);
        look(&driver);
    }
    assert!(driver.bars(Timeframe::SECOND).len() > 10_000);
    driver.pipeline.feed_up(driver.now);
    driver.at(driver.now + 10);
    let head = (driver.now - NOON) as u64 / 1_000;
    driver.offer(&at(head));
    driver.offer(&at(head + 1));
    driver.at(driver.now + 400);
    let request = *driver.requests().last().expect("asked");
    assert_eq!((request.first_id, request.last_id), (61, Some(head - 1)));
    // A page of trades every half second.
    for (index, id) in (61..head).enumerate() {
        driver.fetched(&at(id));
        if index % 1_000 == 999 {
            driver.run_to(driver.now + 500);
            look(&driver);
        }
    }
    driver.ended(request.id, market_core::BackfillOutcome::Done);
    driver.run_to(driver.now + 15_000);
    look(&driver);
    assert!(
        most_kept < 4_000,
        "{most_kept} bars were kept, of more than 10,000"
    );
    assert!(
        most_bytes < CHECKPOINT_BYTES_MAX,
        "a checkpoint had {most_bytes} bytes"
    );
    let effective = driver.effective();
    assert!(effective.values().all(|bar| bar.quality != Quality::Gap));
    let trades = effective
        .values()
        .filter(|bar| bar.timeframe == Timeframe::SECOND);
    let count: u64 = trades
        .map(|bar| bar.fold.map_or(0, |fold| fold.count))
        .sum();
    assert_eq!(count, head + 1);
    assert!(
        driver.pipeline.kept_bars() < 1_000,
        "the memory is given back"
    );
}

#[test]
fn a_gap_that_nobody_fills_keeps_only_the_bars_that_it_touches() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.offer(&trade(3, NOON + 300, 10_000));
    for step in 1..3 * HOUR_MS / 1_000 {
        driver.at(NOON + step * 1_000);
        driver.offer(&trade(3 + step as u64, NOON + step * 1_000, 10_000));
        if let Some(request) = driver.requests().last().copied() {
            driver.ended(request.id, market_core::BackfillOutcome::Failed);
        }
    }
    assert!(
        driver.pipeline.kept_bars() < 1_200,
        "late horizon and a few"
    );
    let bytes = driver
        .pipeline
        .checkpoint()
        .map_or(0, |state| state.encode("").len());
    assert!((1..30_000).contains(&bytes), "{bytes} bytes");
}

#[test]
fn a_checkpoint_that_is_too_old_is_joined_anew_with_a_gap() {
    let trades: Vec<Trade> = (1..=90)
        .map(|id| trade(id, NOON + id as i64 * 1_000, 10_000))
        .collect();
    let mut driver = Driver::of("1s,1m,1w");
    for trade in &trades {
        driver.run_to(trade.event_ms);
        driver.offer(trade);
    }
    let checkpoint = driver.pipeline.checkpoint().expect("small").encode("");
    let config = PipelineConfig {
        timeframes: "1s,1m,1w".parse().expect("set"),
        ..PipelineConfig::default()
    };
    let later = NOON + 30 * HOUR_MS;
    let mut driver = Driver {
        pipeline: Pipeline::restore(&config, "", &checkpoint).expect("own checkpoint"),
        now: later,
        out: Vec::new(),
    };
    driver.pipeline.feed_down(later);
    driver.pipeline.feed_up(later);
    driver.run_to(later + 5_000);
    assert!(driver.requests().is_empty(), "nobody walks 30 hours");
    driver.offer(&trade(900_000, later + 5_000, 10_000));
    driver.run_to(later + 20_000);
    let seconds = driver.bars(Timeframe::SECOND).len();
    assert!(seconds < 60, "{seconds} bars, not those of 30 hours");
    let week = driver.forming().last().copied().expect("the week");
    assert_eq!(
        (week.quality, week.fold.map(|fold| fold.count)),
        (Quality::Gap, Some(91))
    );
}

#[test]
fn checkpoints_of_the_first_version_are_still_read() {
    let old = br#"{"version":1,"sequence":{"seen":[1,5],"missing":[],"lost":[{"first":2,"last":3}]},"aggregator":{"levels":[{"timeframe":"1s","source":null,"open":[],"closed":[{"start_ms":1723464000000,"fold":null,"previous_close":"100","rev":0,"quality":"gap","is_healed":false}],"closed_until_ms":1723464001000,"last_close":"100"}],"complete_from_ms":1723463999000,"revised":[],"is_forming_changed":false,"is_requalify_due":false},"gaps":{"gaps":[{"id":0,"ids":{"first":2,"last":3},"from_ms":1723464000000,"to_ms":1723464000500,"opened_ms":1723464000000,"failures":0,"state":"Lost","is_confirmed":true,"is_overdue":true}],"next_id":1},"head_event_ms":1723464000500}"#;
    let config = PipelineConfig {
        timeframes: "1s".parse().expect("set"),
        ..PipelineConfig::default()
    };
    let mut driver = Driver {
        pipeline: Pipeline::restore(&config, "", old).expect("the first version"),
        now: NOON + 5_000,
        out: Vec::new(),
    };
    driver.pipeline.feed_up(driver.now);
    driver.run_to(NOON + 5_100);
    driver.answer(&[]);
    driver.run_to(NOON + 20_000);
    // What was lost stays lost.
    assert!(
        driver
            .bars(Timeframe::SECOND)
            .iter()
            .all(|bar| bar.start_ms > NOON)
    );
}

/// How many of the elements of an array are tried at either end of it.
const TRIED_AT_EITHER_END: usize = 3;

/// Where the numbers of a checkpoint are. Of a long array the first and the last elements: those
/// between them have the same neighbours as these.
fn numbers_to_change(value: &Value) -> Vec<String> {
    let below = |name: String, value: &Value| {
        let pointers = numbers_to_change(value).into_iter();
        pointers.map(move |pointer| format!("/{name}{pointer}"))
    };
    match value {
        Value::Number(_) => vec![String::new()],
        Value::Array(elements) => {
            let is_tried = |index: usize| {
                index < TRIED_AT_EITHER_END || index + TRIED_AT_EITHER_END >= elements.len()
            };
            let tried = elements.iter().enumerate();
            tried
                .filter(|(index, _)| is_tried(*index))
                .flat_map(|(index, element)| below(index.to_string(), element))
                .collect()
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .flat_map(|(name, value)| below(name.clone(), value))
                .collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn checkpoints_whose_numbers_contradict_each_other_are_refused() {
    let mut driver = Driver::of("1s,1m");
    for id in 1..100 {
        driver.run_to(NOON + id as i64 * 700);
        driver.offer(&trade(2 * id, driver.now, 10_000));
    }
    let config = PipelineConfig {
        timeframes: "1s,1m".parse().expect("set"),
        ..PipelineConfig::default()
    };
    let checkpoint = driver.pipeline.checkpoint().expect("small").encode("");
    let whole: Value = serde_json::from_slice(&checkpoint).expect("JSON");
    let mut refused = 0;
    // Each number in turn becomes an extreme: refused, or safe to go on with.
    for pointer in numbers_to_change(&whole) {
        for extreme in [json!(0), json!(i64::MAX), json!(i64::MIN), json!(u64::MAX)] {
            let mut changed = whole.clone();
            *changed.pointer_mut(&pointer).expect("it is there") = extreme;
            let changed = changed.to_string();
            let Ok(pipeline) = Pipeline::restore(&config, "", changed.as_bytes()) else {
                refused += 1;
                continue;
            };
            let mut driver = Driver {
                pipeline,
                now: NOON + 100_000,
                out: Vec::new(),
            };
            driver.pipeline.feed_up(driver.now);
            driver.at(NOON + 101_000);
            driver.offer(&trade(400, NOON + 101_000, 10_000));
            driver.at(NOON + 140_000);
            assert!(driver.forming().len() <= 2);
            assert!(driver.pipeline.checkpoint().is_some());
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_checkpoint_with_a_bar_that_no_trades_make_is_refused() {
    let mut driver = Driver::of("1s,1m");
    driver.run_to(NOON + 700);
    driver.offer(&trade(7, driver.now, 10_000));
    let config = PipelineConfig {
        timeframes: "1s,1m".parse().expect("set"),
        ..PipelineConfig::default()
    };
    let checkpoint = driver.pipeline.checkpoint().expect("small").encode("");
    let text = String::from_utf8(checkpoint).expect("JSON");
    assert!(Pipeline::restore(&config, "", text.as_bytes()).is_ok());
    let event_ms = driver.now;
    for (field, value) in [
        // Its lowest price above its first one, its highest below it, or its last beyond both.
        (r#""low":"100""#, r#""low":"100.01""#.to_owned()),
        (r#""high":"100""#, r#""high":"99.99""#.to_owned()),
        (r#""close":"100""#, r#""close":"0.01""#.to_owned()),
        // Bars, and no id that is known.
        (r#""seen":[7,8]"#, r#""seen":null"#.to_owned()),
        // No trades, and ids in the wrong order.
        (r#""count":1"#, r#""count":0"#.to_owned()),
        (r#""first_id":7"#, r#""first_id":8"#.to_owned()),
        // A trade of another bar.
        (
            &format!(r#""close_key":[{event_ms},"#),
            format!(r#""close_key":[{},"#, event_ms + 1_000),
        ),
    ] {
        assert!(text.contains(field), "{field} is in {text}");
        let changed = text.replace(field, &value);
        assert!(
            Pipeline::restore(&config, "", changed.as_bytes()).is_err(),
            "{value}"
        );
    }
}

#[test]
fn a_checkpoint_of_a_bar_in_which_ids_began_anew_continues_exactly() {
    let mut driver = Driver::of("1s,1m");
    for id in 1..=100 {
        driver.offer(&trade(id, NOON + id as i64 * 10, 10_000));
    }
    driver.run_to(NOON + 10_000);
    for id in 1..=9 {
        driver.offer(&trade(id, NOON + 10_000 + id as i64 * 10, 10_000));
    }
    driver.run_to(NOON + 15_000);
    let config = PipelineConfig {
        timeframes: "1s,1m".parse().expect("set"),
        ..PipelineConfig::default()
    };
    let checkpoint = driver.pipeline.checkpoint().expect("small").encode("");
    driver.pipeline = Pipeline::restore(&config, "", &checkpoint).expect("its own checkpoint");
    driver.pipeline.feed_up(driver.now);
    driver.run_to(NOON + 400_000);
    let (_, count) = driver.bar(Timeframe::MINUTE, NOON).expect("a bar");
    assert_eq!(count, 109);
}

proptest! {
    #[test]
    fn a_pipeline_reads_its_own_checkpoint_whatever_ids_came(
        numberings in proptest::collection::vec((1u64..400, 1u64..60, 1u64..4, 1i64..900), 1..6),
        timeframes in proptest::sample::select(vec!["1s,1m", "1s,1m,1M", "1m"]),
    ) {
        let mut driver = Driver::of(timeframes);
        let config = PipelineConfig {
            timeframes: timeframes.parse().expect("set"),
            ..PipelineConfig::default()
        };
        for (first, trades, step, pause_ms) in numberings {
            for index in 0..trades {
                let now = driver.now + pause_ms;
                driver.at(now);
                driver.offer(&trade(first + index * step, now, 10_000 + index));
            }
            let own = driver.pipeline.checkpoint().expect("small").encode("");
            let again = Pipeline::restore(&config, "", &own).expect("its own checkpoint");
            prop_assert_eq!(again.next_id(), driver.pipeline.next_id());
        }
    }
}
