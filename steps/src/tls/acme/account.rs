//! The account at a directory, made once: its key is written before the directory hears of it, so
//! that a crash in between leads to the same account again.

use super::Transport;
use super::problem::failed;
use crate::file::replace;
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use instant_acme::{Account, ExternalAccountKey, Key, NewAccount};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::Path;
use trees_runner::kind::{Cx, KindError};

/// Who asks for the account.
pub struct Applicant<'a> {
    /// The directory.
    pub directory: &'a str,
    /// Whom the directory may write to.
    pub email: Option<&'a str>,
    /// The account at the authority's own site: key id and key in base64url.
    pub external: Option<(&'a str, &'a str)>,
}

/// What the account's file holds; readable by its owner only.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    directory: String,
    email: Option<String>,
    /// The account's address; `None`: the directory has not answered yet.
    id: Option<String>,
    /// PKCS #8 in base64url.
    key: String,
}

/// The account of a file, made when there is none.
///
/// # Errors
/// When the file is of another directory, or the directory refuses.
pub async fn open(file: &Path, applicant: &Applicant<'_>, transport: &Transport, cx: &Cx) -> Result<Account, KindError> {
    let what = "cannot use the account";
    match read(file)? {
        Some(kept) if kept.directory != applicant.directory => {
            Err(KindError::new(format!("the account in `{}` is of the directory {}", file.display(), kept.directory))
                .help("give each directory an account file of its own"))
        }
        Some(Kept { id: Some(id), key, email, .. }) => {
            let builder = Account::builder_with_http(Box::new(transport.clone()));
            let account =
                builder.from_parts(id.clone(), der(&key, file)?, applicant.directory.into()).await.map_err(|e| failed(what, e))?;
            if email.as_deref() != applicant.email {
                contact(&account, applicant).await?;
                write(file, applicant, Some(id), key)?;
            }
            Ok(account)
        }
        Some(Kept { id: None, key, .. }) => register(file, key, applicant, transport, cx).await,
        None => {
            let (_, key) = Key::generate_pkcs8().map_err(|e| failed("cannot make the account's key", e))?;
            let key = URL_SAFE_NO_PAD.encode(key.secret_pkcs8_der());
            write(file, applicant, None, key.clone())?;
            register(file, key, applicant, transport, cx).await
        }
    }
}

async fn register(file: &Path, key: String, applicant: &Applicant<'_>, transport: &Transport, cx: &Cx) -> Result<Account, KindError> {
    let what = "cannot make the account";
    let builder = Account::builder_with_http(Box::new(transport.clone()));
    let (account, key) = if let Some((id, hmac)) = applicant.external {
        let external = ExternalAccountKey::new(id.into(), &mac(hmac)?);
        let contact: Vec<String> = address(applicant).into_iter().collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let made = builder.create(&wanted, applicant.directory.into(), Some(&external)).await;
        let (account, credentials) = made.map_err(|e| failed(what, e))?;
        (account, URL_SAFE_NO_PAD.encode(credentials.private_key().secret_pkcs8_der()))
    } else {
        let pair = Key::from_pkcs8_der(der(&key, file)?).map_err(|e| failed(what, e))?;
        let made = builder.create_from_key((pair, PrivateKeyDer::Pkcs8(der(&key, file)?)), applicant.directory.into()).await;
        let (account, _) = made.map_err(|e| failed(what, e))?;
        if applicant.email.is_some() {
            contact(&account, applicant).await?;
        }
        (account, key)
    };
    write(file, applicant, Some(account.id().into()), key)?;
    cx.log(format!("made an account at {}: {}", applicant.directory, file.display()));
    Ok(account)
}

async fn contact(account: &Account, applicant: &Applicant<'_>) -> Result<(), KindError> {
    let contact: Vec<String> = address(applicant).into_iter().collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    account.update_contacts(&contact).await.map_err(|e| failed("cannot set the account's `email`", e))
}

fn address(applicant: &Applicant<'_>) -> Option<String> {
    applicant.email.map(|email| format!("mailto:{email}"))
}

/// The key of an external account in bytes.
///
/// # Errors
/// When it is no base64url; the text is not shown.
pub fn mac(text: &str) -> Result<Vec<u8>, KindError> {
    let text = text.trim();
    let engine = if text.ends_with('=') { URL_SAFE } else { URL_SAFE_NO_PAD };
    let bytes = engine.decode(text).ok().filter(|bytes| !bytes.is_empty());
    bytes.ok_or_else(|| KindError::new("eab_hmac: it is no base64url, as the authority's site shows it"))
}

fn der(key: &str, file: &Path) -> Result<PrivatePkcs8KeyDer<'static>, KindError> {
    let bytes = URL_SAFE_NO_PAD.decode(key).map_err(|_| broken(file, "its key is no base64url"))?;
    Ok(PrivatePkcs8KeyDer::from(bytes))
}

fn read(file: &Path) -> Result<Option<Kept>, KindError> {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| broken(file, "it is no account of `tls/certificate`")),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(broken(file, &e.to_string())),
    }
}

fn write(file: &Path, applicant: &Applicant<'_>, id: Option<String>, key: String) -> Result<(), KindError> {
    let kept = Kept { directory: applicant.directory.into(), email: applicant.email.map(str::to_owned), id, key };
    let text = serde_json::to_vec(&kept).map_err(|e| KindError::new(format!("cannot write the account: {e}")))?;
    replace(file, &text, 0o600)
}

fn broken(file: &Path, why: &str) -> KindError {
    KindError::new(format!("cannot read the account `{}`: {why}", file.display()))
}
