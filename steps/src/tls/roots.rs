//! Whom to trust: the system's root certificates, those of `SSL_CERT_FILE`, or a file of one's own.

use super::leaf::certificates;
use rustls::RootCertStore;
use std::path::Path;
use trees_runner::kind::KindError;

/// Reads the root certificates of a PEM file, or those of the system.
///
/// # Errors
/// When the file cannot be read, or there is no root at all.
pub fn read(file: Option<&Path>) -> Result<RootCertStore, KindError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates(&bytes(file)?).map_err(|why| no_roots(file, &why))? {
                roots.add(certificate).map_err(|e| no_roots(file, &e.to_string()))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            if roots.add_parsable_certificates(found.certs).0 == 0 {
                let why = found.errors.first().map_or_else(String::new, |e| format!(": {e}"));
                return Err(KindError::new(format!("this system has no root certificates{why}"))
                    .help("install ca-certificates, set SSL_CERT_FILE, or name a PEM file in `roots`"));
            }
        }
    }
    Ok(roots)
}

/// The bytes of a PEM file.
///
/// # Errors
/// When it cannot be read.
pub fn bytes(file: &Path) -> Result<Vec<u8>, KindError> {
    std::fs::read(file).map_err(|e| no_roots(file, &e.to_string()))
}

fn no_roots(file: &Path, why: &str) -> KindError {
    KindError::new(format!("cannot read root certificates from `{}`: {why}", file.display()))
        .help("`roots` names a file with certificates in PEM")
}
