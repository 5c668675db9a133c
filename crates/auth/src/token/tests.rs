use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::crypto;
use crate::keys::KeyFiles;
use testkit::mint::{Issuer, KeyFile, base64, key_set, now_s};

const SECRET: &[u8] = b"a secret of the tests, for nothing else";

struct World {
    issuers: Vec<Issuer>,
    tokens: Tokens,
}

/// One issuer of each algorithm.
fn world(change: impl FnOnce(&mut TokenConfig)) -> World {
    crypto::install();
    let issuers = vec![
        Issuer::hs256(SECRET),
        Issuer::rs256("r"),
        Issuer::es256("e"),
        Issuer::eddsa("d"),
    ];
    let public: Vec<&Issuer> = issuers[1..].iter().collect();
    let (secret, jwks) = (KeyFile::new(SECRET), KeyFile::new(key_set(&public)));
    let mut config = TokenConfig::default();
    change(&mut config);
    let files = KeyFiles {
        hs256_secret: secret.path(),
        jwks: jwks.path(),
    };
    let tokens = Tokens::new(&config, KeyStore::open(files).expect("keys"));
    World { issuers, tokens }
}

impl World {
    #[track_caller]
    fn check(&self, claims: &Value, expected: Result<(), TokenError>) {
        for issuer in &self.issuers {
            let outcome = self.tokens.check(&issuer.token(claims)).map(|_| ());
            assert_eq!(outcome, expected, "{} {claims}", issuer.algorithm());
        }
    }
}

#[test]
fn a_token_of_each_algorithm_gives_what_it_says() {
    let world = world(|_| {});
    let exp = now_s() + 100;
    for issuer in &world.issuers {
        let claims = json!({"exp": exp, "klinecast": {"topics": ["kline:1m:*", "system:feed:*"], "max_subscriptions": 7}});
        let grant = world.tokens.check(&issuer.token(&claims)).expect("valid");
        assert_eq!(grant.expires_ms, exp * 1_000);
        assert!(grant.expires_in.as_secs() >= 90 && grant.expires_in.as_secs() <= 100);
        assert_eq!(grant.subscriptions_max, Some(7));
        let covers = |text: &str| grant.permissions.covers(&text.parse().expect("pattern"));
        assert!(covers("kline:1m:BTC-USD") && !covers("kline:1s:BTC-USD"));
    }
}

#[test]
fn without_the_claim_a_token_permits_the_default_topics_which_are_none() {
    let all: TopicPattern = "*:>".parse().expect("pattern");
    for default in [Vec::new(), vec![all.clone()]] {
        let is_open = !default.is_empty();
        let world = world(|config| config.auth_default_topics = default);
        for claims in [
            json!({"exp": now_s() + 9}),
            json!({"exp": now_s() + 9, "topics": ["a:b"]}),
        ] {
            let grant = world
                .tokens
                .check(&world.issuers[0].token(&claims))
                .expect("valid");
            assert_eq!(grant.permissions.covers(&all), is_open);
        }
        // An empty claim is a claim.
        let claims = json!({"exp": now_s() + 9, "klinecast": {}});
        let grant = world.tokens.check(&world.issuers[0].token(&claims));
        assert!(!grant.expect("valid").permissions.covers(&all));
    }
}

#[test]
fn times_are_held_to_with_leeway() {
    let world = world(|config| config.auth_leeway_s = 30);
    let now = now_s();
    world.check(&json!({"exp": now + 1}), Ok(()));
    world.check(&json!({"exp": (now as f64) + 1.5}), Ok(()));
    world.check(&json!({"exp": now - 10}), Ok(()));
    world.check(&json!({"exp": now - 60}), Err(TokenError::Expired));
    let late = world.issuers[0].token(&json!({"exp": now - 10}));
    let grant = world.tokens.check(&late).expect("within the leeway");
    assert!(grant.expires_in.is_zero() && grant.lasts <= Duration::from_secs(20));
    world.check(&json!({"exp": 0}), Err(TokenError::Expired));
    world.check(&json!({"exp": u64::MAX}), Ok(()));
    world.check(&json!({"exp": now + 9, "nbf": now + 10}), Ok(()));
    world.check(
        &json!({"exp": now + 99, "nbf": now + 60}),
        Err(TokenError::NotYetValid),
    );
    for exp in [json!(-1), json!("9999999999"), json!(1e300), json!(null)] {
        let claims = json!({ "exp": exp });
        world.check(&claims, Err(TokenError::Claims));
    }
    world.check(&json!({}), Err(TokenError::Claims));
}

#[test]
fn issuer_and_audience_have_to_be_the_configured_ones() {
    let exp = now_s() + 9;
    let strict = world(|config| {
        config.auth_issuer = vec!["https://id".to_owned()];
        config.auth_audience = vec!["klinecast".to_owned(), "bars".to_owned()];
    });
    let claims = |iss: Value, aud: Value| json!({"exp": exp, "iss": iss, "aud": aud});
    strict.check(&claims(json!("https://id"), json!("bars")), Ok(()));
    strict.check(&claims(json!("https://id"), json!(["x", "bars"])), Ok(()));
    let wrong_issuer = Err(TokenError::Issuer);
    strict.check(&claims(json!("https://other"), json!("bars")), wrong_issuer);
    strict.check(&json!({"exp": exp, "aud": "bars"}), wrong_issuer);
    strict.check(&claims(json!(7), json!("bars")), wrong_issuer);
    let wrong_audience = Err(TokenError::Audience);
    strict.check(&claims(json!("https://id"), json!("x")), wrong_audience);
    strict.check(&claims(json!("https://id"), json!([])), wrong_audience);
    strict.check(&claims(json!("https://id"), json!({})), wrong_audience);
    strict.check(&json!({"exp": exp, "iss": "https://id"}), wrong_audience);
    // A token for someone else is not for a gateway that has no name.
    world(|_| {}).check(&json!({"exp": exp, "aud": "x"}), wrong_audience);
}

#[test]
fn malformed_permissions_are_refused_and_not_ignored() {
    let world = world(|_| {});
    for claim in [
        json!("kline:1m:*"),
        json!({"topics": "kline:1m:*"}),
        json!({"topics": ["*"]}),
        json!({"topics": ["kline:7x:*"]}),
        json!({"topics": ["a:b"], "max_subscriptions": -1}),
        json!({"topics": (0..=CLAIM_WILDCARDS_MAX).map(|n| format!("a:{n}:*")).collect::<Vec<_>>()}),
        json!(null),
    ] {
        let claims = json!({"exp": now_s() + 9, "klinecast": claim});
        world.check(&claims, Err(TokenError::Claims));
    }
}

#[test]
fn the_key_decides_the_algorithm() {
    let world = world(|_| {});
    let claims = json!({"exp": now_s() + 9});
    let check = |token: String, expected| {
        assert_eq!(world.tokens.check(&token).map(|_| ()), Err(expected));
    };
    // Signed with what everyone knows of the RSA key, as if it were a secret.
    let jwk = world.issuers[1].jwk();
    let modulus = jwk["n"].as_str().expect("a modulus");
    for secret in [modulus.to_owned(), jwk.to_string()] {
        let forger = Issuer::hs256(secret.as_bytes());
        for kid in ["r", "e", "d"] {
            let header = json!({"alg": "HS256", "kid": kid});
            check(forger.token_with(&header, &claims), TokenError::Signature);
        }
    }
    // Signed by one key, said to be by another or by another algorithm.
    for issuer in &world.issuers {
        for (algorithm, kid) in [("RS256", "r"), ("ES256", "e"), ("EdDSA", "d")] {
            if algorithm != issuer.algorithm() {
                let header = json!({"alg": algorithm, "kid": kid});
                check(issuer.token_with(&header, &claims), TokenError::Signature);
            }
        }
        for algorithm in ["RS512", "PS256", "HS512", "ES384"] {
            let header = json!({"alg": algorithm, "kid": "r"});
            check(issuer.token_with(&header, &claims), TokenError::Algorithm);
        }
        for algorithm in [json!("none"), json!("None"), json!("hs256"), json!(null)] {
            let header = json!({"alg": algorithm, "kid": "r"});
            check(issuer.token_with(&header, &claims), TokenError::Malformed);
        }
    }
    let (header, body) = (
        base64(br#"{"alg":"none"}"#),
        base64(claims.to_string().as_bytes()),
    );
    check(format!("{header}.{body}."), TokenError::Malformed);
    check(format!("{header}.{body}"), TokenError::Malformed);
    check(Issuer::eddsa("x").token(&claims), TokenError::UnknownKey);
    check(Issuer::eddsa("d").token(&claims), TokenError::Signature);
    check(
        Issuer::hs256(b"another").token(&claims),
        TokenError::Signature,
    );
    // What a header offers for its own verification is not looked at.
    let own = Issuer::eddsa("own");
    let header = json!({"alg": "EdDSA", "jwk": own.jwk(), "kid": "d"});
    check(own.token_with(&header, &claims), TokenError::Signature);
    let header = json!({"alg": "EdDSA", "kid": "d", "crit": ["exp"]});
    check(
        world.issuers[3].token_with(&header, &claims),
        TokenError::Malformed,
    );
    check("a".repeat(4_097), TokenError::TooLong);
}

proptest! {
    #[test]
    fn arbitrary_tokens_are_refused_and_never_panic(
        text in prop_oneof![
            ".{0,200}",
            "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}",
        ],
        header in "\\{(\"(alg|kid|crit|typ|jwk|x5c)\":(\"HS256\"|\"none\"|null|1|\\{\\}|\\[\\]),?){0,4}\\}",
        claims in "\\{(\"(exp|aud|iss|klinecast)\":(\"x\"|null|1|1e99|\\{\\}|\\[\\]),?){0,4}\\}",
    ) {
        thread_local! {
            static WORLD: World = world(|_| {});
        }
        WORLD.with(|world| {
            assert!(world.tokens.check(&text).is_err());
            let parts = format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()));
            assert!(world.tokens.check(&format!("{parts}.")).is_err());
            assert!(world.tokens.check(&format!("{parts}.{}", base64(text.as_bytes()))).is_err());
        });
    }

    #[test]
    fn a_changed_token_is_refused(at in any::<prop::sample::Index>(), byte in "[A-Za-z0-9_.-]", which in 0usize..4) {
        thread_local! {
            static WORLD: World = world(|_| {});
        }
        WORLD.with(|world| {
            let token = world.issuers[which].permit(&["a:b"], 100);
            let mut changed = token.clone().into_bytes();
            let at = at.index(changed.len());
            changed[at] = byte.as_bytes()[0];
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(world.tokens.check(&changed).is_ok(), changed == token);
        });
    }
}
