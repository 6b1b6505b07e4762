//! Signatures by the specification of Standard Webhooks: a receiver proves by a shared secret who sent a message and when.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes that a secret may have.
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that is shared with a receiver. `Debug` hides it.
#[derive(Clone)]
pub struct SigningSecret(Hmac<Sha256>);

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("<secret>")
    }
}

impl SigningSecret {
    /// Reads `whsec_` and the base64 of 24 to 64 bytes, as Standard Webhooks writes a secret.
    ///
    /// # Errors
    /// What is wrong with it, without the secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or_else(|| format!("does not begin with {PREFIX}"))?;
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| format!("has no base64 after {PREFIX}"))?;
        if !LENGTH.contains(&bytes.len()) {
            return Err(format!("holds {} bytes; {} to {} are right", bytes.len(), LENGTH.start(), LENGTH.end()));
        }
        Hmac::new_from_slice(&bytes).map(Self).map_err(|error| error.to_string())
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut hmac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body] {
            hmac.update(part);
        }
        format!("v1,{}", BASE64_STANDARD.encode(hmac.finalize().into_bytes()))
    }
}

/// The value of `webhook-signature`: a signature by each secret, so that a receiver may know the old one or the new one.
pub(crate) fn signatures(secrets: &[SigningSecret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let all: Vec<String> = secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_own_example_is_signed_alike() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = signatures(std::slice::from_ref(&secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = signatures(&[secret.clone(), secret], "a", 1, b"");
        assert_eq!(both.split(' ').count(), 2);
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let short = BASE64_STANDARD.encode([1; 23]);
        let long = BASE64_STANDARD.encode([1; 65]);
        for bad in ["", "s3cret", "whsec_", "whsec_s3cret!", &format!("{PREFIX}{short}"), &format!("{PREFIX}{long}")] {
            let refused = SigningSecret::parse(bad).unwrap_err();
            assert!(!refused.contains("s3cret"), "{refused}");
        }
        let good = SigningSecret::parse(&format!(" {PREFIX}{}\n", BASE64_STANDARD.encode([1; 32]))).unwrap();
        assert_eq!(format!("{good:?}"), "<secret>");
    }
}
