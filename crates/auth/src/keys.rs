//! The keys for checking tokens, and their files.
//!
//! A key decides its algorithm. A token's `alg` and `kid` only choose among the keys.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;
use tracing::warn;

/// Largest key file, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most keys in a set.
const KEYS_MAX: usize = 100;
/// Fewest bytes of an HS256 secret: as many as its hash has.
const SECRET_BYTES_MIN: usize = 32;
/// Fewest and most bits of an RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// Why keys cannot be read. It reveals nothing of a secret file's content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// A file cannot be read.
    #[error("failed to read {path}: {reason}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// The secret is shorter than its hash.
    #[error(
        "the secret in {path} has {bytes} bytes, but at least {SECRET_BYTES_MIN} are needed: create one with openssl rand -hex 32"
    )]
    ShortSecret {
        /// Which file.
        path: String,
        /// How long the secret is.
        bytes: usize,
    },
    /// The file is not a JWK set.
    #[error("{path} is not a JWK set: {reason}")]
    Malformed {
        /// Which file.
        path: String,
        /// The position of the error.
        reason: String,
    },
    /// A key of the set cannot be used.
    #[error("key {kid} of {path} cannot be used: {reason}")]
    BadKey {
        /// Which file.
        path: String,
        /// The key's id, or its position.
        kid: String,
        /// Why not.
        reason: String,
    },
    /// It has no key for signatures.
    #[error("{0} holds no key for RS256, ES256 or EdDSA (Ed25519)")]
    Empty(String),
    /// It has too many keys.
    #[error("{path} has {count} keys, but at most {KEYS_MAX} are allowed")]
    TooMany {
        /// Which file.
        path: String,
        /// How many.
        count: usize,
    },
}

/// A key and its algorithm.
pub(crate) struct Key {
    algorithm: Algorithm,
    kid: Option<String>,
    /// The key itself.
    pub decoding: DecodingKey,
}

impl Key {
    /// The only algorithm for which it is used.
    #[must_use]
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?} {:?})", self.algorithm, self.kid)
    }
}

/// The keys at one time.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// The key for a token with this algorithm and this key id. If the token names no id, it is the
    /// only key of the algorithm. The secret of HS256 has no id.
    #[must_use]
    pub(crate) fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Option<&Key> {
        let mut of_algorithm = self.keys.iter().filter(|key| key.algorithm == algorithm);
        match kid {
            Some(kid) if algorithm != Algorithm::HS256 => {
                of_algorithm.find(|key| key.kid.as_deref() == Some(kid))
            }
            _ => of_algorithm
                .next()
                .filter(|_| of_algorithm.next().is_none()),
        }
    }

    /// Whether any key is of the algorithm.
    #[must_use]
    pub(crate) fn has(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.algorithm == algorithm)
    }
}

/// Where keys are.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyFiles {
    /// File with the secret of HS256.
    pub hs256_secret: Option<PathBuf>,
    /// File with a JWK set.
    pub jwks: Option<PathBuf>,
}

/// The content of the files at the last check.
#[derive(PartialEq, Eq)]
struct Contents {
    hs256_secret: Option<Result<Vec<u8>, KeyError>>,
    jwks: Option<Result<Vec<u8>, KeyError>>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contents(hidden)")
    }
}

/// The result of a check of the files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reloaded {
    /// Nothing is new.
    Unchanged,
    /// There are new keys.
    Changed,
    /// The files changed, but the old keys stay.
    Failed(KeyError),
}

/// The current keys, and the files that they follow.
#[derive(Debug)]
pub(crate) struct KeyStore {
    files: KeyFiles,
    seen: Mutex<Contents>,
    current: RwLock<Arc<KeySet>>,
}

impl KeyStore {
    /// Reads the keys for the first time.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub(crate) fn open(files: KeyFiles) -> Result<Self, KeyError> {
        let contents = files.read();
        let keys = files.parse(&contents)?;
        Ok(Self {
            files,
            seen: Mutex::new(contents),
            current: RwLock::new(Arc::new(keys)),
        })
    }

    /// The keys now.
    #[must_use]
    pub(crate) fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.read().expect("no holder panics"))
    }

    /// The number of keys now.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.current().keys.len()
    }

    /// Checks the files, and takes their keys if they changed. Blocks while it reads the files.
    pub(crate) fn reload(&self) -> Reloaded {
        let contents = self.files.read();
        let mut seen = self.seen.lock().expect("no holder panics");
        if *seen == contents {
            return Reloaded::Unchanged;
        }
        let keys = self.files.parse(&contents);
        *seen = contents;
        match keys {
            Ok(keys) => {
                *self.current.write().expect("no holder panics") = Arc::new(keys);
                Reloaded::Changed
            }
            Err(error) => Reloaded::Failed(error),
        }
    }
}

impl KeyFiles {
    fn read(&self) -> Contents {
        Contents {
            hs256_secret: self.hs256_secret.as_deref().map(read_file),
            jwks: self.jwks.as_deref().map(read_file),
        }
    }

    fn parse(&self, contents: &Contents) -> Result<KeySet, KeyError> {
        let mut keys = Vec::new();
        if let (Some(path), Some(bytes)) = (&self.hs256_secret, &contents.hs256_secret) {
            let bytes = bytes.as_ref().map_err(Clone::clone)?;
            keys.push(parse_secret(path, bytes)?);
        }
        if let (Some(path), Some(bytes)) = (&self.jwks, &contents.jwks) {
            let bytes = bytes.as_ref().map_err(Clone::clone)?;
            keys.extend(parse_set(&path.display().to_string(), bytes)?);
        }
        Ok(KeySet { keys })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, KeyError> {
    let unreadable = |reason: String| KeyError::Unreadable {
        path: path.display().to_string(),
        reason,
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(format!(
            "it has more than {FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(bytes)
}

fn parse_secret(path: &Path, bytes: &[u8]) -> Result<Key, KeyError> {
    // Editors end a file with a newline.
    let secret = bytes.trim_ascii_end();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(KeyError::ShortSecret {
            path: path.display().to_string(),
            bytes: secret.len(),
        });
    }
    Ok(Key {
        algorithm: Algorithm::HS256,
        kid: None,
        decoding: DecodingKey::from_secret(secret),
    })
}

#[derive(Deserialize)]
struct SetFields {
    keys: Vec<Value>,
}

fn parse_set(path: &str, bytes: &[u8]) -> Result<Vec<Key>, KeyError> {
    let set: SetFields = serde_json::from_slice(bytes).map_err(|error| KeyError::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    if set.keys.len() > KEYS_MAX {
        return Err(KeyError::TooMany {
            path: path.to_owned(),
            count: set.keys.len(),
        });
    }
    let mut keys: Vec<Key> = Vec::with_capacity(set.keys.len());
    for (place, value) in set.keys.iter().enumerate() {
        let kid = value["kid"]
            .as_str()
            .map_or_else(|| format!("{}", place + 1), |kid| format!("'{kid}'"));
        let bad_key = |reason: String| KeyError::BadKey {
            path: path.to_owned(),
            kid: kid.clone(),
            reason,
        };
        match parse_key(value).map_err(bad_key)? {
            Some(key) => {
                let is_twice = keys
                    .iter()
                    .any(|held| held.algorithm == key.algorithm && held.kid == key.kid);
                if is_twice {
                    return Err(bad_key(
                        "another of its algorithm has the same kid".to_owned(),
                    ));
                }
                keys.push(key);
            }
            None => warn!(
                path,
                kid, "key left out: no token of its algorithm is accepted"
            ),
        }
    }
    if keys.is_empty() {
        return Err(KeyError::Empty(path.to_owned()));
    }
    Ok(keys)
}

/// A key of a set; `None` if it is for another purpose.
fn parse_key(value: &Value) -> Result<Option<Key>, String> {
    match value["kty"].as_str() {
        Some("oct") => {
            return Err("it is a shared secret: give it to --auth-hs256-secret-file".to_owned());
        }
        Some("RSA" | "EC" | "OKP") => {}
        _ => return Ok(None),
    }
    if value.get("d").is_some() {
        return Err("it holds its private part: only public keys belong here".to_owned());
    }
    let is_known_curve = match value["crv"].as_str() {
        None => true,
        Some(curve) => matches!(curve, "P-256" | "Ed25519"),
    };
    if !is_known_curve {
        return Ok(None);
    }
    let jwk = Jwk::deserialize(value).map_err(|error| error.to_string())?;
    let is_for_signatures = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return Ok(None),
    };
    let is_taken = jwk
        .common
        .key_algorithm
        .is_none_or(|algorithm| algorithm == named);
    if !is_for_signatures || !is_taken {
        return Ok(None);
    }
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
    check_size(algorithm, &decoding)?;
    Ok(Some(Key {
        algorithm,
        kid: jwk.common.key_id,
        decoding,
    }))
}

fn check_size(algorithm: Algorithm, key: &DecodingKey) -> Result<(), String> {
    let expected = match algorithm {
        Algorithm::ES256 => 65,
        _ => 32,
    };
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            let bits = n
                .iter()
                .position(|&byte| byte != 0)
                .map_or(0, |at| (n.len() - at) * 8 - n[at].leading_zeros() as usize);
            if !RSA_BITS.contains(&bits) {
                return Err(format!(
                    "its modulus has {bits} bits, {} to {} are taken",
                    RSA_BITS.start(),
                    RSA_BITS.end()
                ));
            }
            if e.iter().all(|&byte| byte == 0) {
                return Err("its exponent is zero".to_owned());
            }
            Ok(())
        }
        DecodingKeyKind::SecretOrDer(point) if point.len() == expected => Ok(()),
        DecodingKeyKind::SecretOrDer(_) => Err("its point is too short or too long".to_owned()),
    }
}

#[cfg(test)]
mod tests;
