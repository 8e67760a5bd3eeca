//! `tls/check`: does the server show the right certificate, and for how long yet?

use super::leaf::Leaf;
use super::roots;
use super::starttls::StartTls;
use super::verdict::{Wanted, Wrong, judge};
use super::wire::{self, Missed, Target};
use crate::number::Port;
use crate::period::{Limit, Period};
use crate::window::{Probe, Window};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use trees_core::tree::Effect;
use trees_core::units;
use trees_runner::kind::{About, Cx, Kind, KindError};

/// The kind `tls/check`.
pub struct Check;

/// What `tls/check` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The host, by name or address.
    pub host: String,
    /// The port.
    #[serde(default = "https")]
    pub port: Port,
    /// Connect to this host or address instead, where DNS does not point there yet.
    #[serde(default)]
    pub address: Option<String>,
    /// The name that is asked for and that the certificate must be for; without, `host`.
    #[serde(default)]
    pub name: Option<String>,
    /// So many days must be left at least; 0: it must not be over.
    #[serde(default = "fortnight")]
    pub days_left: u16,
    /// The issuer's distinguished name must contain this, like `Let's Encrypt`.
    #[serde(default)]
    pub issuer: Option<String>,
    /// A known root must stand behind it; with `false` a certificate that signed itself is good too.
    #[serde(default = "crate::default::yes")]
    pub chain: bool,
    /// A PEM file with the roots to trust; without, those of `SSL_CERT_FILE` or of the system.
    #[serde(default)]
    pub roots: Option<String>,
    /// The protocol in which TLS is asked for first: `smtp` or `postgres`.
    #[serde(default)]
    pub starttls: Option<StartTls>,
    /// So many good answers in a row.
    #[serde(default = "crate::default::one")]
    pub ok_in_row: u32,
    /// The pause between two probes.
    #[serde(default = "crate::default::half_a_second")]
    pub every: Period,
    /// By when the first good answer of the row must have come.
    #[serde(default = "crate::default::half_a_minute")]
    pub first_ok_within: Period,
    /// How long the row must last.
    #[serde(default = "crate::default::at_once")]
    pub stable_for: Period,
    /// For one connection with its handshake.
    #[serde(default = "crate::default::ten_seconds", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
}

fn https() -> Port {
    Port(443)
}

fn fortnight() -> u16 {
    14
}

/// What `tls/check` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// Whole days until the certificate ends.
    pub days_left: i64,
    /// When it ends (RFC 3339).
    pub not_after: String,
    /// The names and addresses it is for.
    pub names: Vec<String>,
    /// Who signed it, as a distinguished name.
    pub issuer: String,
    /// The SHA-256 of the certificate, in hex.
    pub fingerprint: String,
    /// A known root stands behind it (looked at even with `chain: false`).
    pub trusted: bool,
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: String,
    /// The address that answered.
    pub address: String,
}

impl Kind for Check {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "tls/check",
        summary: "Check the certificate a server shows, and how long it lasts",
        doc: include_str!("check.md"),
        example: "tree: certificate-in-time\nsteps:\n  shop:\n    uses: tls/check\n    with:\n      host: shop.example.com\n      \
                  days_left: 21\n      issuer: Let's Encrypt\n",
        effect: Effect::None,
        observes: false,
        undoes: false,
        reads_only: true,
        repeats: false,
        deploys: false,
        file_inputs: &["roots"],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let empty = |(field, text): (&str, &str)| text.trim().is_empty().then(|| format!("{field}: it is empty"));
        let texts = [("host", with.host.as_str()), ("address", with.address.as_deref().unwrap_or("-"))];
        let mut wrong: Vec<String> = texts.into_iter().filter_map(empty).collect();
        if wrong.is_empty() {
            wrong.extend(name(with).err());
        }
        wrong
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let window = Window {
            ok_in_row: with.ok_in_row.max(1),
            every: with.every.0,
            first_ok_within: with.first_ok_within.0,
            stable_for: with.stable_for.0,
        };
        let name = name(with).map_err(KindError::new)?;
        let roots = known(with, cx)?;
        let worst = Mutex::new(None::<Wrong>);
        let probe = || async {
            let (answer, wrong) = ask(with, &name, &roots).await;
            *worst.lock().unwrap_or_else(PoisonError::into_inner) = wrong;
            answer
        };
        let passed = window.pass(cx, &format!("tls {}:{}", with.host, with.port), probe).await;
        let worst = worst.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (out, _) = passed.map_err(|e| match worst {
            Some(wrong) => e.help(wrong.help()),
            None => e,
        })?;
        cx.log(format!("{}:{}: {} days left, until {}, by {}", with.host, with.port, out.days_left, out.not_after, out.issuer));
        Ok(out)
    }
}

/// The name that is asked for.
fn name(with: &With) -> Result<ServerName<'static>, String> {
    let (field, name) = with.name.as_ref().map_or(("host", &with.host), |name| ("name", name));
    ServerName::try_from(name.clone()).map_err(|_| format!("{field}: `{name}` is neither a DNS name nor an address"))
}

/// The roots to trust. Where the chain does not matter, a system without any is fine.
fn known(with: &With, cx: &Cx) -> Result<RootCertStore, KindError> {
    let file = with.roots.as_ref().map(|file| cx.path(file));
    match roots::read(file.as_deref()) {
        Err(_) if file.is_none() && !with.chain => Ok(RootCertStore::empty()),
        read => read,
    }
}

async fn ask(with: &With, name: &ServerName<'static>, roots: &RootCertStore) -> (Probe<Out>, Option<Wrong>) {
    let target =
        Target { address: with.address.as_ref().unwrap_or(&with.host), port: with.port.0, name: name.clone(), starttls: with.starttls };
    let shown = match tokio::time::timeout(with.timeout.0, wire::look(&target)).await {
        Ok(Ok(shown)) => shown,
        Ok(Err(Missed::Unreachable(text))) => return bad(Wrong::Unreachable, &text),
        Ok(Err(Missed::Handshake(text))) => return bad(Wrong::Handshake, &text),
        Err(_) => return bad(Wrong::Unreachable, &format!("no answer within {}", units::show(with.timeout.0))),
    };
    let leaf = match shown.chain.first().map(|first| Leaf::read(first)) {
        Some(Ok(leaf)) => leaf,
        Some(Err(text)) => return bad(Wrong::Handshake, &text),
        None => return bad(Wrong::Handshake, "the server sent no certificate"),
    };
    let wanted = Wanted { name, days_left: with.days_left.into(), issuer: with.issuer.as_deref(), chain: with.chain, roots };
    let now = Timestamp::now();
    let verdict = judge(&leaf, &shown.chain, &wanted, now);
    if let Some((worst, _)) = verdict.wrong.first() {
        return (Probe::bad(verdict.text()), Some(*worst));
    }
    let days_left = leaf.days_left(now);
    let text = format!("{days_left} days left");
    let out = Out {
        days_left,
        not_after: leaf.not_after.to_string(),
        names: leaf.names,
        issuer: leaf.issuer,
        fingerprint: leaf.fingerprint,
        trusted: verdict.trusted,
        protocol: shown.protocol,
        address: shown.address,
    };
    (Probe::good(out, text), None)
}

fn bad(wrong: Wrong, text: &str) -> (Probe<Out>, Option<Wrong>) {
    (Probe::bad(format!("{}: {text}", wrong.word())), Some(wrong))
}
