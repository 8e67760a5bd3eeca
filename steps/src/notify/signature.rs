//! Signatures by which a receiver knows who sent a webhook: Standard Webhooks, and GitHub's header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use trees_core::hash;

/// What begins a secret whose rest is base64.
const PREFIX: &str = "whsec_";

/// The key that a secret stands for: the bytes behind `whsec_`, or the text as it is.
///
/// # Errors
/// A sentence that does not show it.
pub fn key(secret: &str) -> Result<Vec<u8>, String> {
    let key = match secret.strip_prefix(PREFIX) {
        Some(text) => STANDARD.decode(text.trim()).map_err(|_| format!("what stands behind `{PREFIX}` is no base64"))?,
        None => secret.as_bytes().to_vec(),
    };
    if key.is_empty() { Err("it is empty".into()) } else { Ok(key) }
}

/// The value of `webhook-signature`.
pub fn standard(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> String {
    let head = format!("{id}.{timestamp}.");
    format!("v1,{}", STANDARD.encode(mac(key, &[head.as_bytes(), body])))
}

/// The value of `X-Hub-Signature-256`.
pub fn hub(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hash::hex(&mac(secret.as_bytes(), &[body])))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_standard_webhooks() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = standard(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_example_of_github() {
        let signature = hub("It's a Secret to Everybody", b"Hello, World!");
        assert_eq!(signature, "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
    }

    #[test]
    fn a_secret_is_base64_or_plain() {
        assert_eq!(key("plain").unwrap(), b"plain");
        assert_eq!(key("whsec_YWI=").unwrap(), b"ab");
        assert_eq!(key("whsec_!").unwrap_err(), "what stands behind `whsec_` is no base64");
        assert!(key("").is_err() && key("whsec_").is_err());
    }
}
