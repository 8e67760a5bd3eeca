//! From one release to another: tried on a spare port, then put in the place of the one before,
//! which comes back if that fails.

use super::instance::Instance;
use super::record::{Release, Role, Spec};
use super::root::Root;
use crate::http::check::healthy;
use crate::tcp::check::connect;
use crate::window::{Probe, Window};
use std::net::{TcpListener, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;
use trees_runner::kind::{Cx, KindError, ReadCx};

/// A live process that ends so often while it is checked is given up.
const RESTARTS: u32 = 3;

/// Puts `new` in the place of `old` (which may be dead) and points `current` to it.
///
/// # Errors
/// When `new` is not healthy. `old` serves then, if it did before and can.
pub async fn rollout(root: &Root, new: &Release, old: Option<Instance>, cx: &Cx) -> Result<Instance, KindError> {
    if old.is_some() && new.port.is_some() && new.trial {
        trial(root, new, cx).await?;
    }
    if let Some(old) = &old {
        cx.progress(None, "stopping the release before");
        old.ask_to_end();
        released(old, new).await?;
    }
    match take_place(root, new, old.as_ref(), cx).await {
        Ok(instance) => {
            // The new one serves: what is left of the old one is no reason to fail.
            if let Some(old) = &old
                && let Err(e) = old.ended().await
            {
                cx.log(format!("{}; release {} serves beside it: {}", e.message, new.release, old.by_hand()));
            }
            Ok(instance)
        }
        Err(wrong) => Err(back(root, old.as_ref(), cx, wrong).await),
    }
}

async fn take_place(root: &Root, new: &Release, old: Option<&Instance>, cx: &Cx) -> Result<Instance, KindError> {
    let instance = serve(root, new, old, cx).await?;
    if let Err(wrong) = root.switch(&new.folder) {
        instance.stop().await?;
        return Err(wrong);
    }
    Ok(instance)
}

/// Starts `new` on a spare port, asks it, and ends it. The one that serves is not touched.
async fn trial(root: &Root, new: &Release, cx: &Cx) -> Result<(), KindError> {
    let port = spare_port(&new.host)?;
    cx.log(format!("trying release {} on port {port}", new.release));
    cx.progress(None, &format!("trying release {} on a spare port", new.release));
    let instance = start(root, new, Role::Trial, Some(port)).await?;
    let answer = wait_healthy(&instance, new, Some(port), cx).await;
    instance.stop().await?;
    answer.map_err(|wrong| {
        let message =
            format!("release {} is not healthy; what served before it still serves\n{}", new.release, with_log(&wrong, &instance));
        KindError { message, help: Some(PORT_HELP.into()), ..wrong }
    })
}

const PORT_HELP: &str = "the program must listen on $PORT, or on the port among its arguments ({port}, the port itself, or ending in =PORT or :PORT); \
                         for one that must not run twice at once write `trial: false`";

/// Starts `new` on its own port, or takes the instance of it that an ended deploy started.
async fn serve(root: &Root, new: &Release, old: Option<&Instance>, cx: &Cx) -> Result<Instance, KindError> {
    cx.progress(None, &format!("starting release {}", new.release));
    let running = root.live(&new.folder).filter(|i| i.alive() && old.is_none_or(|old| old.folder != i.folder));
    let instance = match running {
        Some(instance) => instance,
        None if new.port.is_some_and(|port| !is_free(&new.host, port)) => return Err(taken(new)),
        None => start(root, new, Role::Live, new.port).await?,
    };
    match wait_healthy(&instance, new, new.port, cx).await {
        Ok(()) => Ok(instance),
        Err(wrong) => {
            instance.stop().await?;
            Err(KindError { message: format!("release {} is not healthy\n{}", new.release, with_log(&wrong, &instance)), ..wrong })
        }
    }
}

fn taken(release: &Release) -> KindError {
    let place = format!("{}:{}", release.host, release.port.unwrap_or_default());
    KindError::new(format!("release {} cannot listen on {place}: another program does", release.release))
        .help(format!("end that program, or give another `port`; who it is: ss -ltnp 'sport = :{}'", release.port.unwrap_or_default()))
}

/// Puts the release back that served before; its own deadline, since the attempt may be over.
async fn back(root: &Root, old: Option<&Instance>, cx: &Cx, wrong: KindError) -> KindError {
    let there = old.map_or(Ok(None), |old| root.release(&old.spec.folder, &cx.secrets));
    let release = match there {
        Ok(Some(release)) => release,
        Ok(None) => return wrong,
        Err(e) => {
            return KindError { message: format!("{}\nand the release before does not come back: {}", wrong.message, e.message), ..wrong };
        }
    };
    let mut cx = cx.clone();
    cx.read.cancel = CancellationToken::new();
    if let Some(old) = old
        && let Err(e) = old.ended().await
    {
        return KindError { message: format!("{}\nand the release before does not end: {e}", wrong.message), ..wrong };
    }
    let message = match serve(root, &release, old, &cx).await {
        Ok(_) => format!("{}\nrelease {} was put back and serves", wrong.message, release.release),
        Err(e) => format!(
            "{}\nand release {} does not come back either, so look at what surrounds them\n{}",
            wrong.message, release.release, e.message
        ),
    };
    KindError { message, ..wrong }
}

fn with_log(wrong: &KindError, instance: &Instance) -> String {
    let tail = instance.tail();
    if tail.is_empty() { format!("{}\nit wrote nothing", wrong.message) } else { format!("{}\nits last lines:\n{tail}", wrong.message) }
}

/// Returns as soon as the port is free, or the old instance is gone; it may still drain then.
async fn released(old: &Instance, new: &Release) -> Result<(), KindError> {
    let shared = new.port.filter(|port| old.spec.port == Some(*port));
    let free = || shared.is_some_and(|port| is_free(&new.host, port));
    let ended = old.ended();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            done = &mut ended => return done,
            () = tokio::time::sleep(Duration::from_millis(2)) => if free() { return Ok(()) },
        }
    }
}

/// Whether a server could listen there. It only binds: who connects meanwhile is refused, not lost.
fn is_free(host: &str, port: u16) -> bool {
    let Some(address) = (host, port).to_socket_addrs().ok().and_then(|mut all| all.next()) else { return false };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    socket.is_ok_and(|socket| socket.set_reuseaddr(true).and_then(|()| socket.bind(address)).is_ok())
}

async fn start(root: &Root, release: &Release, role: Role, port: Option<u16>) -> Result<Instance, KindError> {
    let mut program = release.on_port(port);
    let cwd = root.folder(&release.folder);
    if let Some(file) = program.command.first_mut()
        && file.starts_with("./")
    {
        *file = cwd.join(Path::new(file.trim_start_matches("./"))).display().to_string();
    }
    let longest = release.health_timeout + Duration::from_secs(30);
    let expires = (role == Role::Trial).then(|| u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
    let spec = Spec { folder: release.folder.clone(), role, cwd, port, drain: release.drain, expires };
    Instance::start(root.next_instance(), spec, &program).await
}

fn spare_port(host: &str) -> Result<u16, KindError> {
    let port = TcpListener::bind((host, 0)).and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.map_err(|e| KindError::new(format!("no spare port on {host}: {e}")))
}

/// Asks a started instance until it is healthy.
async fn wait_healthy(instance: &Instance, release: &Release, port: Option<u16>, cx: &ReadCx) -> Result<(), KindError> {
    let (ok_in_row, stable_for) = if port.is_some() { (2, Duration::ZERO) } else { (2, Duration::from_secs(1)) };
    let window = Window { ok_in_row, every: Duration::from_millis(50), first_ok_within: release.health_timeout, stable_for };
    window.pass(cx, &what(release, port), || probe(instance, release, port, cx)).await.map(|_| ())
}

fn what(release: &Release, port: Option<u16>) -> String {
    match (port, &release.health) {
        (Some(port), Some(path)) => format!("GET http://{}:{port}{path}", release.host),
        (Some(port), None) => format!("tcp {}:{port}", release.host),
        (None, _) => format!("the process of release {}", release.release),
    }
}

/// One look at the process and at its port.
pub async fn probe(instance: &Instance, release: &Release, port: Option<u16>, cx: &ReadCx) -> Probe<()> {
    let Some(status) = instance.status() else { return Probe::bad("not started yet") };
    let gone = || format!("the process has ended: {}", status.last_exit.as_deref().unwrap_or("just now"));
    if status.ended || status.restarts >= RESTARTS && !status.child.as_ref().is_some_and(super::record::Identity::is_alive) {
        return Probe::hopeless(gone());
    }
    if !status.child.as_ref().is_some_and(super::record::Identity::is_alive) {
        return Probe::bad(gone());
    }
    match (port, &release.health) {
        (Some(port), Some(path)) => healthy(cx, &format!("http://{}:{port}{path}", release.host), Duration::from_secs(5)).await,
        (Some(port), None) => {
            let probe = connect(&release.host, port).await;
            Probe { good: probe.good.map(|_| ()), text: probe.text, last: probe.last }
        }
        (None, _) => Probe::good((), format!("runs since {}", status.since)),
    }
}
