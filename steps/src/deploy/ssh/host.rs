//! One host: what can be asked of it. Nothing here writes there; for that a [`Hand`](super::hand::Hand) is needed, which only
//! those get who may change something.

use super::access::Access;
use super::connection::{Connection, Input, Room};
use super::destination::Destination;
use super::look::{Instance, Seen};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Child;
use trees_runner::kind::{Cx, KindError, ReadCx};

/// What is only asked or told is answered by then. A look digests the files of a release.
const LOOK: Duration = Duration::from_secs(300);
const SHORT: Duration = Duration::from_secs(60);

/// A host that is connected.
pub struct Host {
    connection: Connection,
    /// The deployment's folder, as `with` says it, then as the host calls it.
    root: String,
}

impl Host {
    /// Connects.
    ///
    /// # Errors
    /// When it cannot be reached, is not known, or does not let us in.
    pub async fn connect(name: &str, root: &str, access: &Access, room: Arc<Room>, number: usize, cx: &ReadCx) -> Result<Self, KindError> {
        let destination = Destination::read(name).map_err(KindError::new)?;
        Ok(Self { connection: Connection::open(destination, access, room, number, cx).await?, root: root.into() })
    }

    /// As the tree calls it.
    pub fn name(&self) -> &str {
        &self.connection.name
    }

    /// The host without its user and port.
    pub fn address(&self) -> &str {
        self.connection.destination.host()
    }

    /// All that is to be known of the deployment there.
    ///
    /// # Errors
    /// When the host does not answer as it should.
    pub async fn look(&self, cx: &ReadCx) -> Result<Seen, KindError> {
        Ok(Seen::read(&self.connection.call(cx, "look", &self.root, &[], Input::None, LOOK).await?))
    }

    /// One instance, and whether somebody listens on the port.
    ///
    /// # Errors
    /// When the host does not answer as it should.
    pub async fn one(&self, number: &str, port: Option<u16>, cx: &ReadCx) -> Result<Instance, KindError> {
        let port = port.map(|port| port.to_string()).unwrap_or_default();
        let lines = self.connection.call(cx, "one", &self.root, &[number, &port], Input::None, SHORT).await?;
        Ok(Instance::read(&lines))
    }

    /// The last lines that an instance wrote.
    pub async fn log(&self, number: &str, cx: &ReadCx) -> String {
        let lines = self.connection.call(cx, "log", &self.root, &[number], Input::None, SHORT).await.unwrap_or_default();
        lines.iter().map(|line| line.strip_prefix("log ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
    }

    /// A channel to an address as the host reaches it.
    ///
    /// # Errors
    /// When `ssh` cannot be started.
    pub fn channel(&self, address: &str, cx: &ReadCx) -> Result<Child, KindError> {
        self.connection.channel(cx, address)
    }

    /// Why a channel did not come to be.
    pub async fn refused(&self) -> String {
        self.connection.refused().await
    }

    /// Runs a verb that changes something.
    pub(super) async fn write(
        &self,
        verb: &str,
        arguments: &[&str],
        input: Input<'_>,
        limit: Duration,
        cx: &Cx,
    ) -> Result<Vec<String>, KindError> {
        self.connection.call(cx, verb, &self.root, arguments, input, limit).await
    }

    /// Starts the verb that holds the lock.
    pub(super) fn hold(&self, holder: &str, cx: &Cx) -> Result<Child, KindError> {
        self.connection.stay(cx, "hold", &self.root, &[holder])
    }
}
