use serde_json::json;

use super::*;
use testkit::mint::{Issuer, KeyFile, key_set};

fn jwks(file: &KeyFile) -> KeyFiles {
    KeyFiles {
        hs256_secret: None,
        jwks: file.path(),
    }
}

#[track_caller]
fn check_refused(contents: impl AsRef<[u8]>, expected: &str) {
    let file = KeyFile::new(contents);
    let error = KeyStore::open(jwks(&file)).expect_err(expected).to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn what_cannot_be_used_says_why() {
    let private = |mut jwk: Value| {
        jwk["d"] = json!("AAAA");
        json!({"keys": [jwk]}).to_string()
    };
    let changed = |mut jwk: Value, field: &str, value: &str| {
        jwk[field] = json!(value);
        json!({"keys": [jwk]}).to_string()
    };
    let ed = Issuer::eddsa("e").jwk();
    check_refused("", "not a JWK set");
    check_refused("{}", "keys");
    check_refused("[]", "not a JWK set");
    check_refused(r#"{"keys":[]}"#, "holds no key");
    check_refused(r#"{"keys":[1]}"#, "holds no key");
    check_refused(private(ed.clone()), "private part");
    check_refused(
        json!({"keys": [Issuer::hs256(&[7; 32]).jwk()]}).to_string(),
        "--auth-hs256-secret-file",
    );
    check_refused(changed(ed.clone(), "x", "AAAA"), "too short");
    check_refused(changed(ed.clone(), "x", "!"), "cannot be used");
    check_refused(changed(Issuer::es256("e").jwk(), "y", "AAAA"), "too short");
    check_refused(
        changed(Issuer::rs256("r").jwk(), "n", "AQAB"),
        "modulus has 17 bits",
    );
    check_refused(changed(Issuer::rs256("r").jwk(), "e", "AAAA"), "exponent");
    check_refused(json!({"keys": [ed, ed]}).to_string(), "same kid");
    check_refused(
        json!({"keys": vec![ed; 101]}).to_string(),
        "100 are allowed",
    );
    check_refused(vec![b' '; 1024 * 1024 + 1], "more than");
}

#[test]
fn keys_for_something_else_are_left_out() {
    let mut encryption = Issuer::rs256("r").jwk();
    encryption["use"] = json!("enc");
    let mut other_algorithm = Issuer::rs256("q").jwk();
    other_algorithm["alg"] = json!("RS512");
    let other_curve = json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"});
    let other_type = json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"});
    let mut bare = Issuer::es256("e").jwk();
    for field in ["alg", "use", "kid"] {
        bare.as_object_mut().expect("an object").remove(field);
    }
    let keys = json!({"keys": [encryption, other_algorithm, other_curve, other_type, bare]});
    let file = KeyFile::new(keys.to_string());
    let keys = KeyStore::open(jwks(&file)).expect("one key").current();
    assert_eq!(keys.keys.len(), 1);
    assert!(keys.find(Algorithm::ES256, None).is_some());
    assert!(keys.find(Algorithm::ES256, Some("e")).is_none());
}

#[test]
fn a_key_is_found_by_its_name_or_where_there_is_no_other() {
    let (first, second) = (Issuer::eddsa("1"), Issuer::eddsa("2"));
    let rsa = Issuer::rs256("1");
    let file = KeyFile::new(key_set(&[&first, &second, &rsa]));
    let secret = KeyFile::new([b's'; 40]);
    let files = KeyFiles {
        hs256_secret: secret.path(),
        jwks: file.path(),
    };
    let keys = KeyStore::open(files).expect("keys").current();
    let found = |algorithm, kid| keys.find(algorithm, kid).map(|key| key.algorithm);
    assert_eq!(found(Algorithm::EdDSA, Some("2")), Some(Algorithm::EdDSA));
    assert_eq!(found(Algorithm::EdDSA, Some("3")), None);
    assert_eq!(found(Algorithm::EdDSA, None), None);
    assert_eq!(found(Algorithm::RS256, None), Some(Algorithm::RS256));
    // The name of a public key must not lead to it by another algorithm, nor to the secret.
    assert_eq!(found(Algorithm::RS256, Some("2")), None);
    assert_eq!(found(Algorithm::HS256, Some("1")), Some(Algorithm::HS256));
    assert_eq!(found(Algorithm::ES256, Some("1")), None);
}

#[test]
fn a_secret_that_is_too_short_is_refused_without_being_shown() {
    let files = |secret: &KeyFile| KeyFiles {
        hs256_secret: secret.path(),
        jwks: None,
    };
    let short = KeyFile::new("hunter2hunter2hunter2hunter2\n\n\n\n\n");
    let error = KeyStore::open(files(&short))
        .expect_err("short")
        .to_string();
    assert!(error.contains("has 28 bytes") && !error.contains("hunter2"));
    let store = KeyStore::open(files(&KeyFile::new([b's'; 33])));
    let shown = format!("{store:?}");
    assert!(store.is_ok() && !shown.contains("115"), "{shown}");
}

#[test]
fn keys_rotate_and_a_broken_file_leaves_the_old_ones() {
    let (old, new) = (Issuer::eddsa("old"), Issuer::eddsa("new"));
    let file = KeyFile::new(key_set(&[&old]));
    let store = KeyStore::open(jwks(&file)).expect("keys");
    let has = |kid| store.current().find(Algorithm::EdDSA, Some(kid)).is_some();
    assert_eq!(store.reload(), Reloaded::Unchanged);
    file.write(key_set(&[&old, &new]));
    assert_eq!(store.reload(), Reloaded::Changed);
    assert!(has("old") && has("new"));
    file.write("{\"keys\":[");
    assert!(matches!(
        store.reload(),
        Reloaded::Failed(KeyError::Malformed { .. })
    ));
    // Said once, not at every look.
    assert_eq!(store.reload(), Reloaded::Unchanged);
    assert!(has("old") && has("new"));
    std::fs::remove_file(&file.0).expect("a file");
    assert!(matches!(
        store.reload(),
        Reloaded::Failed(KeyError::Unreadable { .. })
    ));
    assert_eq!(store.reload(), Reloaded::Unchanged);
    file.write(key_set(&[&new]));
    assert_eq!(store.reload(), Reloaded::Changed);
    assert!(!has("old") && has("new"));
}
