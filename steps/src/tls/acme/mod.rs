//! Talking to an ACME directory (RFC 8555) over the HTTP client of all kinds: an account that is made
//! once, an order that is gone on with after a crash.
//!
//! Nothing here knows where the certificate is kept. Read [`order`] first.

pub mod account;
pub mod order;
pub mod pending;
pub mod problem;

mod transport;

pub use transport::Transport;

/// The address of a directory: Let's Encrypt by its word.
pub fn directory(word: &str) -> &str {
    match word {
        "letsencrypt" => instant_acme::LetsEncrypt::Production.url(),
        "letsencrypt-staging" => instant_acme::LetsEncrypt::Staging.url(),
        url => url,
    }
}
