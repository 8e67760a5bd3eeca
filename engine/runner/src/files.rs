//! Files that a step depends on or leaves: found by globs, hashed by content.

use crate::mask::Masker;
use globset::{GlobBuilder, GlobMatcher};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use trees_core::hash;
use walkdir::WalkDir;

/// Never inputs.
const NEVER: &[&str] = &[".git", ".trees"];

/// The files and links below a folder that globs name, relative to it, sorted bytewise.
///
/// `*` and `?` stay within a folder, `**` does not; the plain name of a folder takes all in it; `!`
/// excludes, with a folder all in it. Links are not followed. With `optional` a glob may match nothing.
///
/// # Errors
/// A glob that is malformed, leaves the folder or matches nothing; a file whose name is not UTF-8;
/// a folder that cannot be read.
pub fn find(folder: &Path, globs: &[String], optional: bool) -> Result<Vec<String>, String> {
    let mut excludes = Vec::new();
    let mut includes = Vec::new();
    for glob in globs {
        match glob.strip_prefix('!') {
            Some(rest) => excludes.push(Glob::new(rest)?),
            None => includes.push(Glob::new(glob)?),
        }
    }
    let mut names: Vec<String> = Vec::new();
    for glob in &includes {
        let found = glob.walk(folder, &excludes)?;
        if found.is_empty() && !optional {
            return Err(format!("the input `{}` matches no file in {}: correct it, or say `optional: true`", glob.text, folder.display()));
        }
        names.extend(found);
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// One pattern of inputs.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    /// As written.
    pub text: String,
    /// What stands before the first special character, by whole path components.
    pub prefix: PathBuf,
    matcher: GlobMatcher,
    below: GlobMatcher,
    is_plain: bool,
}

impl Glob {
    /// Without the `!` of one that excludes.
    pub fn new(text: &str) -> Result<Self, String> {
        let plain = text.trim_start_matches("./").trim_end_matches('/');
        inside(plain).map_err(|e| format!("the input `{text}` {e}"))?;
        let matcher = |glob: &str| {
            let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build();
            built.map(|g| g.compile_matcher()).map_err(|e| format!("the input `{text}` is no glob: {}", e.kind()))
        };
        let special = |c: &Component<'_>| c.as_os_str().as_bytes().iter().any(|b| b"*?[]{}\\".contains(b));
        let prefix: PathBuf = Path::new(plain).components().take_while(|c| !special(c)).collect();
        let is_plain = !Path::new(plain).components().any(|c| special(&c));
        Ok(Self { text: text.into(), prefix, is_plain, matcher: matcher(plain)?, below: matcher(&format!("{plain}/**"))? })
    }

    /// Whether it names a file, as an input does.
    pub fn takes(&self, name: &str) -> bool {
        self.matcher.is_match(name) || (self.is_plain && self.below.is_match(name))
    }

    /// Whether it names a file, as one with `!` does.
    pub fn excludes(&self, name: &str) -> bool {
        self.matcher.is_match(name) || self.below.is_match(name)
    }

    /// How far below its prefix a file can be; `None`: however far.
    pub fn depth(&self) -> Option<usize> {
        let plain = self.text.trim_start_matches("./").trim_end_matches('/');
        let open = self.is_plain || plain.contains("**") || plain.contains(['{', '[']);
        (!open).then(|| Path::new(plain).components().count().saturating_sub(self.prefix.components().count()))
    }

    fn walk(&self, folder: &Path, excludes: &[Self]) -> Result<Vec<String>, String> {
        let start = folder.join(&self.prefix);
        let mut names = Vec::new();
        if start.symlink_metadata().is_err() || self.prefix.components().any(|c| is_never(c.as_os_str())) {
            return Ok(names);
        }
        let walk = WalkDir::new(&start).follow_links(false).follow_root_links(false);
        for entry in walk.into_iter().filter_entry(|e| e.depth() == 0 || !is_never(e.file_name())) {
            let entry = entry.map_err(|e| format!("cannot read the inputs `{}`: {e}", self.text))?;
            if entry.file_type().is_dir() {
                continue;
            }
            let relative = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            let Some(name) = relative.to_str() else {
                return Err(format!("the name of the input {} is not UTF-8: exclude it with `!`, or rename it", relative.display()));
            };
            if self.takes(name) && !excludes.iter().any(|e| e.excludes(name)) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

/// Whether a name is that of a folder of which nothing is ever an input.
pub(crate) fn is_never(name: &std::ffi::OsStr) -> bool {
    NEVER.iter().any(|never| name == *never)
}

/// A path that stays within its folder by its text alone.
fn inside(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("is empty");
    }
    let mut components = Path::new(path).components();
    if path.starts_with('/') {
        return Err("is absolute: write it relative to the folder of the tree file");
    }
    if components.any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err("leaves the folder of the tree file: `..` is not allowed");
    }
    Ok(())
}

/// The SHA-256 of each file's content (of a link: of where it points), by name.
///
/// # Errors
/// With the name of the file that cannot be read.
pub fn digests(folder: &Path, names: &[String]) -> Result<BTreeMap<String, String>, String> {
    let one = |name: &String| match digest(&folder.join(name)) {
        Ok(digest) => Ok((name.clone(), digest)),
        Err(e) => Err(format!("cannot read the input `{name}`: {e}")),
    };
    names.iter().map(one).collect()
}

/// The SHA-256 of a file's content, read in pieces; of a link, of where it points.
///
/// # Errors
/// When it cannot be read, or is neither file nor link (a pipe would be waited for).
pub fn digest(path: &Path) -> io::Result<String> {
    let kind = fs::symlink_metadata(path)?.file_type();
    let mut sum = Sha256::new();
    if kind.is_symlink() {
        sum.update(b"link\0");
        sum.update(fs::read_link(path)?.as_os_str().as_bytes());
    } else if kind.is_file() {
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => sum.update(&buffer[..count]),
            }
        }
    } else {
        return Err(io::Error::other("it is neither a file nor a link"));
    }
    Ok(hash::hex(&sum.finalize()))
}

/// The first file at or below a path whose name, link target or content holds a secret, relative to it.
///
/// # Errors
/// When something cannot be read.
pub fn betrayed(from: &Path, secrets: &Masker) -> io::Result<Option<PathBuf>> {
    if secrets.is_empty() {
        return Ok(None);
    }
    // What is kept of a link that is the artifact itself is what it leads to.
    let from = from.canonicalize()?;
    for entry in WalkDir::new(&from) {
        let entry = entry?;
        let name = entry.path().strip_prefix(&from).unwrap_or(entry.path());
        let holds = secrets.finds_bytes(name.as_os_str().as_encoded_bytes())
            || if entry.path_is_symlink() {
                secrets.finds_bytes(fs::read_link(entry.path())?.as_os_str().as_encoded_bytes())
            } else {
                entry.file_type().is_file() && secrets.finds_in(File::open(entry.path())?)?
            };
        if holds {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

/// Where an artifact's path leads: below the folder, also through links.
///
/// # Errors
/// One sentence when it is absolute, leaves the folder, or a folder on the way is a link out of it.
pub fn artifact(folder: &Path, path: &str) -> Result<PathBuf, String> {
    let plain = path.trim_end_matches('/');
    inside(plain).map_err(|e| format!("the artifact `{path}` {e}"))?;
    let full: PathBuf = folder.join(plain).components().collect();
    if full == folder.components().collect::<PathBuf>() {
        return Err(format!("the artifact `{path}` is the whole folder: name what the step makes"));
    }
    let root = folder.canonicalize().map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let mut parent = full.parent();
    while let Some(at) = parent {
        match at.canonicalize() {
            Ok(real) if real.starts_with(&root) => return Ok(full),
            Ok(_) => {
                return Err(format!(
                    "the artifact `{path}` leads out of the folder through a link: artifacts stay below {}",
                    folder.display()
                ));
            }
            // A folder that is still to be made; but what a dangling link names may be anywhere.
            Err(e) if e.kind() == io::ErrorKind::NotFound && at.symlink_metadata().is_err() => parent = at.parent(),
            Err(e) => return Err(format!("the artifact `{path}` cannot be reached: {e}")),
        }
    }
    Err(format!("the artifact `{path}` cannot be reached"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    const NAMES: &[&str] = &[
        "Cargo.toml",
        "Cargo.lock",
        "src/main.rs",
        "src/a/b.rs",
        "src/a/c.txt",
        "src/.hidden",
        "a-b/x",
        "a/x",
        ".git/HEAD",
        "sub/.git/HEAD",
        ".trees/db",
        "src/.trees/x",
        "é.txt",
        "[x]/y",
    ];

    #[track_caller]
    fn check(globs: &[&str], expected: &[&str]) {
        let folder = folder(NAMES);
        symlink("src/main.rs", folder.path().join("link.rs")).unwrap();
        symlink("src", folder.path().join("linked")).unwrap();
        symlink("nowhere", folder.path().join("dangling")).unwrap();
        let globs: Vec<String> = globs.iter().map(|g| (*g).into()).collect();
        assert_eq!(find(folder.path(), &globs, false).unwrap(), expected, "{globs:?}");
    }

    #[test]
    fn a_secret_in_a_file_or_in_its_name_betrays_an_artifact() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Masker::new(["correct horse battery"]);
        let check = |name: &str, content: &[u8], wanted: Option<&str>| {
            let from = folder.path().join("made");
            fs::create_dir_all(from.join("sub")).unwrap();
            fs::write(from.join(name), content).unwrap();
            assert_eq!(betrayed(&from, &secrets).unwrap().as_deref(), wanted.map(Path::new), "{name}");
            assert_eq!(betrayed(&from, &Masker::default()).unwrap(), None);
            fs::remove_dir_all(&from).unwrap();
        };
        check("sub/x", b"nothing", None);
        check("sub/x", b"a correct horse battery", Some("sub/x"));
        check("sub/x", &[&[0; 100_000][..], b"Y29ycmVjdCBob3JzZSBiYXR0ZXJ5"].concat(), Some("sub/x"));
        check("sub/correct horse battery", b"", Some("sub/correct horse battery"));
        symlink("correct horse battery", folder.path().join("link")).unwrap();
        fs::write(folder.path().join("correct horse battery"), "nothing").unwrap();
        assert_eq!(betrayed(&folder.path().join("link"), &secrets).unwrap(), None);
        // Four letters stand in every large file.
        assert!(!Masker::new(["abcd"]).finds_in(&b"abcd"[..]).unwrap());
    }

    #[test]
    fn globs() {
        check(&["src/**", "Cargo.*"], &["Cargo.lock", "Cargo.toml", "src/.hidden", "src/a/b.rs", "src/a/c.txt", "src/main.rs"]);
        check(&["src/**/*.rs"], &["src/a/b.rs", "src/main.rs"]);
        check(&["**/*.rs", "!src/a/**"], &["link.rs", "src/main.rs"]);
        check(&["!**/*.rs", "src"], &["src/.hidden", "src/a/c.txt"]);
        check(&["src", "!src/a"], &["src/.hidden", "src/main.rs"]);
        check(&["*"], &["Cargo.lock", "Cargo.toml", "dangling", "link.rs", "linked", "é.txt"]);
        check(&["a*/x"], &["a-b/x", "a/x"]);
        check(&["./Cargo.{toml,lock}", "Cargo.toml"], &["Cargo.lock", "Cargo.toml"]);
        check(&["linked", "dangling"], &["dangling", "linked"]);
        check(&["\\[x\\]/y"], &["[x]/y"]);
        check(&["a?b/x"], &["a-b/x"]);
        check(&["src/", "src/main.rs"], &["src/.hidden", "src/a/b.rs", "src/a/c.txt", "src/main.rs"]);
    }

    #[track_caller]
    fn refuse(glob: &str, expected: &str) {
        let folder = folder(NAMES);
        let message = find(folder.path(), &[glob.into()], false).unwrap_err();
        assert_eq!(message.replace(folder.path().to_str().unwrap(), "DIR"), expected);
    }

    #[test]
    fn globs_that_are_refused() {
        refuse("nothing/*.rs", "the input `nothing/*.rs` matches no file in DIR: correct it, or say `optional: true`");
        refuse(".git/**", "the input `.git/**` matches no file in DIR: correct it, or say `optional: true`");
        refuse("/etc/*", "the input `/etc/*` is absolute: write it relative to the folder of the tree file");
        refuse("src/../../x", "the input `src/../../x` leaves the folder of the tree file: `..` is not allowed");
        refuse("", "the input `` is empty");
        refuse("a[", "the input `a[` is no glob: unclosed character class; missing ']'");
        let folder = folder(&[]);
        assert_eq!(find(folder.path(), &["x".into()], true), Ok(vec![]));
    }

    #[test]
    fn a_digest_is_of_the_content_and_a_link_is_a_link() {
        let folder = folder(&["a", "b"]);
        fs::write(folder.path().join("b"), "a").unwrap();
        symlink("a", folder.path().join("l")).unwrap();
        let names: Vec<String> = ["a", "b", "l"].map(String::from).into();
        let found = digests(folder.path(), &names).unwrap();
        assert_eq!(found["a"], "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
        assert_eq!(found["a"], found["b"]);
        assert_ne!(found["a"], found["l"]);
        assert_eq!(
            digests(folder.path(), &["gone".into()]).unwrap_err(),
            "cannot read the input `gone`: No such file or directory (os error 2)"
        );
        assert_eq!(digest(folder.path()).unwrap_err().to_string(), "it is neither a file nor a link");
    }

    #[test]
    fn artifacts_stay_in_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let inner = folder(&["target/app", "x"]);
        symlink(outside.path(), inner.path().join("out")).unwrap();
        symlink("target", inner.path().join("in")).unwrap();
        symlink("/no/such/place", inner.path().join("gone")).unwrap();
        let show = |path: &str| artifact(inner.path(), path).map_err(|e| e.replace(inner.path().to_str().unwrap(), "DIR"));
        for path in ["target/app", "target", "new/deep/file", "in/app", "out", "./x"] {
            assert_eq!(show(path), Ok(inner.path().join(path).components().collect()), "{path}");
        }
        let out = |path: &str| format!("the artifact `{path}` leads out of the folder through a link: artifacts stay below DIR");
        assert_eq!(show("out/x"), Err(out("out/x")));
        assert_eq!(show("out/new/x"), Err(out("out/new/x")));
        assert!(show("gone/x").is_err());
        assert_eq!(
            show("/etc/passwd").unwrap_err(),
            "the artifact `/etc/passwd` is absolute: write it relative to the folder of the tree file"
        );
        assert_eq!(show("a/../../x").unwrap_err(), "the artifact `a/../../x` leaves the folder of the tree file: `..` is not allowed");
        assert_eq!(show(".").unwrap_err(), "the artifact `.` is the whole folder: name what the step makes");
        assert_eq!(show("").unwrap_err(), "the artifact `` is empty");
    }
}
