//! `dns/check`: do the name servers answer as they should?

use super::answer::{self, Answer};
use super::ask::{Manner, Server};
use super::authorities;
use super::value::{self, Type};
use super::{Texts, shown};
use crate::period::{Limit, Period};
use crate::window::{Probe, Window};
use futures_util::future::join_all;
use hickory_proto::rr::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Cx, Kind, KindError, ReadCx};

/// The kind `dns/check`.
pub struct Check;

/// What `dns/check` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The whole name: `app.example.org`.
    pub name: String,
    /// The type of the records.
    #[serde(rename = "type")]
    pub kind: Type,
    /// The values, one or a list, exactly these in whatever order; an empty list: there must be none.
    #[serde(default)]
    pub values: Option<Texts>,
    /// Values, one or a list, that must be among them.
    #[serde(default)]
    pub contains: Option<Texts>,
    /// Who is asked, `host` or `host:port`, one or a list; without, all name servers of the zone.
    #[serde(default)]
    pub server: Option<Texts>,
    /// Who is asked for the name servers of the zone; without, the system's resolvers.
    #[serde(default)]
    pub resolver: Option<String>,
    /// So many good rounds in a row.
    #[serde(default = "crate::default::one")]
    pub ok_in_row: u32,
    /// The pause between two rounds.
    #[serde(default = "crate::default::a_second")]
    pub every: Period,
    /// By when the first good round of the row must have come.
    #[serde(default = "crate::default::a_minute")]
    pub first_ok_within: Period,
    /// How long the row must last.
    #[serde(default = "crate::default::at_once")]
    pub stable_for: Period,
    /// For one answer.
    #[serde(default = "crate::default::five_seconds", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
}

/// What `dns/check` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The values that all servers gave.
    pub values: Vec<String>,
    /// The shortest time for which they may be kept, in seconds.
    pub ttl: u32,
    /// Every server spoke for the zone itself.
    pub authoritative: bool,
    /// Who was asked.
    pub servers: Vec<String>,
}

/// What must be found.
pub(super) struct Expected {
    /// Exactly these.
    pub values: Option<BTreeSet<String>>,
    /// Among others.
    pub contains: BTreeSet<String>,
}

impl Kind for Check {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "dns/check",
        summary: "Ask name servers until they answer as they should",
        doc: "Asks for the records of `name` and `type` every `every` until `ok_in_row` rounds in a row were good and the row lasted \
              `stable_for`. It asks `server`, or all name servers of the zone, which it finds through the system's resolvers \
              (`/etc/resolv.conf`); those must speak for the zone. A round is good when every server answers, all give the same \
              values, and these are the `values`, or contain `contains`; without both, any record is good. The row must begin within \
              `first_ok_within`.\n\n\
              Values are compared as records, not as texts: dots at the end, upper case, quotes, the parts of a long text, forms of an \
              address and the order do not count. Told apart are NXDOMAIN (there is no such name), NODATA (the name has no record of \
              this type), SERVFAIL, REFUSED, an answer that does not come, and a server that does not speak for the zone.",
        example: "tree: is-it-known\nsteps:\n  known:\n    uses: dns/check\n    with:\n      name: app.example.org\n      type: A\n      \
                  values: [192.0.2.10, 192.0.2.11]\n      first_ok_within: 5m\n",
        effect: Effect::None,
        observes: false,
        undoes: false,
        reads_only: true,
        repeats: false,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong: Vec<String> = whole(with).err().into_iter().collect();
        wrong.extend(expected(with).err().unwrap_or_default());
        wrong.extend(servers(with.server.as_ref()).err());
        if let Some(Err(e)) = with.resolver.as_ref().map(|text| Server::read(text).map_err(|e| format!("resolver: `{text}` {e}"))) {
            wrong.push(e);
        }
        if with.server.is_some() && with.resolver.is_some() {
            wrong.push("server and resolver: give one of them".into());
        }
        wrong
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let name = whole(with).map_err(KindError::new)?;
        let expected = expected(with).map_err(|wrong| KindError::new(wrong.join("; ")))?;
        let given = servers(with.server.as_ref()).map_err(KindError::new)?;
        let window = Window {
            ok_in_row: with.ok_in_row.max(1),
            every: with.every.0,
            first_ok_within: with.first_ok_within.0,
            stable_for: with.stable_for.0,
        };
        let what = format!("{name} {}", with.kind);
        let round = || async {
            match &given {
                Some(given) => ask(cx, given, &name, with, &expected, false).await,
                None => match authorities_of(cx, with, &name).await {
                    Ok(found) => ask(cx, &found, &name, with, &expected, true).await,
                    Err(e) => Probe::bad(cx.head(&e, 400)),
                },
            }
        };
        let (out, rounds) = window.pass(cx, &what, round).await?;
        cx.log(format!("{what}: {} after {rounds} rounds", if out.values.is_empty() { "none".into() } else { out.values.join(", ") }));
        Ok(out)
    }
}

fn whole(with: &With) -> Result<Name, String> {
    match value::name(&with.name) {
        Ok(name) if with.name.contains('.') => Ok(name),
        Ok(_) => Err(format!("name: `{}` is no whole name: write `{}.example.org`", with.name, with.name)),
        Err(e) => Err(format!("name: `{}` {e}", with.name)),
    }
}

fn expected(with: &With) -> Result<Expected, Vec<String>> {
    let read =
        |field: &str, texts: &Option<Texts>| texts.as_ref().map(|texts| value::all(field, with.kind, None, texts.as_slice())).transpose();
    match (read("values", &with.values), read("contains", &with.contains)) {
        (Ok(Some(_)), Ok(Some(_))) => Err(vec!["values and contains: give one of them".into()]),
        (Ok(values), Ok(contains)) => Ok(Expected { values, contains: contains.unwrap_or_default() }),
        (values, contains) => Err([values.err(), contains.err()].into_iter().flatten().flatten().collect()),
    }
}

fn servers(texts: Option<&Texts>) -> Result<Option<Vec<Server>>, String> {
    let Some(texts) = texts else { return Ok(None) };
    let one = |text: &String| Server::read(text).map_err(|e| format!("server: `{text}` {e}"));
    let all = texts.as_slice().iter().map(one).collect::<Result<Vec<_>, _>>()?;
    if all.is_empty() { Err("server: the list is empty; leave it out to ask the zone's own".into()) } else { Ok(Some(all)) }
}

async fn authorities_of(cx: &ReadCx, with: &With, name: &Name) -> Result<Vec<Server>, String> {
    let resolvers = match &with.resolver {
        Some(text) => vec![Server::read(text)?],
        None => authorities::system()?,
    };
    authorities::find(cx, &resolvers, name, with.timeout.0).await
}

/// One round: every server, at the same time. Authorities must speak for the zone.
async fn ask(cx: &ReadCx, servers: &[Server], name: &Name, with: &With, expected: &Expected, authorities: bool) -> Probe<Out> {
    let manner = Manner { key: None, recursion: !authorities, limit: with.timeout.0 };
    let answers = join_all(servers.iter().map(|server| answer::look(cx, server, name, with.kind, manner))).await;
    let mut good: Vec<(&Server, Answer)> = Vec::new();
    let mut bad = Vec::new();
    for (server, answer) in servers.iter().zip(answers) {
        match answer {
            Ok(answer) if authorities && !answer.authoritative => bad.push(format!("{server}: it does not speak for the zone")),
            Ok(answer) => match wrong(expected, &answer) {
                Some(wrong) => bad.push(format!("{server}: {}", cx.head(&wrong, 400))),
                None => good.push((server, answer)),
            },
            Err(e) => bad.push(format!("{server}: {}", cx.head(&e, 400))),
        }
    }
    if let Some((first, rest)) = good.split_first()
        && let Some(other) = rest.iter().find(|other| other.1.values != first.1.values)
    {
        bad.push(format!("they differ: {} has {}, {} has {}", first.0, first.1.text, other.0, other.1.text));
    }
    if !bad.is_empty() {
        return Probe::bad(bad.join("; "));
    }
    let text = good.first().map(|(_, answer)| cx.head(&answer.text, 400)).unwrap_or_default();
    Probe::good(
        Out {
            values: good.first().map(|(_, answer)| answer.values.iter().cloned().collect()).unwrap_or_default(),
            ttl: good.iter().map(|(_, answer)| answer.ttl).min().unwrap_or(0),
            authoritative: good.iter().all(|(_, answer)| answer.authoritative),
            servers: servers.iter().map(ToString::to_string).collect(),
        },
        text,
    )
}

/// What is wrong with an answer.
pub(super) fn wrong(expected: &Expected, answer: &Answer) -> Option<String> {
    let missing = |wanted: &str| Some(format!("{}; wanted {wanted}", answer.text));
    match &expected.values {
        Some(values) if values == &answer.values => None,
        Some(values) if values.is_empty() => missing("none"),
        Some(values) => missing(&shown(values)),
        None if answer.values.is_empty() => Some(answer.text.clone()),
        None if expected.contains.is_subset(&answer.values) => None,
        None => missing(&format!("{} among them", shown(&expected.contains))),
    }
}

#[cfg(test)]
mod tests {
    use super::{With, ask, expected};
    use crate::bench::Bench;
    use crate::dns::ask::Server;
    use crate::dns::tests::stub::{Stub, says};
    use crate::dns::value::{self, Type};
    use hickory_proto::op::{Message, ResponseCode};
    use serde_json::json;

    #[tokio::test]
    async fn an_authority_must_speak_for_the_zone() {
        let stub = Stub::start(|message| {
            let answer = says(message, ResponseCode::NoError, &[("app.example.org.", Type::A, "192.0.2.1")]);
            let mut answer = Message::from_vec(&answer).unwrap();
            answer.metadata.authoritative = false;
            Some(answer.to_vec().unwrap())
        })
        .await;
        let with: With = serde_json::from_value(json!({ "name": "app.example.org", "type": "A" })).unwrap();
        let (servers, name) = ([Server::read(&stub.server()).unwrap()], value::name("app.example.org").unwrap());
        let expected = expected(&with).unwrap();
        let cx = Bench::new().read();
        assert!(ask(&cx, &servers, &name, &with, &expected, true).await.text.contains("it does not speak for the zone"));
        let seen = ask(&cx, &servers, &name, &with, &expected, false).await.good.unwrap();
        assert!(!seen.authoritative);
    }
}
