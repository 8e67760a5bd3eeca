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
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use trees_runner::kind::{Cx, KindError, ReadCx};

/// How long a new set may be kept, in seconds.
const USUAL: u32 = 300;

/// Who serves the zone; exactly one of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "Choice")]
pub enum Provider {
    /// PowerDNS, by its HTTP API.
    Powerdns(Powerdns),
    /// A server that takes dynamic updates (RFC 2136): BIND, Knot, …
    Rfc2136(Rfc2136),
    /// Cloudflare.
    Cloudflare(Cloudflare),
}

/// How it is written: as one object, so that what is wrong inside one of them is named there.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// PowerDNS, by its HTTP API.
    #[serde(default)]
    powerdns: Option<Powerdns>,
    /// A server that takes dynamic updates (RFC 2136): BIND, Knot, …
    #[serde(default)]
    rfc2136: Option<Rfc2136>,
    /// Cloudflare.
    #[serde(default)]
    cloudflare: Option<Cloudflare>,
}

impl TryFrom<Choice> for Provider {
    type Error = &'static str;

    fn try_from(choice: Choice) -> Result<Self, Self::Error> {
        match (choice.powerdns, choice.rfc2136, choice.cloudflare) {
            (Some(powerdns), None, None) => Ok(Self::Powerdns(powerdns)),
            (None, Some(rfc2136), None) => Ok(Self::Rfc2136(rfc2136)),
            (None, None, Some(cloudflare)) => Ok(Self::Cloudflare(cloudflare)),
            (Some(_) | None, Some(_) | None, Some(_) | None) => Err("give exactly one of powerdns, rfc2136, cloudflare"),
        }
    }
}

impl JsonSchema for Provider {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Provider".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Choice::json_schema(generator);
        schema.insert("description".into(), "Who serves the zone; exactly one of them.".into());
        schema.insert("minProperties".into(), 1.into());
        schema.insert("maxProperties".into(), 1.into());
        schema
    }
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
    /// When the set is not as `old` any more (an error that may pass), or the provider refuses.
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

    /// How long the set is to be kept, in seconds: as given, else as it is, else as usual.
    pub(super) fn ttl(&self, given: Option<u32>, proxied: Option<bool>, old: &Set) -> u32 {
        match self {
            Self::Powerdns(_) | Self::Rfc2136(_) => given.unwrap_or(if old.is_there() { old.ttl } else { USUAL }),
            Self::Cloudflare(_) => super::cloudflare::ttl(given, proxied, old),
        }
    }
}

/// Somebody else was faster.
pub(super) fn changed(at: &Place) -> KindError {
    KindError::transient(format!("somebody changed the records {at} at the same time; nothing was written"))
        .help("try again: the next try looks at them anew")
}
