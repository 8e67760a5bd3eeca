//! The name servers of the zone that a name is in, found through a resolver.

use super::ask::{self, Manner, PORT, Server};
use super::value::{self, Type};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Name;
use std::collections::BTreeSet;
use std::time::Duration;
use trees_runner::kind::ReadCx;

/// What the system asks.
const SYSTEM: &str = "/etc/resolv.conf";

/// The resolvers of the system.
///
/// # Errors
/// When there is none.
pub fn system() -> Result<Vec<Server>, String> {
    let text = std::fs::read_to_string(SYSTEM).map_err(|e| format!("cannot read {SYSTEM}: {e}"))?;
    let found = resolvers(&text);
    if found.is_empty() { Err(format!("{SYSTEM} names no resolver")) } else { Ok(found) }
}

fn resolvers(text: &str) -> Vec<Server> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let host = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(Server { host: host.to_owned(), port: PORT })
    };
    text.lines().filter_map(server).collect()
}

/// The servers of the zone that holds `name`: the nearest name above it that has some.
///
/// # Errors
/// Why they cannot be found.
pub async fn find(cx: &ReadCx, resolvers: &[Server], name: &Name, limit: Duration) -> Result<Vec<Server>, String> {
    let mut zone = name.clone();
    while !zone.is_root() {
        let hosts = records(cx, resolvers, &zone, Type::Ns, limit).await?;
        if !hosts.is_empty() {
            return addresses(cx, resolvers, &zone, hosts, limit).await;
        }
        zone = zone.base_name();
    }
    Err(format!("no zone above {name} has name servers"))
}

async fn addresses(
    cx: &ReadCx,
    resolvers: &[Server],
    zone: &Name,
    hosts: BTreeSet<String>,
    limit: Duration,
) -> Result<Vec<Server>, String> {
    let mut servers = Vec::new();
    for text in hosts {
        let host = value::name(&text)?;
        let mut found = records(cx, resolvers, &host, Type::A, limit).await?;
        if found.is_empty() {
            found = records(cx, resolvers, &host, Type::Aaaa, limit).await?;
        }
        let host = found.into_iter().next().ok_or_else(|| format!("{text}, a name server of {zone}, has no address"))?;
        servers.push(Server { host, port: PORT });
    }
    Ok(servers)
}

/// What the first resolver that answers knows.
async fn records(cx: &ReadCx, resolvers: &[Server], name: &Name, kind: Type, limit: Duration) -> Result<BTreeSet<String>, String> {
    let manner = Manner { key: None, recursion: true, limit };
    let mut last = "there is no resolver".to_owned();
    for resolver in resolvers {
        let failed = |why: String| format!("the resolver {resolver} says nothing about {name} {kind}: {why}");
        match ask::question(cx, resolver, name, kind.wire(), manner).await {
            Err(silence) => last = failed(silence.to_string()),
            Ok(answer) => match answer.metadata.response_code {
                // Servers of a zone must stand at its very name; addresses may be found through an alias.
                ResponseCode::NoError | ResponseCode::NXDomain => {
                    let of = Some(name).filter(|_| kind == Type::Ns);
                    return Ok(if answer.answers.is_empty() { BTreeSet::new() } else { ask::records(&answer, of, kind)?.0 });
                }
                code => last = failed(ask::code(code)),
            },
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::{find, resolvers};
    use crate::bench::Bench;
    use crate::dns::ask::Server;
    use crate::dns::tests::stub::{Stub, says};
    use crate::dns::value::{self, Type};
    use hickory_proto::op::ResponseCode;
    use std::time::Duration;

    #[test]
    fn the_resolvers_of_the_system() {
        let text = "# a comment\nsearch example.org\nnameserver 127.0.0.53\n nameserver\t::1 \noptions edns0\nnameserver\n";
        let found: Vec<String> = resolvers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53:53", "[::1]:53"]);
    }

    async fn check(stubs: &[&Stub], name: &str, expected: Result<&[&str], &str>) {
        let resolvers: Vec<Server> = stubs.iter().map(|stub| Server::read(&stub.server()).unwrap()).collect();
        let found = find(&Bench::new().read(), &resolvers, &value::name(name).unwrap(), Duration::from_secs(30)).await;
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected),
            (Err(wrong), Err(part)) => assert!(wrong.contains(part), "{wrong}"),
            (got, expected) => panic!("{expected:?}, got {got:?}"),
        }
    }

    #[tokio::test]
    async fn the_servers_of_the_nearest_zone() {
        let stub = Stub::with(&[
            ("example.org.", Type::Ns, "ns1.example.net."),
            ("example.org.", Type::Ns, "ns2.example.net."),
            ("ns1.example.net.", Type::A, "192.0.2.53"),
            ("ns2.example.net.", Type::Aaaa, "2001:db8::53"),
            ("org.", Type::Ns, "a0.example.info."),
            ("lost.org.", Type::Ns, "ns.lost.org."),
        ])
        .await;
        check(&[&stub], "a.b.example.org", Ok(&["192.0.2.53:53", "[2001:db8::53]:53"])).await;
        assert_eq!(stub.asked()[..3], ["a.b.example.org. NS", "b.example.org. NS", "example.org. NS"]);
        check(&[&stub], "www.lost.org", Err("ns.lost.org., a name server of lost.org., has no address")).await;
        check(&[&stub], "a.test", Err("no zone above a.test. has name servers")).await;
        // The servers of where an alias leads are not those of the alias.
        let alias = Stub::start(|message| {
            let all = [
                ("www.example.org.", Type::Cname, "web.example.net."),
                ("web.example.net.", Type::Ns, "ns1.example.net."),
                ("example.org.", Type::Ns, "ns1.example.org."),
                ("ns1.example.org.", Type::A, "192.0.2.54"),
            ];
            let question = &message.queries[0];
            let shown = question.name().to_string();
            let there = |(name, kind, _): &&(&str, Type, &str)| match shown.as_str() {
                "www.example.org." => ["www.example.org.", "web.example.net."].contains(name),
                other => *name == other && kind.wire() == question.query_type(),
            };
            Some(says(message, ResponseCode::NoError, &all.iter().filter(there).copied().collect::<Vec<_>>()))
        })
        .await;
        check(&[&alias], "www.example.org", Ok(&["192.0.2.54:53"])).await;
        let failing = Stub::start(|message| Some(says(message, ResponseCode::ServFail, &[]))).await;
        check(&[&failing, &stub], "example.org", Ok(&["192.0.2.53:53", "[2001:db8::53]:53"])).await;
        check(&[&failing], "example.org", Err("says nothing about example.org. NS: SERVFAIL")).await;
    }
}
