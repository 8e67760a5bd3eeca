//! Who serves a zone, as an input of a kind, and how its sets of records are read and written.
//!
//! A kind takes a [`Provider`] in its `with`. [`Provider::read`] gets a context that cannot write.
//! [`Provider::write`] replaces a set as it was read by another, or does nothing where it is not so
//! any more. A record of what is taken back may hold a provider: its secrets stand there as stars,
//! and [`Provider::with_secrets_of`] puts those of the step's `with` in their place.

use super::cloudflare::Cloudflare;
use super::place::Place;
use super::powerdns::Powerdns;
use super::rfc2136::Rfc2136;
use super::set::Set;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trees_runner::kind::{Cx, KindError, ReadCx};

/// Who serves the zone; exactly one of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Provider {
    /// PowerDNS, by its HTTP API.
    Powerdns(Powerdns),
    /// A server that takes dynamic updates (RFC 2136): BIND, Knot, …
    Rfc2136(Rfc2136),
    /// Cloudflare.
    Cloudflare(Cloudflare),
}

impl Provider {
    /// What is wrong with it, one sentence each.
    pub fn validate(&self) -> Vec<String> {
        match self {
            Self::Powerdns(powerdns) => powerdns.validate(),
            Self::Rfc2136(rfc2136) => rfc2136.validate(),
            Self::Cloudflare(cloudflare) => cloudflare.validate(),
        }
    }

    /// The set as the provider has it now; [`Set::none`] where there is none.
    ///
    /// # Errors
    /// When it cannot be told.
    pub async fn read(&self, cx: &ReadCx, at: &Place) -> Result<Set, KindError> {
        match self {
            Self::Powerdns(powerdns) => powerdns.read(cx, at).await,
            Self::Rfc2136(rfc2136) => rfc2136.read(cx, at).await,
            Self::Cloudflare(cloudflare) => cloudflare.read(cx, at).await,
        }
    }

    /// Replaces `old`, which must be as it was read, by `new`, all at once. The caller has recorded
    /// before how that is taken back.
    ///
    /// # Errors
    /// When the set is not as `old` any more ([`changed`]), or the provider refuses.
    pub async fn write(&self, cx: &Cx, at: &Place, old: &Set, new: &Set) -> Result<(), KindError> {
        match self {
            Self::Powerdns(powerdns) => powerdns.write(cx, at, old, new).await,
            Self::Rfc2136(rfc2136) => rfc2136.write(cx, at, old, new).await,
            Self::Cloudflare(cloudflare) => cloudflare.write(cx, at, old, new).await,
        }
    }

    /// The same place with the secrets of another; `None` where that is another kind of provider.
    #[must_use]
    pub fn with_secrets_of(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Powerdns(own), Self::Powerdns(other)) => Some(Self::Powerdns(Powerdns { key: other.key.clone(), ..own.clone() })),
            (Self::Rfc2136(own), Self::Rfc2136(other)) => Some(Self::Rfc2136(Rfc2136 { secret: other.secret.clone(), ..own.clone() })),
            (Self::Cloudflare(own), Self::Cloudflare(other)) => {
                Some(Self::Cloudflare(Cloudflare { token: other.token.clone(), ..own.clone() }))
            }
            (Self::Powerdns(_) | Self::Rfc2136(_) | Self::Cloudflare(_), _) => None,
        }
    }

    /// Whether the set is to have Cloudflare before it; `None` where that cannot be.
    pub(super) fn proxied(&self, at: &Place, old: &Set) -> Option<bool> {
        match self {
            Self::Powerdns(_) | Self::Rfc2136(_) => None,
            Self::Cloudflare(cloudflare) => cloudflare.proxied(at.kind(), old),
        }
    }

    /// What a new set gets where no time is given, in seconds.
    pub(super) fn usual_ttl(&self) -> u32 {
        match self {
            Self::Powerdns(_) | Self::Rfc2136(_) => 300,
            Self::Cloudflare(_) => super::cloudflare::AUTOMATIC,
        }
    }
}

/// Somebody else was faster.
pub(super) fn changed(at: &Place) -> KindError {
    KindError::transient(format!("somebody changed the records {at} at the same time; nothing was written"))
        .help("try again: the next try looks at them anew")
}
