//! What a certificate says of itself: names, issuer, when it ends.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::net::IpAddr;
use trees_core::hash;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

/// A server's own certificate, the first of its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The DNS names and addresses it is for.
    pub names: Vec<String>,
    /// Who signed it, as a distinguished name.
    pub issuer: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// The SHA-256 of the whole certificate, in hex.
    pub fingerprint: String,
    /// It names itself as its issuer.
    pub self_signed: bool,
    /// Its key: `ecdsa-p256`, `ecdsa-p384`, `rsa-2048`, or another.
    pub key: String,
}

impl Leaf {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|e| format!("the certificate cannot be read: {e}"))?;
        Ok(Self {
            names: names(&certificate),
            issuer: certificate.issuer().to_string(),
            not_before: moment(certificate.validity().not_before),
            not_after: moment(certificate.validity().not_after),
            fingerprint: hash::bytes(der),
            self_signed: certificate.issuer().as_raw() == certificate.subject().as_raw(),
            key: key(&certificate),
        })
    }

    /// Whole days from a moment to its end; below zero once it has ended.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        (self.not_after.as_second() - now.as_second()).div_euclid(24 * 60 * 60)
    }

    /// A third of its life before it ends: when it is renewed if nobody says otherwise.
    pub fn last_third(&self) -> Timestamp {
        let life = self.not_after.as_second() - self.not_before.as_second();
        Timestamp::from_second(self.not_after.as_second() - life / 3).unwrap_or(self.not_after)
    }

    /// Its names as one text.
    pub fn shown(&self) -> String {
        if self.names.is_empty() { "no name at all".into() } else { self.names.join(", ") }
    }
}

/// The certificates of a text in PEM, in their order.
///
/// # Errors
/// When one cannot be read, or there is none.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in it".into()),
        Ok(found) => Ok(found),
        Err(e) => Err(format!("it is no PEM: {e}")),
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    alternatives.value.general_names.iter().filter_map(name).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::URI(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn moment(time: ASN1Time) -> Timestamp {
    Timestamp::from_second(time.timestamp()).unwrap_or(if time.timestamp() < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn key(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("rsa-{}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("ecdsa-p{}", point.key_size()),
        Ok(_) | Err(_) => certificate.public_key().algorithm.algorithm.to_id_string(),
    }
}
