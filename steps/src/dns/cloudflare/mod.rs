//! Cloudflare by its HTTP API.
//!
//! It keeps records one by one; a set is written as one batch, which is one transaction there.

mod records;

use crate::dns::api::{self, Answer};
use crate::dns::place::Place;
use crate::dns::provider::changed;
use crate::dns::secret::Secret;
use crate::dns::set::Set;
use crate::dns::value::Type;
use crate::http;
use records::{Found, Record, batch, can_be_proxied, found};
use reqwest::{RequestBuilder, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trees_core::event::Json;
use trees_runner::kind::{Cx, KindError, ReadCx};

/// The time to keep with which Cloudflare chooses itself.
const AUTOMATIC: u32 = 1;
/// Stands for times that differ within a set; no record has it.
const MIXED: u32 = 0;
/// How many records it lists at once.
const PAGE: u32 = 100;
/// Pages of one set; it does not allow so many records of a name.
const PAGES: u32 = 100;
/// There is such a record already, or one just like it.
const THERE: [u32; 2] = [81057, 81058];

/// Cloudflare.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cloudflare {
    /// Where its API is.
    #[serde(default = "base")]
    pub url: String,
    /// An API token that may edit the DNS of the zone.
    pub token: Secret,
    /// Whether Cloudflare stands before the address (A, AAAA and CNAME); without, as it is, and a new
    /// record is not.
    #[serde(default)]
    pub proxied: Option<bool>,
}

/// How long a set is to be kept: where Cloudflare stands before it, it always chooses itself.
pub(in crate::dns) fn ttl(given: Option<u32>, proxied: Option<bool>, old: &Set) -> u32 {
    let as_it_is = || Some(old.ttl).filter(|ttl| old.is_there() && old.proxied == proxied && *ttl != MIXED);
    if proxied == Some(true) { AUTOMATIC } else { given.or_else(as_it_is).unwrap_or(AUTOMATIC) }
}

fn base() -> String {
    "https://api.cloudflare.com/client/v4".into()
}

/// What every answer is wrapped in.
#[derive(Deserialize)]
struct Envelope<T> {
    success: bool,
    #[serde(default)]
    errors: Vec<Problem>,
    result: Option<T>,
    #[serde(default)]
    result_info: Option<Pages>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    error_chain: Vec<Problem>,
}

#[derive(Deserialize)]
struct Pages {
    #[serde(default)]
    total_pages: u32,
}

#[derive(Deserialize)]
struct Zone {
    id: String,
    name: String,
}

impl Cloudflare {
    pub(in crate::dns) fn validate(&self) -> Vec<String> {
        http::url(&self.url).err().map(|e| format!("provider.cloudflare.{e}")).into_iter().collect()
    }

    /// Whether the set is to have Cloudflare before it; `None` where that cannot be.
    pub(in crate::dns) fn proxied(&self, kind: Type, old: &Set) -> Option<bool> {
        can_be_proxied(kind).then(|| self.proxied.or(old.proxied).unwrap_or(false))
    }

    pub(in crate::dns) async fn read(&self, cx: &ReadCx, at: &Place) -> Result<Set, KindError> {
        let zone = self.zone(cx, at).await?;
        Ok(self.find(cx, at, &zone).await?.set)
    }

    pub(in crate::dns) async fn write(&self, cx: &Cx, at: &Place, old: &Set, new: &Set) -> Result<(), KindError> {
        let zone = self.zone(cx, at).await?;
        // Its API has no condition: this is as near to the write as can be.
        let found = self.find(cx, at, &zone).await?;
        if !found.set.is_as(old) {
            return Err(changed(at));
        }
        let body = batch(at, &found, new)?;
        let request = cx.client.get()?.post(self.at(&["zones", &zone, "dns_records", "batch"])?).json(&body);
        let answer = self.send(cx, &format!("write {at}"), request).await?;
        let Err((error, codes)) = opened::<Json>(cx, &answer) else { return Ok(()) };
        if !codes.iter().any(|code| THERE.contains(code)) {
            return Err(error);
        }
        // Somebody made the same record at the same time: where all is as it must be, it is ours now.
        let now = self.find(cx, at, &zone).await?.set;
        if now.answers_as(new) { Ok(()) } else { Err(KindError { transient: true, ..error }) }
    }

    fn at(&self, path: &[&str]) -> Result<Url, KindError> {
        let mut url = http::url(&self.url).map_err(KindError::new)?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Ok(url)
    }

    async fn send(&self, cx: &ReadCx, what: &str, request: RequestBuilder) -> Result<Answer, KindError> {
        api::send(cx, format!("cannot {what} at Cloudflare"), request.bearer_auth(self.token.expose())).await
    }

    async fn zone(&self, cx: &ReadCx, at: &Place) -> Result<String, KindError> {
        let name = at.zone();
        let name = name.trim_end_matches('.');
        let mut url = self.at(&["zones"])?;
        url.query_pairs_mut().append_pair("name", name);
        let answer = self.send(cx, &format!("find the zone {name}"), cx.http.get(url)?).await?;
        let zones: Vec<Zone> = opened(cx, &answer).map_err(|(error, _)| error)?.0;
        let found = zones.into_iter().find(|zone| zone.name.eq_ignore_ascii_case(name)).map(|zone| zone.id);
        found.ok_or_else(|| {
            KindError::new(format!("Cloudflare has no zone {name} that this token may see"))
                .help("look at `zone`, and give the token the permission Zone / DNS / Edit for it")
        })
    }

    async fn find(&self, cx: &ReadCx, at: &Place, zone: &str) -> Result<Found, KindError> {
        let mut records = Vec::new();
        for page in 1..=PAGES {
            let mut url = self.at(&["zones", zone, "dns_records"])?;
            url.query_pairs_mut()
                .append_pair("name.exact", at.name().trim_end_matches('.'))
                .append_pair("type", at.kind().as_str())
                .append_pair("per_page", &PAGE.to_string())
                .append_pair("page", &page.to_string());
            let answer = self.send(cx, &format!("read {at}"), cx.http.get(url)?).await?;
            let (more, pages): (Vec<Record>, u32) = opened(cx, &answer).map_err(|(error, _)| error)?;
            records.extend(more);
            if page >= pages {
                return found(at, records);
            }
        }
        Err(KindError::new(format!("cannot read {at} at Cloudflare: it lists more than {PAGES} pages of them")))
    }
}

/// What is in an answer and how many pages there are; else the error and the codes in it.
fn opened<T: serde::de::DeserializeOwned>(cx: &ReadCx, answer: &Answer) -> Result<(T, u32), (KindError, Vec<u32>)> {
    let nothing = |e: KindError| (e, Vec::new());
    let envelope: Envelope<Json> = match answer.json(cx) {
        Ok(envelope) => envelope,
        Err(_) if !answer.is_fine() => return Err(nothing(answer.refused(cx, None))),
        Err(e) => return Err(nothing(e)),
    };
    if envelope.success && answer.is_fine() {
        let pages = envelope.result_info.map_or(1, |info| info.total_pages);
        let whole: Envelope<T> = answer.json(cx).map_err(nothing)?;
        let missing = || nothing(answer.refused(cx, Some("success without a result")));
        return Ok((whole.result.ok_or_else(missing)?, pages));
    }
    let all: Vec<&Problem> = envelope.errors.iter().flat_map(|problem| [problem].into_iter().chain(&problem.error_chain)).collect();
    let words: Vec<String> = all.iter().map(|problem| format!("{} ({})", problem.message, problem.code)).collect();
    let error = answer.refused(cx, Some(&words.join("; ")));
    let help = matches!(answer.status, 401 | 403);
    let error = if help { error.help("`token` must be an API token with the permission Zone / DNS / Edit for the zone") } else { error };
    Err((error, all.iter().map(|problem| problem.code).collect()))
}
