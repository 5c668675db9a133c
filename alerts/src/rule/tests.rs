use super::*;

fn refused(when: &str) -> String {
    let json = format!(r#"{{"rules":[{{"name":"a","symbols":["*"],"when":{when}}}]}}"#);
    read_rules(json.as_bytes()).expect_err(when).to_string()
}

#[test]
fn a_rule_says_no_more_than_it_must() {
    let json = br#"{"rules":[{"name":"btc-5","symbols":["BTC-USDT","OKX:BTC-USDT"],
        "when":{"type":"move","percent":"5","window_s":300}}]}"#;
    let rules = read_rules(json).expect("rules");
    let rule = &rules[0];
    assert_eq!(rule.level, Level::Warning);
    assert_eq!(rule.cooldown_s, 60);
    assert_eq!(rule.when.rearm().to_string(), "2.5");
    assert!(rule.watches(&"OKX:BTC-USDT".parse().expect("a symbol")));
    assert!(!rule.watches(&"ETH-USDT".parse().expect("a symbol")));
    // What is stored is read back as the same rule.
    let stored = serde_json::to_string(rule).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Rule>(&stored).expect("a rule"),
        *rule
    );
}

#[test]
fn rules_that_could_never_fire_or_never_stop_are_refused_with_what_to_write() {
    for (when, reason) in [
        (
            r#"{"type":"move","percent":"0","window_s":60}"#,
            "percent is above 0",
        ),
        (
            r#"{"type":"move","percent":"100","window_s":60}"#,
            "cannot fall",
        ),
        (
            r#"{"type":"move","percent":"5","window_s":0}"#,
            "window_s is from 1",
        ),
        (
            r#"{"type":"move","percent":"5","window_s":60,"rearm_percent":"5"}"#,
            "rearm_percent is below percent",
        ),
        (
            r#"{"type":"move","percent":5,"window_s":60}"#,
            "expected a string",
        ),
        (
            r#"{"type":"move","percent":"5","window_s":60,"window":1}"#,
            "unknown field",
        ),
        (
            r#"{"type":"spread","points":"0","for_s":5}"#,
            "points is above 0",
        ),
        (
            r#"{"type":"spread","points":"5","for_s":5,"rearm_points":"5"}"#,
            "rearm_points is below points",
        ),
        (
            r#"{"type":"spread","points":"5","for_s":86401}"#,
            "for_s is from 0",
        ),
        (r#"{"type":"gap","price":"1"}"#, "unknown field"),
        (
            r#"{"type":"cross","price":"-1"}"#,
            "not a plain decimal number",
        ),
        (
            r#"{"type":"cross","price":"1","rearm_percent":"100"}"#,
            "below 100",
        ),
        (
            r#"{"type":"volume","times":"0","window_s":1,"base_s":60}"#,
            "times is above 0",
        ),
        (
            r#"{"type":"volume","times":"2","window_s":1,"base_s":90000}"#,
            "base_s is from 1",
        ),
        (r#"{"type":"stale","after_s":9}"#, "after_s is from 10"),
        (r#"{"type":"funding"}"#, "unknown variant"),
    ] {
        let error = refused(when);
        assert!(error.contains(reason), "{when}: {error}");
    }
    for (rules, reason) in [
        (
            r#"[{"name":"A","symbols":["*"],"when":{"type":"gap"}}]"#,
            "small letters",
        ),
        (
            r#"[{"name":"a","symbols":[],"when":{"type":"gap"}}]"#,
            "1 to 1000 symbols",
        ),
        (
            r#"[{"name":"a","symbols":["*","BTC-USD"],"when":{"type":"gap"}}]"#,
            "not a symbol",
        ),
        (
            r#"[{"name":"a","symbols":["A-B","A-B"],"when":{"type":"gap"}}]"#,
            "twice",
        ),
        (
            r#"[{"name":"a","symbols":["*"],"when":{"type":"gap"}},{"name":"a","symbols":["*"],"when":{"type":"gap"}}]"#,
            "there twice",
        ),
        (
            r#"[{"name":"a","symbols":["*"],"cooldown_s":86401,"when":{"type":"gap"}}]"#,
            "cooldown_s",
        ),
    ] {
        let json = format!(r#"{{"rules":{rules}}}"#);
        let error = read_rules(json.as_bytes()).expect_err(rules).to_string();
        assert!(error.contains(reason), "{rules}: {error}");
    }
}
