//! One order from wish to certificate: challenges put up, the directory's checks waited for, the
//! request signed, the chain taken. Gone on with where a try before it stopped.

use super::pending::{Pending, forget};
use super::problem::{failed, is_refusal, told};
use crate::tls::board::Board;
use instant_acme::{Account, AuthorizationStatus, ChallengeStatus, Error, Identifier, NewOrder, Order, OrderStatus, RetryPolicy};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use trees_core::hash;
use trees_runner::kind::{Cx, KindError};

/// The kind of the certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum KeyKind {
    /// ECDSA with the curve P-256: small and fast, known to all that speaks TLS 1.2.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// ECDSA with the curve P-384.
    #[serde(rename = "ecdsa-p384")]
    EcdsaP384,
    /// RSA with 2048 bits, for what is old.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
}

impl KeyKind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
        }
    }

    fn generate(self) -> Result<String, KindError> {
        let pair = match self {
            Self::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => KeyPair::generate_for(&PKCS_RSA_SHA256),
        };
        Ok(pair.map_err(|e| KindError::new(format!("cannot make a private key: {e}")))?.serialize_pem())
    }
}

/// What is asked for.
pub struct Wish<'a> {
    /// The directory.
    pub directory: &'a str,
    /// The names, the common one first.
    pub names: &'a [String],
    /// The key's kind.
    pub key: KeyKind,
    /// For each of the directory's checks.
    pub limit: Duration,
}

impl Wish<'_> {
    fn mark(&self) -> String {
        hash::json(&(self.directory, self.names, self.key)).unwrap_or_default()
    }

    fn shown(&self) -> String {
        self.names.join(", ")
    }
}

/// A certificate as the directory gave it, and its key.
pub struct Issued {
    /// The certificate and what stands behind it, in PEM.
    pub fullchain: String,
    /// The private key in PEM.
    pub key: String,
}

/// How far it is, for the screen and for the message when time runs out.
pub struct Course<'a> {
    cx: &'a Cx,
    now: Mutex<String>,
}

impl<'a> Course<'a> {
    /// Of a step.
    pub fn new(cx: &'a Cx) -> Self {
        Self { cx, now: Mutex::default() }
    }

    /// Says what is done now.
    pub fn at(&self, text: impl Into<String>) {
        let text = text.into();
        self.cx.progress(None, &text);
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// What was done last.
    pub fn last(&self) -> String {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Has the certificate made.
///
/// # Errors
/// When the directory refuses, or cannot reach what was put up for it.
pub async fn issue(account: &Account, wish: &Wish<'_>, board: &Board<'_>, file: &Path, course: &Course<'_>) -> Result<Issued, KindError> {
    let (mut order, pending) = match resumed(account, wish, board, file).await? {
        Some(found) => found,
        None => ordered(account, wish, board, file, course).await?,
    };
    let done = proceed(&mut order, &pending, wish, board, course).await;
    if order.state().status == OrderStatus::Invalid {
        forget(file)?;
    }
    Ok(Issued { fullchain: done?, key: pending.key })
}

/// The order of a try before this one, if the directory still knows it.
async fn resumed(account: &Account, wish: &Wish<'_>, board: &Board<'_>, file: &Path) -> Result<Option<(Order, Pending)>, KindError> {
    let Some(pending) = Pending::read(file)? else { return Ok(None) };
    board.found(&pending.traces);
    if pending.wish == wish.mark() && pending.account == account.id() {
        match account.order(pending.order.clone()).await {
            Ok(mut order) => {
                if order.state().status != OrderStatus::Invalid {
                    board.keep_in(file, &pending);
                    return Ok(Some((order, pending)));
                }
            }
            Err(e) if is_refusal(&e) => {}
            Err(e) => return Err(failed("cannot ask for the order that is under way", e)),
        }
    }
    board.clear().await;
    forget(file)?;
    Ok(None)
}

async fn ordered(
    account: &Account,
    wish: &Wish<'_>,
    board: &Board<'_>,
    file: &Path,
    course: &Course<'_>,
) -> Result<(Order, Pending), KindError> {
    course.at(format!("ordering a certificate for {}", wish.shown()));
    let key = wish.key.generate()?;
    let identifiers: Vec<Identifier> = wish.names.iter().map(|name| identifier(name)).collect();
    let order = account.new_order(&NewOrder::new(&identifiers)).await;
    let order = order.map_err(|e| failed(&format!("cannot order a certificate for {}", wish.shown()), e))?;
    let pending = Pending { wish: wish.mark(), order: order.url().into(), account: account.id().into(), key, traces: Vec::new() };
    pending.write(file)?;
    board.keep_in(file, &pending);
    Ok((order, pending))
}

fn identifier(name: &str) -> Identifier {
    name.parse::<IpAddr>().map_or_else(|_| Identifier::Dns(name.into()), Identifier::Ip)
}

async fn proceed(
    order: &mut Order,
    pending: &Pending,
    wish: &Wish<'_>,
    board: &Board<'_>,
    course: &Course<'_>,
) -> Result<String, KindError> {
    let policy = RetryPolicy::new().timeout(wish.limit);
    if order.state().status == OrderStatus::Pending {
        prove(order, board, course).await?;
        course.at("waiting for the directory to look at what was put up");
        match order.poll_ready(&policy).await {
            Ok(OrderStatus::Invalid) => return Err(reasons(order, None).await),
            Ok(_) => {}
            Err(Error::Api(problem)) => return Err(reasons(order, Some(&problem)).await),
            Err(e) => return Err(failed("waiting for the order", e)),
        }
    }
    if order.state().status == OrderStatus::Ready {
        course.at("sending the request for the certificate");
        let request = request(wish.names, &pending.key)?;
        order.finalize_csr(&request).await.map_err(|e| failed("cannot finalise the order", e))?;
    }
    course.at("waiting for the certificate");
    order.poll_certificate(&policy).await.map_err(|e| failed("waiting for the certificate", e))
}

/// Puts up what the directory wants to find, and tells it to look.
async fn prove(order: &mut Order, board: &Board<'_>, course: &Course<'_>) -> Result<(), KindError> {
    let wrong = |e| failed("cannot ask what the directory wants to see", e);
    course.at("putting up what the directory wants to see");
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(wrong)?;
        let name = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status @ (AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Deactivated) => {
                return Err(KindError::transient(format!("the directory does not let `{name}` be proved any more: {status:?}")));
            }
        }
        let challenge = authorization.challenge(board.kind()).ok_or_else(|| not_offered(&name, board))?;
        let authorized = challenge.key_authorization();
        board.put(challenge.identifier().identifier, &challenge.token, authorized.as_str(), &authorized.dns_value()).await?;
    }
    course.at("waiting until what was put up can be seen");
    board.settle().await?;
    course.at("telling the directory to look");
    let mut refused = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(wrong)?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let name = authorization.identifier().to_string();
        let mut challenge = authorization.challenge(board.kind()).ok_or_else(|| not_offered(&name, board))?;
        if challenge.status != ChallengeStatus::Pending {
            continue;
        }
        match challenge.set_ready().await {
            Ok(()) => {}
            Err(e) if is_refusal(&e) => refused.push((name, e)),
            Err(e) => return Err(failed(&format!("cannot have `{name}` looked at"), e)),
        }
    }
    undecided(order, board, refused).await
}

/// A directory that has looked already, for a try before this one say, does not let itself be told
/// again; then what it saw counts. Otherwise the refusal does.
async fn undecided(order: &mut Order, board: &Board<'_>, mut refused: Vec<(String, Error)>) -> Result<(), KindError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let wrong = |e| failed("cannot ask what the directory has seen", e);
        let mut authorization = authorization.map_err(wrong)?;
        let name = authorization.identifier().to_string();
        let Some(at) = refused.iter().position(|(of, _)| *of == name) else { continue };
        let kind = board.kind();
        let state = authorization.refresh().await.map_err(wrong)?;
        let waits = state.challenges.iter().any(|challenge| challenge.r#type == kind && challenge.status == ChallengeStatus::Pending);
        if state.status == AuthorizationStatus::Pending && waits {
            let (name, error) = refused.swap_remove(at);
            return Err(failed(&format!("cannot have `{name}` looked at"), error));
        }
    }
    Ok(())
}

fn not_offered(name: &str, board: &Board<'_>) -> KindError {
    KindError::new(format!("the directory does not let `{name}` be proved by {}", board.word()))
}

/// Why an order became invalid: each name's own reason, else the order's.
async fn reasons(order: &mut Order, problem: Option<&instant_acme::Problem>) -> KindError {
    let mut told_of = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let what = format!("the directory does not accept `{}`", authorization.identifier());
        told_of.extend(authorization.challenges.iter().filter_map(|c| c.error.as_ref()).map(|error| told(&what, error, None)));
    }
    let what = "the directory does not accept the order";
    let Some(first) = told_of.first().cloned() else {
        return problem.map_or_else(|| KindError::new(format!("{what}, and does not say why")), |problem| told(what, problem, None));
    };
    let message = told_of.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("\n");
    KindError { message, transient: told_of.iter().all(|error| error.transient), ..first }
}

/// The request for the certificate, in DER.
fn request(names: &[String], key: &str) -> Result<Vec<u8>, KindError> {
    let make = || -> Result<Vec<u8>, rcgen::Error> {
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = DistinguishedName::new();
        // A common name has 64 characters at most, and is a DNS name.
        if let Some(first) = names.first().filter(|name| name.len() <= 64 && name.parse::<IpAddr>().is_err()) {
            params.distinguished_name.push(DnType::CommonName, first.as_str());
        }
        Ok(params.serialize_request(&KeyPair::from_pem(key)?)?.der().to_vec())
    };
    make().map_err(|e| KindError::new(format!("cannot make the request for the certificate: {e}")))
}
