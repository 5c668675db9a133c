//! Tokens and key sets as an issuer makes them, by other code than the code that checks them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use ring::{hmac, rsa};
use serde_json::{Value, json};

/// A private key for the tests only.
const RSA_KEY: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/keys/rs256-for-tests-only.pk8.der"
));

enum Signer {
    Hs256(Vec<u8>),
    Rs256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// An issuer of tokens.
pub struct Issuer {
    signer: Signer,
    /// The id of its key, if it has one.
    pub kid: Option<String>,
}

/// Base64 as in tokens.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970.
#[must_use]
pub fn now_s() -> u64 {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_secs()
}

impl Issuer {
    /// With a secret.
    #[must_use]
    pub fn hs256(secret: &[u8]) -> Self {
        Self {
            signer: Signer::Hs256(secret.to_vec()),
            kid: None,
        }
    }

    /// With the only RSA key of the tests.
    #[must_use]
    pub fn rs256(kid: &str) -> Self {
        let key = RsaKeyPair::from_pkcs8(RSA_KEY).expect("the key of the tests");
        Self {
            signer: Signer::Rs256(key),
            kid: Some(kid.to_owned()),
        }
    }

    /// With a new key.
    #[must_use]
    pub fn es256(kid: &str) -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("a key");
        Self {
            signer: Signer::Es256(key),
            kid: Some(kid.to_owned()),
        }
    }

    /// With a new key.
    #[must_use]
    pub fn eddsa(kid: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
        Self {
            signer: Signer::EdDsa(key),
            kid: Some(kid.to_owned()),
        }
    }

    /// The name of its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.signer {
            Signer::Hs256(_) => "HS256",
            Signer::Rs256(_) => "RS256",
            Signer::Es256(_) => "ES256",
            Signer::EdDsa(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Hs256(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Signer::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Signer::Es256(key) => key
                .sign(&random, message)
                .expect("a signature")
                .as_ref()
                .to_vec(),
            Signer::EdDsa(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with these claims.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        let mut header = json!({"typ": "JWT", "alg": self.algorithm()});
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        self.token_with(&header, claims)
    }

    /// A token with this header, true or not.
    #[must_use]
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let header = base64(header.to_string().as_bytes());
        let message = format!("{header}.{}", base64(claims.to_string().as_bytes()));
        let signature = base64(&self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// A token that permits topics for so many seconds.
    #[must_use]
    pub fn permit(&self, topics: &[&str], seconds: u64) -> String {
        self.token(&json!({"exp": now_s() + seconds, "klinecast": {"topics": topics}}))
    }

    /// The public key as part of a set.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.signer {
            Signer::Hs256(secret) => json!({"kty": "oct", "k": base64(secret)}),
            Signer::Rs256(key) => {
                let public = rsa::PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "n": base64(&public.n), "e": base64(&public.e)})
            }
            Signer::Es256(key) => {
                // 4, x, y.
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": base64(&point[1..33]), "y": base64(&point[33..])})
            }
            Signer::EdDsa(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64(key.public_key().as_ref())})
            }
        };
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        if let Some(kid) = &self.kid {
            jwk["kid"] = json!(kid);
        }
        jwk
    }
}

/// A JWK set of these issuers.
#[must_use]
pub fn key_set(issuers: &[&Issuer]) -> String {
    let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// A file that is deleted with this value.
pub struct KeyFile(pub std::path::PathBuf);

impl KeyFile {
    /// A file with this content.
    pub fn new(contents: impl AsRef<[u8]>) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("klinecast-keys-{}-{number}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(contents);
        file
    }

    /// Replaces its content at once: a reader never sees half of it.
    pub fn write(&self, contents: impl AsRef<[u8]>) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, contents).expect("a file");
        std::fs::rename(&new, &self.0).expect("a file");
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> Option<std::path::PathBuf> {
        Some(self.0.clone())
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
