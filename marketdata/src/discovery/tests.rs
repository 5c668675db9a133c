use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use bus::MemoryBus;

use super::choice::Candidate;
use super::due::State;
use super::pattern::Wish;
use super::*;
use crate::feed::dial::VenueTls;

/// A venue that refuses every question, and how many it was asked.
fn refusing_venue() -> (String, Arc<AtomicUsize>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4_096]);
            count.fetch_add(1, Ordering::Relaxed);
            let refusal = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(refusal);
        }
    });
    (base, asked)
}

/// The discovery of one named instrument and of a pattern, whose venue refuses every question.
fn of_refusing_venue() -> (Discovery, Arc<AtomicUsize>) {
    let (base, asked) = refusing_venue();
    let config = Config {
        instruments: Wish::parse_list("okx:OKX:BTC-USDT,binance:*-USDT").expect("valid"),
        ..Config::default()
    };
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::with_streams(&service::streams()));
    let discovery = Discovery::new(&config, &bus, |exchange| {
        let (base, tls) = (base.clone(), VenueTls::default());
        Arc::new(RestClient::new(exchange, base, ASK_MAX, &tls))
    });
    (discovery, asked)
}

fn candidate() -> Candidate {
    Candidate {
        spec: "binance:BTC-USDT".parse().expect("valid"),
        native: "BTCUSDT".to_owned(),
        is_trading: true,
        turnover: 0.0,
        rank: 1,
        top: Some(1),
    }
}

#[tokio::test]
async fn a_venue_that_never_answered_does_not_hold_up_a_new_plan() {
    let (mut discovery, asked) = of_refusing_venue();
    let shutdown = service::Service::for_test().shutdown;
    let control = Control::default();
    let first = discovery.find(&control, &shutdown).await;
    assert_eq!(first.instruments, discovery.named);
    let looks = asked.load(Ordering::Relaxed);
    assert_eq!(looks, FIRST_LOOKS as usize);
    // All instruments stand still while this goes on.
    let second = discovery.find(&control, &shutdown).await;
    assert_eq!(second.instruments, first.instruments);
    assert_eq!(asked.load(Ordering::Relaxed), looks);
}

#[tokio::test]
async fn a_new_plan_leaves_alone_what_the_operator_has_revoked() {
    let (mut discovery, _asked) = of_refusing_venue();
    let control = Control::default();
    let shutdown = service::Service::for_test().shutdown;
    let first = discovery.find(&control, &shutdown).await;
    assert_eq!((first.instruments.len(), first.assigned), (1, 1));
    control.keep_away(&first.instruments, true);
    let second = discovery.find(&control, &shutdown).await;
    assert_eq!(second.instruments, first.instruments, "it can be assigned");
    assert_eq!(second.assigned, 0);
    control.keep_away(&first.instruments, false);
    assert_eq!(discovery.find(&control, &shutdown).await.assigned, 1);
}

#[tokio::test]
async fn a_venue_on_which_nothing_trades_when_the_program_starts_is_idle() {
    let (mut discovery, _asked) = of_refusing_venue();
    let place = &mut discovery.places[0];
    assert_eq!(place.state(), State::Unknown);
    place.has_answered = true;
    assert_eq!(place.state(), State::Usual, "no market matches");
    place.candidates = vec![candidate()];
    assert_eq!(place.state(), State::Usual);
    place.candidates[0].is_trading = false;
    assert_eq!(place.state(), State::Idle);
}

#[tokio::test]
async fn a_venue_that_is_asked_often_does_not_let_the_others_be_asked() {
    let (mut discovery, asked) = of_refusing_venue();
    discovery.look(false).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    discovery.look(false).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1, "its time has not come");
    discovery.look(true).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2, "it has not answered");
    discovery.places[0].has_answered = true;
    discovery.look(true).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_lease_that_was_given_back_is_held_by_nobody() {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::with_streams(&service::streams()));
    let config = Config {
        instruments: Wish::parse_list("binance:*-USDT:top=1").expect("valid"),
        ..Config::default()
    };
    let mut discovery = Discovery::new(&config, &bus, |exchange| {
        let (base, tls) = ("http://127.0.0.1:9".to_owned(), VenueTls::default());
        Arc::new(RestClient::new(exchange, base, ASK_MAX, &tls))
    });
    let spec: InstrumentSpec = "binance:BTC-USDT".parse().expect("valid");
    discovery.places[0].candidates = vec![candidate()];
    let say = async |holder: &str| {
        let content = format!(r#"{{"number":1,"holder":{holder}}}"#);
        let lease = subject::lease(&spec.exchange, &spec.symbol);
        let append = bus::Append::new(lease, content.into());
        bus.streams().append(append).await.expect("stored");
    };
    say("\"a\"").await;
    assert_eq!(
        discovery.elsewhere().await,
        HashSet::from([spec.to_string()])
    );
    say("null").await;
    assert_eq!(discovery.elsewhere().await, HashSet::new());
}

#[test]
fn what_has_not_been_answered_is_asked_for_again() {
    assert!(is_done("assign", None));
    for refused in [Refused::Slow(30), Refused::Failed("stopping".to_owned())] {
        assert!(!is_done("assign", Some(&refused)));
    }
}
