//! `git/tag`: a name for a commit, here and at a remote.

mod local;

use super::push::{here, ten_minutes};
use super::pushed::{Pushed, Update};
use super::reference::{tag, wrong_argument, wrong_name};
use super::upstream::Upstream;
use super::{Git, change, repository};
use crate::period::{Limit, Period};
use local::{Local, Said, annotate, digest, said, set, tidy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `git/tag`.
pub struct Tag;

/// What `git/tag` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The repository's folder, relative to the working folder.
    #[serde(default = "here")]
    pub folder: String,
    /// The tag's name.
    pub name: String,
    /// What it names: a branch, tag or commit; without, what is checked out.
    #[serde(default = "head")]
    pub commit: String,
    /// The message of an annotated tag; without, the tag is just a name for the commit.
    #[serde(default)]
    pub message: Option<String>,
    /// Sign it, as git's configuration says; needs a `message`.
    #[serde(default)]
    pub sign: bool,
    /// Push it: a remote of the repository's configuration, a URL, or a folder relative to the working folder.
    #[serde(default)]
    pub push: Option<String>,
    /// A tag of that name that is another one is moved; without, it is an error.
    #[serde(default, rename = "move")]
    pub moves: bool,
    /// For each word with the remote.
    #[serde(default = "ten_minutes", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
}

fn head() -> String {
    "HEAD".into()
}

/// What `git/tag` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The tag's name.
    pub name: String,
    /// The commit that it names.
    pub commit: String,
    /// The tag itself: of an annotated one its object, of another one the commit.
    pub object: String,
    /// Where it was pushed to, without a password or token; empty where it was not.
    pub remote: String,
    /// Whether anything had to be done.
    pub changed: bool,
}

/// How a tag is taken back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Local(Local),
    Remote(Pushed),
}

/// What there is.
struct Found<'a> {
    git: Git<'a>,
    commit: String,
    /// The tag here and what it says.
    here: Option<(String, Said)>,
    /// The remote, the tag there, and the commit that that names.
    there: Option<(Upstream<'a>, Option<String>, Option<String>)>,
}

impl Kind for Tag {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "git/tag",
        summary: "Tag a commit, and push the tag",
        doc: include_str!("tag.md"),
        example: "tree: release\nsteps:\n  tag:\n    uses: git/tag\n    with: { name: v1.2.0, message: Version 1.2.0, push: origin }\n",
        effect: Effect::External,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong: Vec<String> = wrong_name("name", &with.name).into_iter().chain(wrong_argument("commit", &with.commit)).collect();
        wrong.extend(with.push.as_deref().and_then(|remote| wrong_argument("push", remote)));
        if with.message.as_deref().is_some_and(|message| tidy(message).is_empty()) {
            wrong.push("message: it is empty".into());
        }
        if with.sign && with.message.is_none() {
            wrong.push("sign: only a tag with a `message` can be signed".into());
        }
        wrong
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let folder = cx.path(&with.folder);
        let found = look(with, Git::quiet(cx, &folder)).await?;
        let object = found.here.as_ref().filter(|(_, said)| with.is(&found.commit, said)).map(|(object, _)| object.clone());
        let remote = found.there.as_ref().map(|(_, object, _)| object.clone());
        if let Some(object) = object.filter(|here| remote.as_ref().is_none_or(|there| there.as_ref() == Some(here))) {
            return Ok(Observation::Satisfied(found.out(with, object, false)));
        }
        if found.here.is_none() && remote.flatten().is_none() {
            return Ok(Observation::Absent);
        }
        Ok(Observation::Differs(found.differences(with)))
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let folder = cx.path(&with.folder);
        let found = look(with, Git::logged(cx, &folder)).await?;
        let fetched = found.fetched(with).await?;
        found.check(with, fetched.as_ref())?;
        let mut changed = false;
        let object = match &found.here {
            Some((object, said)) if with.is(&found.commit, said) => object.clone(),
            Some(_) | None => {
                changed = true;
                let adopted = fetched.filter(|(_, said)| with.is(&found.commit, said)).map(|(object, _)| object);
                found.make(with, cx, adopted).await?
            }
        };
        if let Some((upstream, there, _)) = &found.there
            && there.as_ref() != Some(&object)
        {
            changed = true;
            let update = [Update { name: tag(&with.name), before: there.clone(), after: Some(object.clone()) }];
            cx.intend(Record::Remote(upstream.record(&update))).await?;
            upstream.push(&update).await?;
        }
        Ok(found.out(with, object, changed))
    }

    async fn verify(with: &With, out: &Out, cx: &ReadCx) -> Result<(), KindError> {
        let Some(remote) = &with.push else { return Ok(()) };
        let folder = cx.path(&with.folder);
        let upstream = Upstream::find(Git::quiet(cx, &folder), remote, with.timeout).await?;
        let there = upstream.list(&[tag(&with.name)]).await?;
        match there.get(&tag(&with.name)) {
            Some(there) if *there == out.object => Ok(()),
            there => {
                let has = there.map_or("nothing", String::as_str);
                Err(KindError::new(format!("`{}` of `{}` is {has} right after {} was pushed there", with.name, out.remote, out.object)))
            }
        }
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        match recorded(record)? {
            Record::Local(local) => local.undo(cx).await,
            Record::Remote(pushed) => pushed.undo(cx).await,
        }
    }
}

impl With {
    /// Whether a tag is the one asked for.
    fn is(&self, commit: &str, said: &Said) -> bool {
        said.commit == commit && said.message == self.message.as_deref().map(tidy) && (said.signed || !self.sign)
    }
}

async fn look<'a>(with: &With, git: Git<'a>) -> Result<Found<'a>, KindError> {
    let quiet = Git { log: None, ..git };
    repository(quiet).await?;
    let commit = quiet.commit(&with.commit).await?;
    let commit = commit.ok_or_else(|| KindError::new(format!("`{}` has no branch, tag or commit `{}`", git.dir.display(), with.commit)))?;
    let here = match quiet.reference(&tag(&with.name)).await? {
        Some(object) => Some((object.clone(), said(quiet, &object).await?)),
        None => None,
    };
    let there = match &with.push {
        Some(remote) => {
            let upstream = Upstream::find(git, remote, with.timeout).await?;
            let mut there = upstream.list(&[tag(&with.name)]).await?;
            let object = there.remove(&tag(&with.name));
            let named = there.remove(&format!("{}^{{}}", tag(&with.name))).or_else(|| object.clone());
            Some((upstream, object, named))
        }
        None => None,
    };
    Ok(Found { git, commit, here, there })
}

impl Found<'_> {
    fn out(&self, with: &With, object: String, changed: bool) -> Out {
        let remote = self.there.as_ref().map_or_else(String::new, |(upstream, _, _)| upstream.url.clone());
        Out { name: with.name.clone(), commit: self.commit.clone(), object, remote, changed }
    }

    fn differences(&self, with: &With) -> Vec<Change> {
        let mut changes = Vec::new();
        match &self.here {
            None => changes.push(change("tag", None::<&str>, &self.commit)),
            Some((_, said)) if said.commit != self.commit => changes.push(change("commit", &said.commit, &self.commit)),
            Some((_, said)) if said.message != with.message.as_deref().map(tidy) => {
                changes.push(change("message", &said.message, &with.message));
            }
            Some((_, said)) if with.sign && !said.signed => changes.push(change("sign", false, true)),
            Some(_) => {}
        }
        if let Some((_, object, named)) = &self.there {
            let here = self.here.as_ref().map(|(object, _)| object);
            match named {
                Some(named) if *named != self.commit => changes.push(change("remote", named, &self.commit)),
                Some(_) | None if object.as_ref() != here => changes.push(change("remote", object, here.unwrap_or(&self.commit))),
                Some(_) | None => {}
            }
        }
        changes
    }

    /// The remote's tag and what it says, brought here; an undo may need it, too.
    async fn fetched(&self, with: &With) -> Result<Option<(String, Said)>, KindError> {
        let Some((upstream, Some(object), _)) = &self.there else { return Ok(None) };
        if !upstream.git().has(object).await? {
            upstream.fetch(&tag(&with.name)).await?;
        }
        Ok(Some((object.clone(), said(upstream.git(), object).await?)))
    }

    /// Another tag of that name is only moved on demand.
    fn check(&self, with: &With, fetched: Option<&(String, Said)>) -> Result<(), KindError> {
        if with.moves {
            return Ok(());
        }
        let remote = self.there.as_ref().map_or("", |(upstream, _, _)| upstream.url.as_str());
        let folder = self.git.dir.display().to_string();
        for (place, tag) in [(folder.as_str(), self.here.as_ref()), (remote, fetched)] {
            let Some((_, said)) = tag.filter(|(_, said)| !with.is(&self.commit, said)) else { continue };
            let what = match said {
                Said { commit, .. } if *commit != self.commit => format!("of {commit}, not of {}", self.commit),
                Said { message, .. } if *message != with.message.as_deref().map(tidy) => "with another message".into(),
                Said { .. } => "without a signature".into(),
            };
            return Err(KindError::new(format!("`{place}` has a tag `{}` already, {what}", with.name))
                .help("give another name; or `move: true`, if those who have the tag can live with that"));
        }
        let same = match (&self.here, fetched) {
            (Some((here, _)), Some((there, _))) => here == there,
            (_, _) => true,
        };
        if same {
            return Ok(());
        }
        let message = format!("`{remote}` has a tag `{}` that says the same and was made separately", with.name);
        Err(KindError::new(message).help("delete the one here, so that the remote's is taken; or `move: true`"))
    }

    /// Makes the tag here, or takes the remote's.
    async fn make(&self, with: &With, cx: &Cx, adopted: Option<String>) -> Result<String, KindError> {
        let before = self.here.as_ref().map(|(object, _)| object.clone());
        let (folder, message) = (self.git.dir.to_path_buf(), with.message.as_deref().map(tidy).map(digest));
        let local = Local { folder, name: with.name.clone(), before: before.clone(), commit: self.commit.clone(), message };
        cx.intend(Record::Local(local)).await?;
        let name = tag(&with.name);
        match (adopted, &with.message) {
            (Some(object), _) => set(self.git, &name, &object, before.as_deref()).await?,
            (None, None) => set(self.git, &name, &self.commit, before.as_deref()).await?,
            (None, Some(message)) => annotate(self.git, with, &self.commit, message).await?,
        }
        self.git.run(&["rev-parse", "--verify", &name]).await
    }
}

#[cfg(test)]
mod tests;
