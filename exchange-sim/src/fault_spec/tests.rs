//! The text of faults: what it means, and what is refused.

use super::*;

#[test]
fn the_grammar_reads_every_key() {
    let spec: FaultSpec =
        "late,venue=okx,symbol=btc-usdt,count=2,at=10s,for=1m,every=2h,delay=250ms"
            .parse()
            .expect("a fault");
    assert_eq!(spec.venue, Some(Venue::Okx));
    assert_eq!(
        (spec.at_ms, spec.for_ms, spec.every_ms, spec.delay_ms),
        (10_000, Some(60_000), Some(7_200_000), Some(250))
    );
    for wrong in [
        "",
        "gpa",
        "gap,count",
        "gap,count=x",
        "gap,at=10",
        "gap,at=s",
        "gap,venue=kraken",
        "gap,x=1",
    ] {
        assert!(wrong.parse::<FaultSpec>().is_err(), "{wrong:?}");
    }
}

#[test]
fn the_json_has_the_same_names() {
    let spec: FaultSpec =
        serde_json::from_str(r#"{"kind":"rest_429","venue":"binance","retry_after":7}"#)
            .expect("a fault");
    assert_eq!(
        spec,
        "rest_429,venue=binance,retry_after=7"
            .parse()
            .expect("a fault")
    );
    assert!(serde_json::from_str::<FaultSpec>(r#"{"kind":"gap","vneue":"okx"}"#).is_err());
}
