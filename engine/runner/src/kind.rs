//! The contract of a step kind, and what it is given to work with.
//!
//! `observe` and `verify` get a [`ReadCx`], which cannot write: that is how `plan` and `drift`
//! cannot change anything. `apply` and `undo` get a [`Cx`].

use crate::http::Client;
use crate::mask::Masker;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use trees_core::event::Json;
use trees_core::path::{RunId, StepPath};
use trees_core::store::{Generate, SecretVersions};
use trees_core::tree::{Effect, KindInfo, ValueType};

/// One step kind. Its file holds inputs, outputs, doc text, an example, behaviour and tests.
pub trait Kind: Send + Sync + 'static {
    /// `with`, typed; unknown fields must be denied.
    type With: DeserializeOwned + Serialize + JsonSchema + Send + Sync;
    /// What it returns.
    type Out: Serialize + DeserializeOwned + JsonSchema + Send + Sync;
    /// Name, texts and traits of the kind.
    const ABOUT: About;

    /// What can be known to be wrong from `with` alone, without network; one sentence each.
    fn validate(_with: &Self::With) -> Vec<String> {
        Vec::new()
    }

    /// Looks at the target without changing it.
    fn observe(_with: &Self::With, _cx: &ReadCx) -> impl Future<Output = Result<Observation<Self::Out>, KindError>> + Send {
        async { Ok(Observation::Unknown("this kind does not observe".into())) }
    }

    /// Makes it so. Calls [`Cx::intend`] before each change outside.
    fn apply(with: &Self::With, cx: &Cx) -> impl Future<Output = Result<Self::Out, KindError>> + Send;

    /// Asks from outside whether it is really so.
    fn verify(_with: &Self::With, _out: &Self::Out, _cx: &ReadCx) -> impl Future<Output = Result<(), KindError>> + Send {
        async { Ok(()) }
    }

    /// Takes back what `record` (given to [`Cx::intend`]) describes. Twice is once.
    fn undo(_record: &Json, _cx: &Cx) -> impl Future<Output = Result<(), KindError>> + Send {
        async { Ok(()) }
    }
}

/// Name, texts and traits of a kind.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// `family/kind`.
    pub name: &'static str,
    /// One line without a full stop.
    pub summary: &'static str,
    /// Markdown, a paragraph or more.
    pub doc: &'static str,
    /// A whole tree file that uses it; checked by a test.
    pub example: &'static str,
    /// What it changes unless the step says otherwise.
    pub effect: Effect,
    /// `observe` is implemented.
    pub observes: bool,
    /// `undo` is implemented.
    pub undoes: bool,
    /// It only reads.
    pub reads_only: bool,
    /// An attempt whose outcome is unknown is made again without asking: the target knows it by its key.
    pub repeats: bool,
    /// It deploys: its first use takes the lock project/environment.
    pub deploys: bool,
    /// Names in `with` whose values are paths of files or folders it reads.
    pub file_inputs: &'static [&'static str],
    /// Raised when its behaviour changes.
    pub revision: u32,
}

/// What looking at the target gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation<Out> {
    /// It is as `with` says; what `apply` would return.
    Satisfied(Out),
    /// It exists and differs.
    Differs(Vec<Change>),
    /// It is not there.
    Absent,
    /// It is done in each run anew, so there is nothing that it could differ from; what that would change.
    Anew(Vec<Change>),
    /// Could not tell; never taken for `Satisfied`.
    Unknown(String),
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which field.
    pub field: String,
    /// What the target has.
    pub old: Json,
    /// What it would have.
    pub new: Json,
    /// Who owns the field, where the target knows.
    pub owner: Option<String>,
}

impl Change {
    /// One of a field that nobody owns, as far as the target knows.
    pub fn new(field: impl Into<String>, old: impl Into<Json>, new: impl Into<Json>) -> Self {
        Self { field: field.into(), old: old.into(), new: new.into(), owner: None }
    }
}

/// Why a kind could not: what was asked, of whom, the answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct KindError {
    /// A few lines at most; masked before anybody sees it.
    pub message: String,
    /// It may pass when tried again.
    pub transient: bool,
    /// The cure, if known.
    pub help: Option<String>,
    /// Of what `undo` takes back: what the other records of the step are about stands apart from it, and is taken
    /// back all the same.
    pub apart: bool,
}

impl KindError {
    /// A failure that stays.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: false, help: None, apart: false }
    }

    /// A failure that may pass on retry.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { transient: true, ..Self::new(message) }
    }

    /// Adds the cure.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Other records are apart from it: see [`Self::apart`].
    #[must_use]
    pub fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// All of them in one, a line each; `None` of none. It may pass where each of them may.
    pub fn joined(wrong: &[Self]) -> Option<Self> {
        let message = wrong.iter().map(|e| e.message.as_str()).collect::<Vec<_>>().join("\n");
        Some(Self {
            message,
            transient: wrong.iter().all(|e| e.transient),
            help: wrong.iter().find_map(|e| e.help.clone()),
            apart: wrong.iter().all(|e| e.apart),
        })
        .filter(|_| !wrong.is_empty())
    }
}

/// What `observe` and `verify` may use: nothing of it writes.
#[derive(Clone)]
pub struct ReadCx {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepPath,
    /// The project of the top tree.
    pub project: String,
    /// The environment, `""` where there is none.
    pub environment: String,
    /// The working folder of the run (absolute): relative paths in `with` start here.
    pub dir: PathBuf,
    /// The state folder (absolute).
    pub state: PathBuf,
    /// The step's environment variables, as a process of it would get them.
    pub env: Arc<Vec<(String, String)>>,
    /// Cancelled when the attempt must end.
    pub cancel: CancellationToken,
    /// GET and HEAD only.
    pub http: Reader,
    /// Takes secrets out of texts.
    pub mask: Masker,
    /// The secrets of the store, without their values.
    pub secrets: SecretReader,
    /// Where drift is looked for: what the step returned when it succeeded. What it was made from may be another by
    /// now, or gone, and is not to be looked at.
    pub left: Option<Arc<Json>>,
}

/// What `apply` and `undo` may use.
#[derive(Clone)]
pub struct Cx {
    /// All that reading has.
    pub read: ReadCx,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Stable over attempts, crashes, resumes.
    pub idempotency_key: String,
    /// The step's `with`, resolved now, secrets included; null where the step uses no kind. `undo` takes
    /// from here what a record must not hold: passwords, tokens.
    pub with: Arc<Json>,
    /// Any method.
    pub client: Arc<Client>,
    /// The port through which progress, log lines and intents leave.
    pub port: Arc<dyn Port>,
    /// The versions of the secrets of the store.
    pub keeper: Arc<dyn Keeper>,
}

impl Deref for Cx {
    type Target = ReadCx;
    fn deref(&self) -> &ReadCx {
        &self.read
    }
}

/// Where a kind's words go; implemented by the runner, and by a recorder in tests.
pub trait Port: Send + Sync {
    /// A line for the step's log; masked there.
    fn log(&self, line: &str);
    /// How far it is: 0 to 1, and what it is doing.
    fn progress(&self, fraction: Option<f64>, text: &str);
    /// Records how a change is taken back; resolves when that is durable.
    fn intend(&self, record: Json) -> Pin<Box<dyn Future<Output = Result<(), KindError>> + Send>>;
}

impl Cx {
    /// Records how the change about to be made is taken back; returns when that is durable.
    ///
    /// # Errors
    /// When the journal cannot be written; the change must not be made then.
    pub async fn intend(&self, record: impl Serialize) -> Result<(), KindError> {
        let record = serde_json::to_value(record).map_err(|e| KindError::new(format!("cannot record the intent: {e}")))?;
        self.port.intend(record).await
    }

    /// Writes a line to the step's log.
    pub fn log(&self, line: impl AsRef<str>) {
        self.port.log(line.as_ref());
    }

    /// Tells how far it is (0 to 1) and what it is doing.
    pub fn progress(&self, fraction: Option<f64>, text: &str) {
        self.port.progress(fraction, text);
    }
}

impl ReadCx {
    /// A path of `with`, relative to the working folder.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.join(path)
    }

    /// The beginning of a text on one line, for messages. Secrets are taken out first: of one that is
    /// cut nobody would know the rest.
    pub fn head(&self, text: &str, limit: usize) -> String {
        let masked = self.mask.mask(text);
        let text = masked.trim();
        let mut head: String = text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if text.chars().count() > limit {
            head.push('…');
        }
        head
    }

    /// Waits, or ends early with an error when the attempt must end.
    ///
    /// # Errors
    /// When cancelled.
    pub async fn sleep(&self, duration: Duration) -> Result<(), KindError> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(KindError::new("ended while waiting")),
            () = tokio::time::sleep(duration) => Ok(()),
        }
    }
}

/// The secrets of the project and environment that a step works for: their versions, never their values; and
/// the seal for what kinds keep.
pub trait Keeper: Send + Sync {
    /// The versions of one; `None` where the store has none.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn versions(&self, name: &str) -> Result<Option<SecretVersions>, KindError>;

    /// Makes a new version, once for a key; says its number. What runs afterwards gets it.
    ///
    /// # Errors
    /// When there is no such secret, or the store cannot be written.
    fn rotate(&self, name: &str, how: &Generate, key: &str) -> Result<u64, KindError>;

    /// Takes the version that was made for a key away, so that the one before it is in use again; without one
    /// nothing is done.
    ///
    /// # Errors
    /// When it is not the newest, or those before it are retired.
    fn withdraw(&self, name: &str, key: &str) -> Result<(), KindError>;

    /// Forgets all versions but the newest; says which.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn retire(&self, name: &str) -> Result<Vec<u64>, KindError>;

    /// Seals what a kind must keep and nobody may read, with the master key. The label says what it is, in
    /// messages too, such as `release v1 of site`.
    ///
    /// # Errors
    /// When the master key cannot be used or made.
    fn seal(&self, label: &str, bytes: &[u8]) -> Result<String, KindError>;

    /// What [`Self::seal`] sealed with that label.
    ///
    /// # Errors
    /// When it was sealed with another key, or changed.
    fn open(&self, label: &str, sealed: &str) -> Result<Vec<u8>, KindError>;
}

/// The versions of secrets and what was sealed, to be read only.
#[derive(Clone)]
pub struct SecretReader(Arc<dyn Keeper>);

impl SecretReader {
    /// Over what keeps them.
    pub fn new(keeper: Arc<dyn Keeper>) -> Self {
        Self(keeper)
    }

    /// The versions of one; `None` where the store has none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn versions(&self, name: &str) -> Result<Option<SecretVersions>, KindError> {
        self.0.versions(name)
    }

    /// As [`Keeper::open`].
    ///
    /// # Errors
    /// When it was sealed with another key, or changed.
    pub fn open(&self, label: &str, sealed: &str) -> Result<Vec<u8>, KindError> {
        self.0.open(label, sealed)
    }
}

/// An HTTP client that can only ask.
#[derive(Clone)]
pub struct Reader(Arc<Client>);

impl Reader {
    /// Over a client.
    pub fn new(client: Arc<Client>) -> Self {
        Self(client)
    }

    /// A GET request.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn get(&self, url: reqwest::Url) -> Result<reqwest::RequestBuilder, KindError> {
        Ok(self.0.get()?.get(url))
    }

    /// A HEAD request.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn head(&self, url: reqwest::Url) -> Result<reqwest::RequestBuilder, KindError> {
        Ok(self.0.get()?.head(url))
    }
}

/// The erased form, as the catalogue keeps it.
pub trait AnyKind: Send + Sync {
    /// What the checker knows of it.
    fn info(&self) -> &KindInfo;
    /// What is wrong with a `with` whose templates are resolved.
    fn validate(&self, with: &Json) -> Vec<String>;
    /// As [`Kind::observe`]; the outputs of `Satisfied` as JSON.
    fn observe<'a>(&'a self, with: &'a Json, cx: &'a ReadCx) -> BoxFuture<'a, Result<Observation<Json>, KindError>>;
    /// As [`Kind::apply`].
    fn apply<'a>(&'a self, with: &'a Json, cx: &'a Cx) -> BoxFuture<'a, Result<Json, KindError>>;
    /// As [`Kind::verify`].
    fn verify<'a>(&'a self, with: &'a Json, out: &'a Json, cx: &'a ReadCx) -> BoxFuture<'a, Result<(), KindError>>;
    /// As [`Kind::undo`].
    fn undo<'a>(&'a self, record: &'a Json, cx: &'a Cx) -> BoxFuture<'a, Result<(), KindError>>;
}

/// Takes back what the records of a step say, in their order. One that fails ends it, unless the others are
/// [apart](KindError::apart) from it.
///
/// # Errors
/// Those of the records, in one.
pub async fn undo_all(kind: &dyn AnyKind, records: &[Json], cx: &Cx) -> Result<(), KindError> {
    let mut wrong = Vec::new();
    for record in records {
        let Err(error) = kind.undo(record, cx).await else { continue };
        let last = !error.apart;
        wrong.push(error);
        if last {
            break;
        }
    }
    KindError::joined(&wrong).map_or(Ok(()), Err)
}

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Erases a kind.
pub fn erase<K: Kind>(_kind: K) -> Arc<dyn AnyKind> {
    Arc::new(Erased::<K> { info: info::<K>(), kind: std::marker::PhantomData })
}

struct Erased<K> {
    info: KindInfo,
    kind: std::marker::PhantomData<fn() -> K>,
}

fn read<T: DeserializeOwned>(value: &Json, what: &str) -> Result<T, KindError> {
    serde_path_to_error::deserialize(value).map_err(|e| match e.path().to_string().as_str() {
        "." => KindError::new(format!("{what}: {}", e.inner())),
        field => KindError::new(format!("{what}.{field}: {}", e.inner())),
    })
}

/// What was given to [`Cx::intend`], as its kind wrote it.
///
/// # Errors
/// When it is something else.
pub fn recorded<T: DeserializeOwned>(record: &Json) -> Result<T, KindError> {
    serde_json::from_value(record.clone()).map_err(|e| KindError::new(format!("cannot read the record: {e}")))
}

fn write<T: Serialize>(value: &T) -> Result<Json, KindError> {
    serde_json::to_value(value).map_err(|e| KindError::new(format!("outputs: {e}")))
}

impl<K: Kind> AnyKind for Erased<K> {
    fn info(&self) -> &KindInfo {
        &self.info
    }

    fn validate(&self, with: &Json) -> Vec<String> {
        match read::<K::With>(with, "with") {
            Ok(with) => K::validate(&with),
            Err(e) => vec![e.message],
        }
    }

    fn observe<'a>(&'a self, with: &'a Json, cx: &'a ReadCx) -> BoxFuture<'a, Result<Observation<Json>, KindError>> {
        Box::pin(async move {
            let with = read::<K::With>(with, "with")?;
            Ok(match K::observe(&with, cx).await? {
                Observation::Satisfied(out) => Observation::Satisfied(write(&out)?),
                Observation::Differs(changes) => Observation::Differs(changes),
                Observation::Absent => Observation::Absent,
                Observation::Anew(changes) => Observation::Anew(changes),
                Observation::Unknown(why) => Observation::Unknown(why),
            })
        })
    }

    fn apply<'a>(&'a self, with: &'a Json, cx: &'a Cx) -> BoxFuture<'a, Result<Json, KindError>> {
        Box::pin(async move {
            let with = read::<K::With>(with, "with")?;
            let wrong = K::validate(&with);
            if !wrong.is_empty() {
                return Err(KindError::new(wrong.join("; ")));
            }
            write(&K::apply(&with, cx).await?)
        })
    }

    fn verify<'a>(&'a self, with: &'a Json, out: &'a Json, cx: &'a ReadCx) -> BoxFuture<'a, Result<(), KindError>> {
        Box::pin(async move { K::verify(&read::<K::With>(with, "with")?, &read::<K::Out>(out, "outputs")?, cx).await })
    }

    fn undo<'a>(&'a self, record: &'a Json, cx: &'a Cx) -> BoxFuture<'a, Result<(), KindError>> {
        Box::pin(K::undo(record, cx))
    }
}

fn info<K: Kind>() -> KindInfo {
    let about = K::ABOUT;
    KindInfo {
        name: about.name.into(),
        summary: about.summary.into(),
        doc: about.doc.into(),
        input: schemars::schema_for!(K::With).to_value(),
        outputs: outputs(&schemars::schema_for!(K::Out).to_value()),
        effect: about.effect,
        observes: about.observes,
        undoes: about.undoes,
        reads_only: about.reads_only,
        repeats: about.repeats,
        deploys: about.deploys,
        file_inputs: about.file_inputs.iter().map(|s| (*s).into()).collect(),
        revision: about.revision,
        example: about.example.into(),
    }
}

fn outputs(schema: &Json) -> Vec<(String, ValueType, String)> {
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    let one = |(name, property): (&String, &Json)| {
        (name.clone(), value_type(property), property["description"].as_str().unwrap_or_default().to_owned())
    };
    properties.iter().map(one).collect()
}

fn value_type(property: &Json) -> ValueType {
    let name = match &property["type"] {
        Json::Array(types) => types.iter().filter_map(Json::as_str).find(|t| *t != "null"),
        other => other.as_str(),
    };
    match name {
        Some("string") => ValueType::String,
        Some("integer") => ValueType::Integer,
        Some("number") => ValueType::Number,
        Some("boolean") => ValueType::Boolean,
        Some("array") => ValueType::List,
        _ => ValueType::Object,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, serde::Deserialize)]
    struct Place {
        #[expect(dead_code, reason = "only read")]
        ports: Vec<u16>,
    }

    fn check(with: Json, expected: &str) {
        let wrong = read::<Place>(&with, "with").map(drop).unwrap_err();
        assert!(wrong.to_string().starts_with(expected), "{wrong}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        check(json!({ "ports": [80, "abc"] }), "with.ports[1]: invalid type: string \"abc\"");
        check(json!({}), "with: missing field `ports`");
    }
}
