//! What a look at a host shows.

use super::super::record::{Release, Role};
use std::collections::BTreeMap;
use trees_runner::kind::{KindError, SecretReader};

/// What files are digested with there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tool {
    /// `sha256sum` or `shasum`.
    #[default]
    Sha256,
    /// `cksum`, where neither is there.
    Cksum,
}

/// A host and the deployment on it.
#[derive(Debug, Default)]
pub struct Seen {
    /// The deployment's folder, absolute.
    pub root: String,
    /// Programs that are needed and not there.
    pub missing: Vec<String>,
    /// What files are digested with.
    pub tool: Tool,
    /// Who we are there.
    pub user: String,
    /// There is `setsid`.
    pub setsid: bool,
    /// The user's systemd is there, and stays without a session.
    pub systemd: bool,
    /// The folder can be written, or made.
    pub writable: bool,
    /// The folder, or the nearest one above it that is there.
    pub place: String,
    /// Free space in KiB, where it is told.
    pub free: Option<u64>,
    /// The folder name of the release that `current` names.
    pub current: Option<String>,
    /// The folder names of all releases, the oldest first.
    pub releases: Vec<String>,
    /// What is recorded of them, all but how they are started, and as it stands there.
    pub records: Vec<(Release, String)>,
    /// All instances, the oldest first.
    pub instances: Vec<Instance>,
    /// Digest and mode of the files of the current release.
    pub files: BTreeMap<String, String>,
}

/// `instances/<number>` there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// Its folder's name.
    pub number: String,
    /// The release's folder name.
    pub folder: String,
    /// Serving, or being tried; `None` where it was not written to its end.
    pub role: Option<Role>,
    /// Its unit, where systemd supervises it.
    pub unit: String,
    /// Its supervisor lives.
    pub supervised: bool,
    /// Its process lives.
    pub alive: bool,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// It will not be started again.
    pub ended: bool,
    /// It was asked to end.
    pub asked: bool,
    /// Files with what it is started with are there.
    pub plain: bool,
    /// How its process ended last.
    pub last: String,
    /// Somebody listens on the port that was asked about; `None` where the host does not tell.
    pub listens: Option<bool>,
}

impl Instance {
    /// Something of it lives.
    pub fn lives(&self) -> bool {
        self.supervised || self.alive
    }

    /// It lives, and is to live on.
    pub fn serves(&self) -> bool {
        self.supervised && self.alive && !self.asked
    }
}

impl Seen {
    /// Reads the lines of a look. What is not known is left out: a later version may say more.
    pub fn read(lines: &[String]) -> Self {
        let mut seen = Self::default();
        let mut digests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in lines {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "root" => seen.root = value.into(),
                "missing" => seen.missing = value.split_whitespace().map(str::to_owned).collect(),
                "tool" => seen.tool = if value == "cksum" { Tool::Cksum } else { Tool::Sha256 },
                "user" => seen.user = value.into(),
                "setsid" => seen.setsid = value == "yes",
                "systemd" => seen.systemd = value == "yes",
                "writable" => seen.writable = value == "yes",
                "place" => seen.place = value.into(),
                "free" => seen.free = value.parse().ok(),
                "current" => seen.current = (!value.is_empty()).then(|| value.to_owned()),
                "release" => seen.releases.push(value.into()),
                "record" => seen.records.extend(Release::outside(value.as_bytes()).map(|release| (release, value.to_owned()))),
                "digest" | "mode" => {
                    if let Some((name, told)) = file(value, key == "mode", seen.tool) {
                        digests.entry(name).or_default().extend(told);
                    }
                }
                "instance" => seen.instances.push(Instance { number: value.into(), ..Instance::default() }),
                _ => seen.instances.iter_mut().last().into_iter().for_each(|instance| instance.note(key, value)),
            }
        }
        seen.files = joined(digests, seen.tool);
        seen
    }

    fn recorded(&self, folder: &str) -> Option<&(Release, String)> {
        self.records.iter().find(|(release, _)| release.folder == folder && self.releases.iter().any(|there| there == folder))
    }

    /// What is recorded of a release whose folder is there, without how it is started.
    pub fn outside(&self, folder: &str) -> Option<&Release> {
        self.recorded(folder).map(|(release, _)| release)
    }

    /// What is recorded of a release whose folder is there.
    ///
    /// # Errors
    /// When it was sealed with another master key.
    pub fn release(&self, folder: &str, secrets: &SecretReader) -> Result<Option<Release>, KindError> {
        let cure = "use the same TREES_MASTER_KEY on all machines that deploy there";
        self.recorded(folder).map_or(Ok(None), |(_, text)| Release::opened(text.as_bytes(), secrets).map_err(|e| e.help(cure)))
    }

    /// The newest living instance that serves this release.
    pub fn live(&self, folder: &str) -> Option<&Instance> {
        self.instances.iter().rev().find(|i| i.role == Some(Role::Live) && i.folder == folder && i.lives())
    }

    /// A number for a new instance.
    pub fn next(&self) -> String {
        let last = self.instances.iter().filter_map(|i| i.number.parse::<u64>().ok()).max();
        format!("{:06}", last.unwrap_or(0) + 1)
    }

    /// There is a deployment, or what is left of one.
    pub fn exists(&self) -> bool {
        self.place == self.root
    }
}

impl Instance {
    /// Reads the lines of one instance.
    pub fn read(lines: &[String]) -> Self {
        let mut instance = Self::default();
        for line in lines {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            if key == "instance" { instance.number = value.into() } else { instance.note(key, value) }
        }
        instance
    }

    fn note(&mut self, key: &str, value: &str) {
        match key {
            "folder" => self.folder = value.into(),
            "role" => {
                self.role = match value {
                    "live" => Some(Role::Live),
                    "trial" => Some(Role::Trial),
                    _ => None,
                }
            }
            "unit" => self.unit = value.into(),
            "supervised" => self.supervised = value == "yes",
            "alive" => self.alive = value == "yes",
            "pid" => self.pid = value.parse().ok(),
            "restarts" => self.restarts = value.parse().unwrap_or(0),
            "ended" => self.ended = value == "yes",
            "asked" => self.asked = value == "yes",
            "plain" => self.plain = value == "yes",
            "last" => self.last = value.into(),
            "listens" => self.listens = (value != "unknown").then_some(value == "yes"),
            _ => {}
        }
    }
}

/// The files of digest lines alone, as they come after files were sent.
pub fn files(lines: &[String], tool: Tool) -> BTreeMap<String, String> {
    let mut digests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, value) in lines.iter().filter_map(|line| line.split_once(' ')) {
        if let Some((name, told)) = file(value, key == "mode", tool) {
            digests.entry(name).or_default().extend(told);
        }
    }
    joined(digests, tool)
}

/// Name and words of one line: `HEX  ./name`, `CRC SIZE ./name` or `MODE ./name`. Names that are shown
/// in another way than they are written are none of ours.
fn file(value: &str, is_mode: bool, tool: Tool) -> Option<(&str, Vec<&str>)> {
    let (words, name) = value.split_once(" ./").or_else(|| value.split_once("*./"))?;
    let words: Vec<&str> = words.split_whitespace().collect();
    let expected = if !is_mode && tool == Tool::Cksum { 2 } else { 1 };
    (words.len() == expected).then_some((name, words))
}

/// Digest and mode in one text. The mode has three digits, whatever stood before them.
fn joined(digests: BTreeMap<&str, Vec<&str>>, tool: Tool) -> BTreeMap<String, String> {
    let text = |words: Vec<&str>| match (tool, words.as_slice()) {
        (Tool::Sha256, [digest, mode]) => Some(format!("{digest} {}", three(mode))),
        (Tool::Cksum, [sum, size, mode]) => Some(format!("cksum {sum} {size} {}", three(mode))),
        (Tool::Sha256 | Tool::Cksum, _) => None,
    };
    digests.into_iter().filter_map(|(name, words)| Some((name.to_owned(), text(words)?))).collect()
}

fn three(mode: &str) -> String {
    let start = mode.len().saturating_sub(3);
    format!("{:0>3}", mode.get(start..).unwrap_or(mode))
}

#[cfg(test)]
mod tests {
    use super::{Instance, Role, Seen, Tool};

    fn seen(text: &str) -> Seen {
        Seen::read(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_look_is_read() {
        let seen = seen(
            "root /srv/x\nmissing\ntool sha256sum\nuser deploy\nsetsid yes\nsystemd no\nwritable yes\nplace /srv\nfree 12\ncurrent v1\n\
             release v0\nrelease v1\nrecord {broken\ninstance 000003\nfolder v1\nrole live\nport 80\nunit \nsupervised yes\nalive yes\npid 42\n\
             restarts 2\nended \nlast signal: 9\ninstance 000004\nfolder \nrole \nsupervised no\nalive no\npid \n\
             digest aa  ./a b\ndigest bb *./c/d\ndigest \\cc  ./odd\\nname\nmode 644 ./a b\nmode 4755 ./c/d\nmode 0 ./left",
        );
        assert_eq!((seen.root.as_str(), seen.place.as_str(), seen.free, seen.current.as_deref()), ("/srv/x", "/srv", Some(12), Some("v1")));
        assert_eq!((seen.missing.len(), seen.releases.len(), seen.records.len(), seen.exists()), (0, 2, 0, false));
        assert_eq!(seen.files.into_iter().collect::<Vec<_>>(), [("a b".into(), "aa 644".into()), ("c/d".into(), "bb 755".into())]);
        let [one, two] = seen.instances.as_slice() else { panic!("two instances") };
        assert!(one.lives() && one.pid == Some(42) && one.restarts == 2 && one.role == Some(Role::Live) && one.last == "signal: 9");
        assert!(!two.lives() && two.role.is_none());
    }

    #[test]
    fn a_host_without_sha256_tells_sums() {
        let seen = seen("tool cksum\nmissing tar stat\ndigest 123 45 ./x\nmode 600 ./x");
        assert_eq!((seen.tool, seen.files["x"].as_str(), seen.missing.len()), (Tool::Cksum, "cksum 123 45 600", 2));
        assert_eq!(Instance::read(&["listens unknown".into()]).listens, None);
        assert_eq!(Instance::read(&["listens yes".into()]).listens, Some(true));
    }
}
