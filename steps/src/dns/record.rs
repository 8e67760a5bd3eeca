//! `dns/record`: a set of records as it is written here.

use super::ask::{Manner, Server};
use super::check::{Expected, wrong};
use super::place::Place;
use super::provider::Provider;
use super::set::{self, Set};
use super::value::Type;
use super::{Texts, answer, shown};
use crate::period::Period;
use crate::window::{Probe, Window};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `dns/record`.
pub struct Record;

/// What `dns/record` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The zone: `example.org`.
    pub zone: String,
    /// The name in it: `app`, or whole `app.example.org`; `@` is the zone itself.
    pub name: String,
    /// The type of the records.
    #[serde(rename = "type")]
    pub kind: Type,
    /// All values of the set, one or a list, in whatever order. Names in them are whole; `@` is the zone.
    #[serde(default)]
    pub values: Texts,
    /// How long they may be kept, in whole seconds; without, as long as those that are there, and new
    /// ones 5 minutes (at Cloudflare: automatic).
    #[serde(default)]
    pub ttl: Option<Period>,
    /// Whether there is to be such a set.
    #[serde(default)]
    pub state: State,
    /// Who serves the zone.
    pub provider: Provider,
    /// Change records too that this project and environment do not own.
    #[serde(default)]
    pub take_over: bool,
    /// A name server of the zone, `host` or `host:port`, that must answer so before the step has
    /// succeeded; without, the provider is asked again.
    #[serde(default)]
    pub authority: Option<String>,
    /// By when `authority` must answer so.
    #[serde(default = "within")]
    pub within: Period,
}

fn within() -> Period {
    Period::seconds(90)
}

/// Whether there is a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There is, with exactly these values.
    #[default]
    Present,
    /// There is none, whatever `values` says.
    Absent,
}

/// What `dns/record` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The whole name, without a dot at its end.
    pub name: String,
    /// The values; none where there are to be none.
    pub values: Vec<String>,
    /// How long they may be kept, in seconds.
    pub ttl: u32,
}

/// How a change is taken back.
#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    /// Its secrets stand here as stars.
    provider: Provider,
    zone: String,
    name: String,
    kind: Type,
    before: Set,
    after: Set,
}

const LONGEST: u64 = 0x7FFF_FFFF;
const EVERY: Duration = Duration::from_millis(500);
/// For one answer of the authority.
const LIMIT: Duration = Duration::from_secs(5);

impl Kind for Record {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "dns/record",
        summary: "Make a set of DNS records so",
        doc: include_str!("record.md"),
        example: "tree: address\nsecrets:\n  PDNS_KEY: {}\nsteps:\n  app:\n    uses: dns/record\n    with:\n      zone: example.org\n      \
                  name: app\n      type: A\n      values: [192.0.2.10, 192.0.2.11]\n      ttl: 5m\n      provider:\n        \
                  powerdns: { url: \"http://127.0.0.1:8081\", key: \"{{ secrets.PDNS_KEY }}\" }\n      authority: 127.0.0.1:53\n",
        effect: Effect::External,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: true,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong = match Place::new(&with.zone, &with.name, with.kind) {
            Ok(at) => at.values(with.values.as_slice()).err().unwrap_or_default(),
            Err(e) => vec![e],
        };
        let count = with.values.as_slice().len();
        if with.state == State::Present && count == 0 {
            wrong.push("values: there is none; to remove the set write `state: absent`".into());
        }
        if with.kind == Type::Cname && count > 1 {
            wrong.push("values: a name has at most one CNAME".into());
        }
        if with.ttl.is_some_and(|ttl| ttl.0.subsec_nanos() != 0 || ttl.0.as_secs() > LONGEST) {
            wrong.push(format!("ttl: it must be whole seconds, at most {LONGEST}"));
        }
        wrong.extend(with.provider.validate());
        if let Some(Err(e)) = with.authority.as_deref().map(Server::read) {
            wrong.push(format!("authority: `{}` {e}", with.authority.as_deref().unwrap_or_default()));
        }
        if let Provider::Cloudflare(cloudflare) = &with.provider
            && cloudflare.proxied == Some(true)
        {
            wrong.extend(proxied(with));
        }
        wrong
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let at = place(with)?;
        let found = with.provider.read(cx, &at).await?;
        let wanted = wanted(with, cx, &at, &found)?;
        if is_so(cx, &found, &wanted) {
            return Ok(Observation::Satisfied(out(&at, &found)));
        }
        owned(with, cx, &at, &found)?;
        if !found.is_there() && wanted.is_there() {
            return Ok(Observation::Absent);
        }
        Ok(Observation::Differs(found.changes_to(&wanted)))
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let at = place(with)?;
        let found = with.provider.read(cx, &at).await?;
        let wanted = wanted(with, cx, &at, &found)?;
        if is_so(cx, &found, &wanted) {
            return Ok(out(&at, &found));
        }
        owned(with, cx, &at, &found)?;
        let (before, after) = (found.clone(), wanted.clone());
        let taken = Taken { provider: with.provider.clone(), zone: at.zone(), name: at.name(), kind: with.kind, before, after };
        recordable(cx, &at, &taken)?;
        cx.intend(taken).await?;
        with.provider.write(cx, &at, &found, &wanted).await?;
        cx.log(format!("{at}: {} instead of {}", shown(&wanted.values), shown(&found.values)));
        Ok(out(&at, &wanted))
    }

    async fn verify(with: &With, _out: &Out, cx: &ReadCx) -> Result<(), KindError> {
        let at = place(with)?;
        let Some(authority) = &with.authority else {
            let found = with.provider.read(cx, &at).await?;
            let wanted = wanted(with, cx, &at, &found)?;
            if found.answers_as(&wanted) {
                return Ok(());
            }
            let changes = found.changes_to(&wanted);
            let fields: Vec<String> = changes.iter().map(|c| format!("{} is {}, wanted {}", c.field, c.old, c.new)).collect();
            return Err(KindError::transient(format!("the provider has {at} otherwise: {}", fields.join("; "))));
        };
        answered(with, cx, &at, authority).await
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let taken: Taken = recorded(record)?;
        let at = Place::new(&taken.zone, &taken.name, taken.kind).map_err(KindError::new)?;
        let provider = with_secrets(&taken.provider, cx)?;
        let now = provider.read(cx, &at).await?;
        if now.is_as(&taken.before) {
            return Ok(());
        }
        if !now.is_as(&taken.after) {
            let now = if now.is_there() { shown(&now.values) } else { "none".into() };
            return Err(KindError::new(format!("{at} was changed by somebody since (now: {now}); it is left alone"))
                .help(format!("before this step it was: {}; put that back by hand if it is still right", shown(&taken.before.values))));
        }
        provider.write(cx, &at, &now, &taken.before).await
    }
}

fn proxied(with: &With) -> Vec<String> {
    let mut wrong = Vec::new();
    if !matches!(with.kind, Type::A | Type::Aaaa | Type::Cname) {
        wrong.push(format!("provider.cloudflare.proxied: Cloudflare stands before A, AAAA and CNAME only, not {}", with.kind));
    }
    if with.ttl.is_some() {
        wrong.push("ttl: Cloudflare chooses it where `proxied` is true; leave it out".into());
    }
    if with.authority.is_some() {
        wrong.push("authority: the answers are Cloudflare's own addresses where `proxied` is true; leave it out".into());
    }
    wrong
}

fn place(with: &With) -> Result<Place, KindError> {
    Place::new(&with.zone, &with.name, with.kind).map_err(KindError::new)
}

/// The set as it must be, given what is there.
fn wanted(with: &With, cx: &ReadCx, at: &Place, found: &Set) -> Result<Set, KindError> {
    if with.state == State::Absent {
        return Ok(Set::none());
    }
    let values = at.values(with.values.as_slice()).map_err(|wrong| KindError::new(wrong.join("; ")))?;
    let proxied = with.provider.proxied(at, found);
    let given = with.ttl.and_then(|ttl| u32::try_from(ttl.0.as_secs()).ok());
    let ttl = with.provider.ttl(given, proxied, found);
    Ok(Set { values, ttl, mark: Some(set::mark(cx)), proxied, extra: Json::Null })
}

/// Nothing is to be done: the answers are right, and no mark of ours is left beside nothing.
fn is_so(cx: &ReadCx, found: &Set, wanted: &Set) -> bool {
    found.answers_as(wanted) && (found.is_there() || found.mark != Some(set::mark(cx)))
}

/// Records of others are left alone.
fn owned(with: &With, cx: &ReadCx, at: &Place, found: &Set) -> Result<(), KindError> {
    let own = set::mark(cx);
    if with.take_over || !found.is_there() || found.mark.as_ref() == Some(&own) {
        return Ok(());
    }
    let whose = found.mark.as_ref().map_or_else(|| "nobody's mark".to_owned(), |mark| format!("the mark {mark}"));
    let values = cx.head(&shown(&found.values), 300);
    Err(KindError::new(format!("{at} is there already ({values}) and has {whose}, not {own}; it is left alone"))
        .help("write `take_over: true` to change it all the same; it is marked as this project's then"))
}

/// What is recorded is masked; a set with a secret in it could not be put back.
fn recordable(cx: &ReadCx, at: &Place, taken: &Taken) -> Result<(), KindError> {
    let sets = serde_json::to_string(&(&taken.before, &taken.after)).unwrap_or_default();
    if cx.mask.finds(&sets) {
        return Err(KindError::new(format!(
            "a value of {at} holds a secret of this tree, and everybody can read a record of DNS; nothing was written"
        ))
        .help("leave it out of `secrets:` if it is meant to be public"));
    }
    Ok(())
}

fn out(at: &Place, set: &Set) -> Out {
    let ttl = if set.is_there() { set.ttl } else { 0 };
    Out { name: at.name().trim_end_matches('.').to_owned(), values: set.values.iter().cloned().collect(), ttl }
}

/// The provider as recorded, with the secrets that the step has now.
fn with_secrets(recorded: &Provider, cx: &Cx) -> Result<Provider, KindError> {
    let now = cx.with.get("provider").and_then(|provider| Provider::deserialize(provider).ok());
    now.and_then(|now| recorded.with_secrets_of(&now)).ok_or_else(|| {
        KindError::new("cannot take the records back: the step has no credentials for their provider any more")
            .help("secrets are not recorded: `provider` must be there, and of the same sort, while a run may be taken back")
    })
}

/// The authority must answer so; what is kept somewhere on the way may need its time.
async fn answered(with: &With, cx: &ReadCx, at: &Place, authority: &str) -> Result<(), KindError> {
    let server = Server::read(authority).map_err(|e| KindError::new(format!("authority: `{authority}` {e}")))?;
    let values = match with.state {
        State::Absent => BTreeSet::new(),
        State::Present => at.values(with.values.as_slice()).map_err(|wrong| KindError::new(wrong.join("; ")))?,
    };
    let expected = Expected { values: Some(values), contains: BTreeSet::new() };
    let window = Window { ok_in_row: 1, every: EVERY, first_ok_within: with.within.0, stable_for: Duration::ZERO };
    let manner = Manner { key: None, recursion: false, limit: LIMIT };
    let probe = || async {
        match answer::look(cx, &server, &at.name, at.kind(), manner).await {
            Ok(answer) => match wrong(&expected, &answer) {
                Some(wrong) => Probe::bad(cx.head(&wrong, 400)),
                None if !answer.authoritative && at.kind() != Type::Ns => Probe::bad("it does not speak for the zone"),
                None => Probe::good((), answer.text),
            },
            Err(e) => Probe::bad(cx.head(&e, 400)),
        }
    };
    window.pass(cx, &format!("{at} at {server}"), probe).await.map(|_| ())
}
