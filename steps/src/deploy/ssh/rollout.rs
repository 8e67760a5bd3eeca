//! From one release to another on one host: tried on a spare port, then put in the place of the one before,
//! which comes back if that fails.

use super::super::record::{Release, Role};
use super::fleet::named;
use super::hand::{Hand, supervised_by};
use super::health::wait_healthy;
use super::look::{Instance, Seen};
use super::package::Start;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use trees_core::hash;
use trees_runner::kind::{Cx, KindError};

/// One rollout on one host.
pub struct Rollout<'a> {
    /// The host, locked.
    pub hand: &'a Hand,
    /// As it was seen under the lock.
    pub seen: &'a Seen,
    /// Live instances are supervised by the user's systemd there.
    pub systemd: bool,
}

const PORT_HELP: &str = "the program must listen on $PORT, or on the port among its arguments ({port}, the port itself, or ending in =PORT or :PORT); \
                         for one that must not run twice at once write `trial: false`";

/// The same context for what must be done although the attempt is over.
pub fn calm(cx: &Cx) -> Cx {
    let mut cx = cx.clone();
    cx.read.cancel = CancellationToken::new();
    cx
}

impl Rollout<'_> {
    /// Puts `new` in the place of `old` (which may be dead) and points `current` to it.
    ///
    /// # Errors
    /// When `new` is not healthy. `old` serves then, if it did before and can.
    pub async fn run(&self, new: &Release, old: Option<&Instance>, cx: &Cx) -> Result<Instance, KindError> {
        let mut number = self.seen.next();
        if old.is_some() && new.port.is_some() && new.trial {
            self.trial(&number, new, cx).await?;
            number = after(&number);
        }
        match self.take_place(&number, new, old, cx).await {
            Ok(instance) => {
                // The new one serves: what is left of the old one is no reason to fail.
                if let Some(old) = old
                    && let Err(e) = self.hand.stop(&old.number, self.drain(old), &calm(cx)).await
                {
                    let message = named(self.hand.host.name(), &e.message);
                    cx.log(format!(
                        "{message}; release {} serves beside it: the next deploy tries again, or end it by hand there",
                        new.release
                    ));
                }
                Ok(instance)
            }
            Err(wrong) => Err(self.back(&after(&number), old, cx, wrong).await),
        }
    }

    async fn take_place(&self, number: &str, new: &Release, old: Option<&Instance>, cx: &Cx) -> Result<Instance, KindError> {
        let host = self.hand.host.name();
        // An instance of it that an ended deploy started, and that nobody stands in the way of.
        let running = self.seen.live(&new.folder).filter(|i| i.serves() && old.is_none());
        let instance = match running {
            Some(running) => wait_healthy(&self.hand.host, &running.number, new, new.port, cx).await?,
            None => {
                cx.progress(None, &format!("{host}: starting release {}", new.release));
                self.serve(number, new, Role::Live, new.port, old, cx).await?
            }
        };
        if let Err(wrong) = self.hand.switch(&new.folder, cx).await {
            self.hand.stop(&instance.number, new.drain, &calm(cx)).await?;
            return Err(wrong);
        }
        Ok(instance)
    }

    /// Starts `new` on a spare port, asks it, and ends it. The one that serves is not touched.
    async fn trial(&self, number: &str, new: &Release, cx: &Cx) -> Result<(), KindError> {
        let host = self.hand.host.name();
        let port = self.spare_port(new, cx).await?;
        cx.log(format!("{host}: trying release {} on port {port}", new.release));
        cx.progress(None, &format!("{host}: trying release {} on a spare port", new.release));
        let tried = self.serve(number, new, Role::Trial, Some(port), None, cx).await;
        self.hand.stop(number, new.drain, &calm(cx)).await?;
        tried.map(|_| ()).map_err(|wrong| {
            let message = wrong.message.replacen(" is not healthy\n", " is not healthy; what served before it still serves\n", 1);
            KindError { message, help: wrong.help.or(Some(PORT_HELP.into())), ..wrong }
        })
    }

    /// Starts an instance and waits until it is healthy; ends it where it is not.
    async fn serve(
        &self,
        number: &str,
        release: &Release,
        role: Role,
        port: Option<u16>,
        old: Option<&Instance>,
        cx: &Cx,
    ) -> Result<Instance, KindError> {
        let unit = supervised_by(self.systemd, role, &self.seen.root, number);
        let start = Start { root: &self.seen.root, release, role, port, unit };
        let served = match self.hand.start(number, &start, old.map(|old| old.number.as_str()), cx).await {
            Ok(()) => wait_healthy(&self.hand.host, number, release, port, cx).await,
            Err(wrong) => Err(wrong),
        };
        let wrong = match served {
            Ok(instance) => return Ok(instance),
            Err(wrong) => wrong,
        };
        let calm = calm(cx);
        let log = self.hand.host.log(number, &calm).await;
        let ended = self.hand.stop(number, release.drain, &calm).await;
        let mut message = format!("release {} is not healthy\n{}", release.release, wrong.message);
        message += &if log.is_empty() { "\nit wrote nothing".to_owned() } else { format!("\nits last lines:\n{log}") };
        if let Err(e) = ended {
            message += &format!("\nand it does not end: {}", e.message);
        }
        Err(KindError { message, ..wrong })
    }

    /// Puts the release back that served before.
    async fn back(&self, number: &str, old: Option<&Instance>, cx: &Cx, wrong: KindError) -> KindError {
        let Some((old, release)) = old.and_then(|old| Some((old, self.seen.outside(&old.folder)?))) else { return wrong };
        let cx = calm(cx);
        let done = async {
            // An instance that was never asked to end serves on.
            let now = self.hand.host.one(&old.number, release.port, &cx).await?;
            if now.serves() {
                return wait_healthy(&self.hand.host, &old.number, release, release.port, &cx).await;
            }
            let Some(release) = self.seen.release(&old.folder, &cx.secrets)? else {
                return Err(KindError::new(format!("release {} is not there any more", release.release)));
            };
            self.hand.stop(&old.number, release.drain, &cx).await?;
            let instance = self.serve(number, &release, Role::Live, release.port, None, &cx).await?;
            self.hand.switch(&release.folder, &cx).await?;
            Ok(instance)
        };
        let message = match done.await {
            Ok(_) => format!("{}\nrelease {} was put back and serves", wrong.message, release.release),
            Err(e) => format!(
                "{}\nand release {} does not come back either, so look at what surrounds them\n{}",
                wrong.message, release.release, e.message
            ),
        };
        KindError { message, ..wrong }
    }

    fn drain(&self, old: &Instance) -> Duration {
        self.seen.outside(&old.folder).map_or(Duration::from_secs(10), |release| release.drain)
    }

    /// A port that nobody listens on there. Ports for outgoing connections lie higher on most systems.
    async fn spare_port(&self, release: &Release, cx: &Cx) -> Result<u16, KindError> {
        for n in 0..20_u32 {
            let word = format!("{} {} {} {n} {:?}", cx.run, cx.step, self.hand.host.name(), std::time::SystemTime::now());
            let number = u64::from_str_radix(hash::bytes(word.as_bytes()).get(..12).unwrap_or_default(), 16).unwrap_or_default();
            let port = 15_000 + u16::try_from(number % 16_000).unwrap_or_default();
            if Some(port) != release.port && self.hand.host.one("none", Some(port), cx).await?.listens != Some(true) {
                return Ok(port);
            }
        }
        Err(KindError::transient(format!("{}: no spare port was found", self.hand.host.name())))
    }
}

/// The number after it.
fn after(number: &str) -> String {
    format!("{:06}", number.parse::<u64>().unwrap_or(0) + 1)
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn numbers_go_on() {
        assert_eq!((after("000009").as_str(), after("999999").as_str()), ("000010", "1000000"));
    }
}
