//! All hosts of a step: connected and looked at together, deployed to in waves, and all of them taken back
//! when one fails.

use super::access::Access;
use super::connection::Room;
use super::deployment::{Record, deploy, examine, take_back};
use super::hand::{Hand, holder};
use super::host::Host;
use super::look::Seen;
use super::rollout::calm;
use super::{Job, On, Out, Supervise};
use std::future::Future;
use std::sync::Arc;
use tokio::task::JoinSet;
use trees_core::units::few;
use trees_runner::kind::{Change, Cx, KindError, Observation, ReadCx};

/// An sshd refuses those who come together with more than ten others, and all may come through one.
const AT_ONCE: usize = 8;

/// Connects all, or tells of all that are not reached.
///
/// # Errors
/// When one is not reached, is not known, or does not let us in.
pub async fn connect(names: &[String], root: &str, access: &Access, cx: &ReadCx) -> Result<Vec<Arc<Host>>, KindError> {
    access.check()?;
    let room = Arc::new(Room::new(access, cx)?);
    let one = |(number, name): &(usize, &String)| {
        let (number, name, root, access, room, cx) = (*number, (*name).clone(), root.to_owned(), access.clone(), room.clone(), cx.clone());
        async move { Host::connect(&name, &root, &access, room, number, &cx).await.map(Arc::new) }
    };
    let mut hosts = Vec::new();
    let names: Vec<(usize, &String)> = names.iter().enumerate().collect();
    for some in names.chunks(AT_ONCE) {
        hosts.extend(all(some.iter().map(one)).await?);
    }
    whole(hosts)
}

async fn looks(hosts: &[Arc<Host>], cx: &ReadCx) -> Result<Vec<Seen>, KindError> {
    let one = |host: &Arc<Host>| {
        let (host, cx) = (host.clone(), cx.clone());
        async move { host.look(&cx).await }
    };
    whole(all(hosts.iter().map(one)).await?)
}

type Examined = (Vec<Change>, Option<On>);

async fn examined(hosts: &[Arc<Host>], seen: Vec<Seen>, job: &Arc<Job>, cx: &ReadCx) -> Result<Vec<Examined>, KindError> {
    let one = |(host, seen): (&Arc<Host>, Seen)| {
        let (host, job, cx) = (host.clone(), job.clone(), cx.clone());
        async move { examine(&host, &seen, &job, &cx).await }
    };
    whole(all(hosts.iter().zip(seen).map(one)).await?)
}

/// How the hosts are; `Absent` where none has anything.
///
/// # Errors
/// When one is not reached.
pub async fn observe(job: Arc<Job>, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
    let hosts = connect(&job.with.hosts, &job.root, &job.access, cx).await?;
    let seen = looks(&hosts, cx).await?;
    if seen.iter().all(|seen| seen.current.is_none()) {
        return Ok(Observation::Absent);
    }
    let found = examined(&hosts, seen, &job, cx).await?;
    let mut changes = Vec::new();
    let mut satisfied = Vec::new();
    for (host, (differing, on)) in hosts.iter().zip(found) {
        changes.extend(differing.into_iter().map(|change| Change { field: format!("{}: {}", host.name(), change.field), ..change }));
        satisfied.extend(on);
    }
    if changes.is_empty() { Ok(Observation::Satisfied(out(&job, satisfied))) } else { Ok(Observation::Differs(changes)) }
}

fn out(job: &Job, hosts: Vec<On>) -> Out {
    Out { release: job.with.release.clone(), changed: hosts.iter().any(|on| on.changed), hosts }
}

/// Looks at all, then deploys wave by wave.
///
/// # Errors
/// When one host cannot be deployed to, before anything is changed anywhere; or when one fails, after all that
/// were changed were taken back.
pub async fn apply(job: Arc<Job>, cx: &Cx) -> Result<Out, KindError> {
    let hosts = connect(&job.with.hosts, &job.root, &job.access, cx).await?;
    let seen = looks(&hosts, cx).await?;
    preflight(&hosts, &seen, &job, cx).await?;
    let found = examined(&hosts, seen, &job, cx).await?;
    let differing: Vec<Arc<Host>> =
        hosts.iter().zip(&found).filter(|(_, (_, satisfied))| satisfied.is_none()).map(|(host, _)| host.clone()).collect();
    let hands = lock(&differing, cx).await?;
    let done = waves(&hands, hosts.len(), &job, cx).await;
    let released = hands.into_iter().filter_map(Arc::into_inner).map(Hand::release);
    all(released).await?;
    let mut deployed = done?.into_iter();
    let on = found.into_iter().filter_map(|(_, satisfied)| satisfied.or_else(|| deployed.next()));
    Ok(out(&job, on.collect()))
}

/// All locks, in the order of the hosts' names, so that two deploys never wait for each other.
async fn lock(hosts: &[Arc<Host>], cx: &Cx) -> Result<Vec<Arc<Hand>>, KindError> {
    let mut order: Vec<usize> = (0..hosts.len()).collect();
    order.sort_by_key(|n| hosts[*n].name());
    let mut hands: Vec<(usize, Arc<Hand>)> = Vec::new();
    let own = holder(cx);
    for n in order {
        match Hand::take(hosts[n].clone(), &own, cx).await {
            Ok(hand) => hands.push((n, Arc::new(hand))),
            Err(wrong) => {
                all(hands.into_iter().filter_map(|(_, hand)| Arc::into_inner(hand)).map(Hand::release)).await?;
                return Err(wrong);
            }
        }
    }
    hands.sort_by_key(|(n, _)| *n);
    Ok(hands.into_iter().map(|(_, hand)| hand).collect())
}

/// What can be known to go wrong before anything is changed; of all hosts at once.
async fn preflight(hosts: &[Arc<Host>], seen: &[Seen], job: &Job, cx: &Cx) -> Result<(), KindError> {
    let size = job.size().await?;
    let mut wrong = Vec::new();
    for (host, seen) in hosts.iter().zip(seen) {
        let name = host.name();
        if !seen.missing.is_empty() {
            wrong.push(Err(KindError::new(format!("{name}: it has no {}", few(&seen.missing, 10))).help("install what is missing there")));
        }
        if !seen.writable {
            wrong.push(Err(KindError::new(format!("{name}: {} cannot write in `{}`, for `{}`", seen.user, seen.place, seen.root))
                .help("give the folder to that user, or name another `root`")));
        }
        let needed = (size >> 10) + (10 << 10);
        if let Some(free) = seen.free.filter(|free| *free < needed) {
            wrong.push(Err(KindError::new(format!(
                "{name}: `{}` has {} MiB free, and the release needs {} MiB",
                seen.place,
                free >> 10,
                needed >> 10
            ))));
        }
        if job.with.supervise == Supervise::Systemd && !seen.systemd {
            wrong.push(Err(KindError::new(format!("{name}: `systemctl --user` of {} does not work, or ends with the session", seen.user))
                .help(format!("there: `loginctl enable-linger {}`; or write `supervise: plain`", seen.user))));
        }
        if !seen.setsid && !job.systemd(seen) {
            cx.log(format!("{name}: there is no `setsid`: what the program starts may outlive it"));
        }
    }
    whole::<()>(wrong).map(|_| ())
}

/// How it went on one host; where it serves, how that is taken back, unless it did before.
type Fate = Result<(On, Option<Record>), KindError>;

async fn waves(hands: &[Arc<Hand>], hosts: usize, job: &Arc<Job>, cx: &Cx) -> Result<Vec<On>, KindError> {
    let mut fates: Vec<Fate> = Vec::new();
    for wave in hands.chunks(job.with.wave.of(hosts)) {
        let one = |hand: &Arc<Hand>| {
            let (hand, job, cx) = (hand.clone(), job.clone(), cx.clone());
            async move { deploy(&hand, &job, &cx).await }
        };
        fates.extend(all(wave.iter().map(one)).await?);
        if fates.iter().any(Result::is_err) {
            return Err(unwind(hands, fates, cx).await);
        }
    }
    Ok(fates.into_iter().flatten().map(|(on, _)| on).collect())
}

/// Takes back what was done on other hosts, the last first, and tells of each.
async fn unwind(hands: &[Arc<Hand>], fates: Vec<Fate>, cx: &Cx) -> KindError {
    let calm = calm(cx);
    let begun = fates.len();
    let mut told = Vec::new();
    let mut first: Option<KindError> = None;
    for (hand, fate) in hands.iter().zip(fates).rev() {
        let name = hand.host.name();
        let line = match fate {
            Err(wrong) => {
                let line = named(name, &wrong.message);
                first = Some(wrong);
                line
            }
            Ok((_, None)) => format!("{name}: it was as it should be"),
            Ok((_, Some(record))) => {
                cx.log(format!("{name}: taking it back"));
                match take_back(hand, &record, &calm).await {
                    Ok(()) => format!("{name}: taken back to {}", record.previous.as_deref().unwrap_or("nothing")),
                    Err(e) => format!("{name}: NOT taken back: {}", e.message),
                }
            }
        };
        told.push(line);
    }
    told.reverse();
    told.extend(hands.iter().skip(begun).map(|hand| format!("{}: not touched", hand.host.name())));
    let wrong = first.unwrap_or_else(|| KindError::new("no host failed"));
    let message = if told.len() == 1 { told.concat() } else { format!("not deployed: a host failed\n{}", told.join("\n")) };
    KindError { message, ..wrong }
}

/// A message with its host before it.
pub fn named(name: &str, message: &str) -> String {
    let start = format!("{name}: ");
    if message.starts_with(&start) { message.to_owned() } else { start + message }
}

/// Runs them at once and gives what they gave, in order. They end with the caller.
async fn all<T: Send + 'static, F: Future<Output = T> + Send + 'static>(tasks: impl IntoIterator<Item = F>) -> Result<Vec<T>, KindError> {
    let mut set = JoinSet::new();
    for (n, task) in tasks.into_iter().enumerate() {
        set.spawn(async move { (n, task.await) });
    }
    let mut given = Vec::new();
    while let Some(done) = set.join_next().await {
        given.push(done.map_err(|e| KindError::new(format!("a part of the deploy ended early: {e}")))?);
    }
    given.sort_by_key(|(n, _)| *n);
    Ok(given.into_iter().map(|(_, value)| value).collect())
}

/// All of them, or all that went wrong in one error.
fn whole<T>(given: Vec<Result<T, KindError>>) -> Result<Vec<T>, KindError> {
    let count = given.len();
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for one in given {
        match one {
            Ok(value) => good.push(value),
            Err(e) => wrong.push(e),
        }
    }
    let Some(joined) = KindError::joined(&wrong) else { return Ok(good) };
    if wrong.len() < 2 || wrong.len() == count {
        return Err(joined);
    }
    Err(KindError { message: format!("{} of {count}: {}", wrong.len(), joined.message), ..joined })
}
