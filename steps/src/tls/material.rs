//! A chain of certificates and the private key of its first: read, compared, cut into files.

use super::leaf::{Leaf, certificates};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use std::fmt;

const END: &str = "-----END CERTIFICATE-----";

/// Certificates and key, both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    /// The certificate and what stands behind it.
    pub fullchain: String,
    /// The private key.
    pub key: String,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("fullchain", &self.fullchain).finish_non_exhaustive()
    }
}

impl Material {
    /// What the first certificate says.
    ///
    /// # Errors
    /// When there is none.
    pub fn leaf(&self) -> Result<Leaf, String> {
        certificates(self.fullchain.as_bytes())?.first().map_or_else(|| Err("there is no certificate in it".into()), |der| Leaf::read(der))
    }

    /// The key is that of the first certificate.
    pub fn key_fits(&self) -> bool {
        let Ok(chain) = certificates(self.fullchain.as_bytes()) else { return false };
        let Ok(key) = PrivateKeyDer::from_pem_slice(self.key.as_bytes()) else { return false };
        any_supported_type(&key).is_ok_and(|key| CertifiedKey::new(chain, key).keys_match().is_ok())
    }

    /// The first certificate, and those behind it.
    pub fn parts(&self) -> (String, String) {
        let cut = self.fullchain.find(END).map_or(self.fullchain.len(), |at| at + END.len());
        let (first, rest) = self.fullchain.split_at(cut);
        let lines = |text: &str| if text.trim().is_empty() { String::new() } else { format!("{}\n", text.trim()) };
        (lines(first), lines(rest))
    }
}
