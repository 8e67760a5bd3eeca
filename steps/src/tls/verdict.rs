//! What is wrong with the certificates a server showed, all of it at once.

use super::leaf::Leaf;
use jiff::Timestamp;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};
use std::time::Duration;

/// One thing that is wrong; the worst come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// No connection.
    Unreachable,
    /// A connection, but no TLS.
    Handshake,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// It is for other names.
    Name,
    /// It signed itself.
    SelfSigned,
    /// No known root stands behind it.
    Untrusted,
    /// Another authority than the wanted one.
    Issuer,
    /// Its time is over soon.
    Soon,
}

impl Wrong {
    /// The word that begins its sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Handshake => "no TLS handshake",
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
            Self::Name => "wrong name",
            Self::SelfSigned => "self-signed",
            Self::Untrusted => "untrusted",
            Self::Issuer => "wrong issuer",
            Self::Soon => "expires soon",
        }
    }

    /// The cure.
    pub fn help(self) -> &'static str {
        match self {
            Self::Unreachable => "does the server run, and does a firewall or DNS stand between? `address` connects past DNS",
            Self::Handshake => "does the server speak TLS 1.2 or 1.3 on this port, without a question for a certificate of ours?",
            Self::Expired | Self::Soon => "renew the certificate (`tls/certificate` does) and have the server read it anew",
            Self::NotYetValid => "is the clock of this machine right? Otherwise wait, or have the certificate made anew",
            Self::Name => "have a certificate made for this name, or ask for another by `name`; a server with several picks by name",
            Self::SelfSigned | Self::Untrusted => {
                "name the authority's certificate in `roots`, have the server send the whole chain, or set `chain: false`"
            }
            Self::Issuer => "the server has a certificate of another authority than `issuer` says",
        }
    }
}

/// What a certificate must be.
pub struct Wanted<'a> {
    /// It must be for this name.
    pub name: &'a ServerName<'static>,
    /// At least so many days must be left.
    pub days_left: i64,
    /// Its issuer must contain this.
    pub issuer: Option<&'a str>,
    /// A root must stand behind it.
    pub chain: bool,
    /// The roots.
    pub roots: &'a RootCertStore,
}

/// What was found.
pub struct Verdict {
    /// A root stands behind it.
    pub trusted: bool,
    /// What is wrong, the worst first, each with its sentence.
    pub wrong: Vec<(Wrong, String)>,
}

impl Verdict {
    /// All that is wrong in one line.
    pub fn text(&self) -> String {
        self.wrong.iter().map(|(wrong, text)| format!("{}: {text}", wrong.word())).collect::<Vec<_>>().join("; ")
    }
}

/// Judges a chain at a moment.
pub fn judge(leaf: &Leaf, chain: &[CertificateDer<'static>], wanted: &Wanted<'_>, now: Timestamp) -> Verdict {
    let trust = trust(leaf, chain, wanted.roots, now);
    let mut wrong: Vec<(Wrong, String)> = time(leaf, wanted.days_left, now).into_iter().collect();
    wrong.extend(name(leaf, chain, wanted.name));
    if wanted.chain {
        wrong.extend(trust.clone().err());
    }
    if let Some(issuer) = wanted.issuer.filter(|issuer| !leaf.issuer.contains(*issuer)) {
        wrong.push((Wrong::Issuer, format!("it is of `{}`, not of `{issuer}`", leaf.issuer)));
    }
    wrong.sort_by_key(|(wrong, _)| *wrong);
    Verdict { trusted: trust.is_ok(), wrong }
}

fn time(leaf: &Leaf, wanted: i64, now: Timestamp) -> Option<(Wrong, String)> {
    let left = leaf.days_left(now);
    if now > leaf.not_after {
        let ago = if left < -1 { days(-left - 1) } else { "less than a day".into() };
        Some((Wrong::Expired, format!("{ago} ago, on {}", leaf.not_after)))
    } else if now < leaf.not_before {
        Some((Wrong::NotYetValid, format!("only from {}", leaf.not_before)))
    } else if left < wanted {
        Some((Wrong::Soon, format!("in {}, on {}; wanted at least {}", days(left), leaf.not_after, days(wanted))))
    } else {
        None
    }
}

fn days(days: i64) -> String {
    if days == 1 { "1 day".into() } else { format!("{days} days") }
}

fn name(leaf: &Leaf, chain: &[CertificateDer<'static>], name: &ServerName<'static>) -> Option<(Wrong, String)> {
    let fits = chain.first().and_then(|der| ParsedCertificate::try_from(der).ok()).is_some_and(|c| verify_server_name(&c, name).is_ok());
    (!fits).then(|| (Wrong::Name, format!("it is for {}, not for {}", leaf.shown(), name.to_str())))
}

/// Whether a root stands behind it. Looked at in the time of the certificate itself: that this is
/// over is said apart.
fn trust(leaf: &Leaf, chain: &[CertificateDer<'static>], roots: &RootCertStore, now: Timestamp) -> Result<(), (Wrong, String)> {
    let Some((first, others)) = chain.split_first() else { return Err((Wrong::Untrusted, "the server sent no certificate".into())) };
    let moment = now.clamp(leaf.not_before, leaf.not_after.max(leaf.not_before)).as_second();
    let moment = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(moment).unwrap_or_default()));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    ParsedCertificate::try_from(first)
        .and_then(|first| verify_server_cert_signed_by_trust_anchor(&first, roots, others, moment, algorithms))
        .map_err(|e| distrust(leaf, others.len(), &e))
}

fn distrust(leaf: &Leaf, others: usize, error: &rustls::Error) -> (Wrong, String) {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) if leaf.self_signed => {
            (Wrong::SelfSigned, format!("`{}` signed it itself and is no known root", leaf.issuer))
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            let sent = match others {
                0 => "the server sent no other certificate with it",
                1 => "the server sent one more certificate with it",
                _ => "the server sent more certificates with it",
            };
            (Wrong::Untrusted, format!("no known root stands behind its issuer `{}`; {sent}", leaf.issuer))
        }
        other => (Wrong::Untrusted, other.to_string()),
    }
}
