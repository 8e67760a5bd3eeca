//! `tls/certificate`: a certificate from an ACME directory, renewed in time.

use super::acme::account::{Applicant, mac, open};
use super::acme::order::{Course, KeyKind, Wish, issue};
use super::acme::{Transport, directory, pending};
use super::board::Board;
use super::challenge::Challenge;
use super::folder::Note;
use super::found::{Found, folder, look, out, owner, plain, sorted};
use super::material::Material;
use super::roots;
use super::switch::{Switch, prune};
use super::trace::Trace;
use crate::lock::lock;
use crate::period::{Limit, Period};
use crate::whole::carried;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_core::{hash, units};
use trees_runner::kind::{About, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `tls/certificate`.
pub struct Certificate;

/// What `tls/certificate` takes.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The names the certificate is for; the first is the common one. `*.example.com` needs a proof by DNS.
    pub names: Vec<String>,
    /// The ACME directory: its address, or `letsencrypt`, or `letsencrypt-staging` to try out.
    pub directory: String,
    /// The folder that gets `fullchain.pem`, `privkey.pem`, `cert.pem` and `chain.pem`.
    pub folder: String,
    /// How the names are proved.
    pub challenge: Challenge,
    /// Renewed when less than this is left; without, in the last third of its life (30 days of 90).
    #[serde(default)]
    pub renew_before: Option<Period>,
    /// The kind of its private key.
    #[serde(default = "small")]
    pub key: KeyKind,
    /// Whom the directory may write to.
    #[serde(default)]
    pub email: Option<String>,
    /// The file of the account's key; without, one in the state folder for each directory.
    #[serde(default)]
    pub account: Option<String>,
    /// A PEM file with the roots to trust when talking to the directory; for one of your own.
    #[serde(default)]
    pub roots: Option<String>,
    /// The key id of an account at the authority's own site (external account binding).
    #[serde(default)]
    pub eab_kid: Option<String>,
    /// Its key in base64url; a secret.
    #[serde(default)]
    pub eab_hmac: Option<String>,
    /// By when the certificate must be there.
    #[serde(default = "five_minutes", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
}

fn small() -> KeyKind {
    KeyKind::EcdsaP256
}

fn five_minutes() -> Period {
    Period::seconds(300)
}

/// What `tls/certificate` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The file with the certificate and what stands behind it.
    pub fullchain: String,
    /// The file with its private key.
    pub privkey: String,
    /// The file with the certificate alone.
    pub cert: String,
    /// The file with what stands behind it.
    pub chain: String,
    /// The names it is for.
    pub names: Vec<String>,
    /// Who signed it, as a distinguished name.
    pub issuer: String,
    /// When it ends (RFC 3339).
    pub not_after: String,
    /// The SHA-256 of the certificate, in hex; another after each renewal.
    pub fingerprint: String,
}

/// How something this kind did is taken back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// Something put up for the directory.
    Trace(Trace),
    /// A version put in use.
    Switch(Switch),
}

impl Kind for Certificate {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "tls/certificate",
        summary: "Have a certificate made by an ACME directory, and renewed in time",
        doc: include_str!("certificate.md"),
        example: "tree: certificate\nsteps:\n  shop:\n    uses: tls/certificate\n    with:\n      names: [shop.example.com, www.shop.example.com]\n      \
                  directory: letsencrypt-staging\n      email: ops@example.com\n      folder: /etc/tls/shop\n      \
                  challenge: { http: { folder: /var/www/html } }\n",
        effect: Effect::External,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: false,
        file_inputs: &["roots"],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong = wrong_names(&with.names);
        if let Err(why) = crate::http::url(directory(&with.directory)) {
            wrong.push(format!("directory: {}; or write `letsencrypt` or `letsencrypt-staging`", why.trim_start_matches("url: ")));
        }
        if with.folder.is_empty() {
            wrong.push("folder: it is empty".into());
        }
        if with.email.as_ref().is_some_and(|email| !email.contains('@')) {
            wrong.push("email: it has no `@`".into());
        }
        match (&with.eab_kid, &with.eab_hmac) {
            (Some(_), Some(hmac)) => wrong.extend(mac(hmac).err().map(|e| e.message)),
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => wrong.push("eab_kid: it goes with `eab_hmac`".into()),
        }
        wrong.extend(with.challenge.wrong(&with.names));
        wrong
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        Ok(look(with, cx)?.map_or(Observation::Absent, |found| found.observation()))
    }

    /// In a task of its own: an attempt that is given up half-way still takes away what it put up.
    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        carried("the order", with, cx, |with, cx| async move { alone(&with, &cx).await }).await
    }

    async fn verify(with: &With, out: &Out, cx: &ReadCx) -> Result<(), KindError> {
        let found = look(with, cx)?.ok_or_else(|| KindError::new(format!("there is no certificate in `{}`", with.folder)))?;
        let wrong: Vec<&str> = found.changes.iter().map(|change| change.field.as_str()).filter(|field| *field != "not_after").collect();
        match &found.out {
            Some(there) if wrong.is_empty() && there.fingerprint == out.fingerprint => Ok(()),
            Some(_) if wrong.is_empty() => {
                Err(KindError::new(format!("`{}` has another certificate than the one that was made", with.folder)))
            }
            Some(_) | None => Err(KindError::new(format!("`{}` is not as it should be: {}", with.folder, wrong.join(", ")))),
        }
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        match recorded(record)? {
            Record::Trace(trace) => trace.remove(cx).await,
            Record::Switch(switch) => {
                let home = home(&cx.state, &switch.folder);
                let _locked = lock(&home.join("lock"), &shown(&switch.folder), five_minutes().0, cx).await?;
                switch.undo(cx)
            }
        }
    }
}

fn wrong_names(names: &[String]) -> Vec<String> {
    if names.is_empty() {
        return vec!["names: give at least one".into()];
    }
    let is_name = |name: &str| !name.ends_with('.') && ServerName::try_from(name).is_ok();
    let bad = names.iter().filter(|name| !is_name(name.strip_prefix("*.").unwrap_or(name)));
    let mut wrong: Vec<String> = bad.map(|name| format!("names: `{name}` is no name a certificate can be for")).collect();
    let sorted = sorted(names);
    wrong.extend(sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| format!("names: `{}` stands there twice", pair[0])));
    wrong
}

fn shown(folder: &Path) -> String {
    format!("`{}`", folder.display())
}

/// Where the lock and the order under way of a folder are kept.
fn home(state: &Path, folder: &Path) -> PathBuf {
    state.join("tls").join(short(&folder.to_string_lossy()))
}

fn short(text: &str) -> String {
    hash::bytes(text.as_bytes()).get(..16).unwrap_or_default().to_owned()
}

/// Under the folder's lock.
async fn alone(with: &With, cx: &Cx) -> Result<Out, KindError> {
    let folder = folder(with, cx);
    let home = home(&cx.state, &folder.0);
    let _locked = lock(&home.join("lock"), &shown(&folder.0), with.timeout.0, cx).await?;
    let order = home.join("order.json");
    let material = match look(with, cx)? {
        Some(Found { out: Some(out), changes, .. }) if changes.is_empty() => return Ok(out),
        Some(Found { version, good: true, .. }) => version.material,
        Some(_) | None => obtain(with, cx, &order).await?,
    };
    let leaf = material.leaf().map_err(|why| KindError::new(format!("the directory gave no certificate: {why}")))?;
    if !material.key_fits() {
        pending::forget(&order)?;
        return Err(KindError::transient("the directory gave a certificate for another key"));
    }
    let switch = Switch::plan(&folder, &leaf, &order);
    cx.intend(Record::Switch(switch.clone())).await?;
    let note = Note { owner: owner(cx), directory: directory(&with.directory).into(), names: with.names.clone() };
    switch.stage(&material, &note)?;
    switch.switch()?;
    pending::forget(&order)?;
    prune(&folder, &[Some(switch.version.as_str()), switch.previous.as_deref()].into_iter().flatten().collect::<Vec<_>>());
    cx.log(format!("{}: a certificate for {}, until {}, by {}", folder.0.display(), leaf.shown(), leaf.not_after, leaf.issuer));
    Ok(out(&folder, leaf))
}

/// Orders a certificate; what was put up for it is taken away however it ends.
async fn obtain(with: &With, cx: &Cx, order: &Path) -> Result<Material, KindError> {
    let course = Course::new(cx);
    course.at("asking the directory");
    let limit = with.timeout.0;
    // What is not seen in DNS in time is told with the last answers: before the whole time is over.
    let board = Board::open(&with.challenge, limit * 4 / 5, cx).await?;
    let done = tokio::select! {
        biased;
        () = cx.cancel.cancelled() => Err(KindError::transient(format!("ended while {}", course.last()))),
        done = tokio::time::timeout(limit, ask(with, cx, &board, order, &course)) => {
            done.unwrap_or_else(|_| Err(KindError::transient(format!("no certificate within {}: time ran out while {}", units::show(limit), course.last()))))
        }
    };
    board.clear().await;
    done
}

async fn ask(with: &With, cx: &Cx, board: &Board<'_>, order: &Path, course: &Course<'_>) -> Result<Material, KindError> {
    let directory = directory(&with.directory);
    let client = match &with.roots {
        Some(file) => {
            trees_runner::http::trusting(&roots::bytes(&cx.path(file))?).map_err(|why| KindError::new(format!("roots: {why}")))?
        }
        None => cx.client.get()?,
    };
    let transport = Transport::new(client, cx.read.clone());
    let file = with
        .account
        .as_ref()
        .map_or_else(|| cx.state.join("tls/accounts").join(format!("{}.json", short(directory))), |file| cx.path(file));
    let applicant = Applicant { directory, email: with.email.as_deref(), external: with.eab_kid.as_deref().zip(with.eab_hmac.as_deref()) };
    let account = {
        let place = cx.state.join("tls/accounts").join(format!("{}.lock", short(&file.to_string_lossy())));
        let _locked = lock(&place, "the account", with.timeout.0 * 4 / 5, cx).await?;
        open(&file, &applicant, &transport, cx).await?
    };
    let wish = Wish { directory, names: &plain(&with.names), key: with.key, limit: with.timeout.0 };
    let issued = issue(&account, &wish, board, order, course).await?;
    Ok(Material { fullchain: issued.fullchain, key: issued.key })
}
