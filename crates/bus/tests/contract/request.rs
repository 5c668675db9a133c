//! Questions and answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusConfig, BusError, Headers, Message};
use bytes::Bytes;

use crate::setup::{Setup, metric, on_both, payload, recorder, text, within};

/// Far above what an answer takes.
const WAITED: Duration = Duration::from_secs(20);

on_both! {
    question_is_answered_with_headers_both_ways,
    question_that_nobody_serves_fails_at_once,
    question_that_nobody_answers_ends_at_its_deadline,
    one_of_a_group_gets_each_question,
    refusal_reaches_the_asker,
    responder_with_too_many_questions_refuses_the_next_and_counts_it,
    dropped_responder_serves_no_more,
    subject_that_a_stream_keeps_cannot_be_asked,
    drain_ends_responders,
}

async fn ask(bus: &Arc<dyn Bus>, subject: &str, question: &str) -> Result<Message, BusError> {
    let asked = bus
        .requests()
        .request(subject, Headers::new(), payload(question), WAITED);
    within("an answer", asked).await
}

async fn question_is_answered_with_headers_both_ways(setup: Setup) {
    let (asker, server) = setup.pair().await;
    let mut responder = server
        .requests()
        .serve("history.*", "history")
        .await
        .expect("valid pattern");
    let serving = tokio::spawn(async move {
        let question = responder.recv().await.expect("open");
        assert_eq!(&*question.message.subject, "history.query");
        assert_eq!(question.message.header("Kind"), Some("bars"));
        let mut headers = Headers::new();
        headers.set("Pages", "3").expect("a valid header");
        let answer = payload(format!("{}!", text(&question.message)));
        question.answer(headers, answer).await.expect("connected");
    });
    let mut headers = Headers::new();
    headers.set("Kind", "bars").expect("a valid header");
    let asked = asker
        .requests()
        .request("history.query", headers, payload("1m"), WAITED);
    let answer = within("an answer", asked).await.expect("answered");
    assert_eq!(text(&answer), "1m!");
    assert_eq!(&*answer.subject, "history.query");
    assert_eq!(answer.header("Pages"), Some("3"));
    serving.await.expect("no panic");
}

async fn question_that_nobody_serves_fails_at_once(setup: Setup) {
    let bus = setup.bus().await;
    let error = ask(&bus, "history.query", "1m")
        .await
        .expect_err("nobody serves");
    assert_eq!(
        error.to_string(),
        r#"nobody answers requests to "history.query""#
    );
    assert!(error.is_retryable());
}

async fn question_that_nobody_answers_ends_at_its_deadline(setup: Setup) {
    let (asker, server) = setup.pair().await;
    let mut responder = server
        .requests()
        .serve("history.query", "history")
        .await
        .expect("valid pattern");
    let asked = asker.requests().request(
        "history.query",
        Headers::new(),
        Bytes::new(),
        Duration::from_millis(100),
    );
    let error = within("the deadline", asked).await.expect_err("no answer");
    assert_eq!(
        error.to_string(),
        "nats did not answer a request within 100 ms"
    );
    assert!(error.is_retryable());
    // An answer that nobody waits for any more is no error.
    let question = within("the question", responder.recv())
        .await
        .expect("open");
    assert_eq!(question.answer(Headers::new(), Bytes::new()).await, Ok(()));
}

async fn one_of_a_group_gets_each_question(setup: Setup) {
    let (first, second) = setup.pair().await;
    for (name, bus) in [("first", &first), ("second", &second)] {
        let mut responder = bus
            .requests()
            .serve("history.query", "history")
            .await
            .expect("valid pattern");
        tokio::spawn(async move {
            while let Some(question) = responder.recv().await {
                let answered = question.answer(Headers::new(), payload(name));
                answered.await.expect("connected");
            }
        });
    }
    let mut answers: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..100 {
        let answer = ask(&first, "history.query", "who").await.expect("answered");
        *answers.entry(text(&answer)).or_default() += 1;
    }
    assert_eq!(answers.len(), 2, "both serve: {answers:?}");
    assert_eq!(answers.values().sum::<u32>(), 100);
}

async fn refusal_reaches_the_asker(setup: Setup) {
    let (asker, server) = setup.pair().await;
    let mut responder = server
        .requests()
        .serve("history.query", "history")
        .await
        .expect("valid pattern");
    tokio::spawn(async move {
        let question = responder.recv().await.expect("open");
        let refused = question.refuse("no bars of 7x:\r\nuse 1m");
        refused.await.expect("connected");
    });
    let error = ask(&asker, "history.query", "7x")
        .await
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        r#"request to "history.query" refused: no bars of 7x:  use 1m"#
    );
    assert!(!error.is_retryable());
}

async fn responder_with_too_many_questions_refuses_the_next_and_counts_it(setup: Setup) {
    recorder();
    let refused_before = metric("bus_questions_refused_total");
    let config = BusConfig {
        bus_questions_max: 2,
        ..BusConfig::default()
    };
    let bus = setup.bus_with(config).await;
    let mut responder = bus
        .requests()
        .serve("history.query", "history")
        .await
        .expect("valid pattern");
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let bus = Arc::clone(&bus);
            tokio::spawn(async move { ask(&bus, "history.query", "1m").await })
        })
        .collect();
    // One is refused while two wait; whichever it is, two are answered then.
    within("a refusal", async {
        while metric("bus_questions_refused_total") < refused_before + 1.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for _ in 0..2 {
        let question = within("a question", responder.recv()).await.expect("open");
        let answered = question.answer(Headers::new(), payload("late"));
        answered.await.expect("connected");
    }
    let mut answered = 0;
    for asked in asking {
        match asked.await.expect("no panic") {
            Ok(_) => answered += 1,
            Err(error) => {
                assert!(matches!(error, BusError::Busy { .. }), "{error}");
                assert!(error.is_retryable());
            }
        }
    }
    assert_eq!(answered, 2);
}

async fn dropped_responder_serves_no_more(setup: Setup) {
    let bus = setup.bus().await;
    let responder = bus
        .requests()
        .serve("history.query", "history")
        .await
        .expect("valid pattern");
    drop(responder);
    // The server hears of it in a moment.
    within("nobody serves", async {
        loop {
            let asked = bus.requests().request(
                "history.query",
                Headers::new(),
                Bytes::new(),
                Duration::from_millis(50),
            );
            if let Err(BusError::NoResponders { .. }) = asked.await {
                return;
            }
        }
    })
    .await;
}

async fn subject_that_a_stream_keeps_cannot_be_asked(setup: Setup) {
    let bus = setup.bus().await;
    let error = ask(&bus, "closed.1m.A", "x").await.expect_err("it is kept");
    assert_eq!(
        error.to_string(),
        r#"invalid subject "closed.1m.A": a stream keeps it, so it cannot be asked"#
    );
    assert_eq!(bus.last_values("closed.>").await, Ok(Vec::new()));
}

async fn drain_ends_responders(setup: Setup) {
    let bus = setup.bus().await;
    let mut responder = bus
        .requests()
        .serve("history.query", "history")
        .await
        .expect("valid pattern");
    bus.drain().await.expect("connected");
    assert!(within("the end", responder.recv()).await.is_none());
    let error = ask(&bus, "history.query", "x").await.expect_err("drained");
    assert_eq!(error, BusError::Closed);
    let error = bus.requests().serve("history.>", "history").await;
    assert_eq!(error.err(), Some(BusError::Closed));
}
