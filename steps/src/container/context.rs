//! The context of a build: which files are sent, what they amount to, and the archive that is sent.

use super::ignored::Ignored;
use crate::file::failed;
use reqwest::Body;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc::{Sender, channel};
use trees_core::hash;
use trees_runner::kind::KindError;
use walkdir::WalkDir;

/// Bytes of the archive that are sent at once.
const PIECE: usize = 256 << 10;
/// Pieces that wait for a slow engine.
const WAITING: usize = 8;

/// The files of a context, sorted by their paths.
#[derive(Debug)]
pub struct Context {
    folder: PathBuf,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// From the context's top.
    path: PathBuf,
    mode: u32,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Folder,
    /// Its digest.
    File(String),
    /// Where it leads.
    Link(PathBuf),
}

impl Context {
    /// Lists a folder, without what its `.dockerignore` names; the Dockerfile and the `.dockerignore`
    /// are always among it. Pipes, sockets and devices are left out.
    ///
    /// # Errors
    /// When the Dockerfile is not in it, or a file cannot be read.
    pub fn list(folder: &Path, dockerfile: &str) -> Result<Self, KindError> {
        let dockerfile = Path::new(dockerfile);
        if !folder.join(dockerfile).is_file() {
            return Err(KindError::new(format!("there is no `{}` in `{}`", dockerfile.display(), folder.display()))
                .help("`file` names it, from the top of `context`"));
        }
        let text = match fs::read_to_string(folder.join(".dockerignore")) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(failed("cannot read", &folder.join(".dockerignore"), &e)),
        };
        let ignored = Ignored::read(&text).map_err(KindError::new)?;
        let always = |path: &Path| path == Path::new(".dockerignore") || dockerfile.starts_with(path);
        let below = |path: &Path| path.strip_prefix(folder).unwrap_or(path).to_path_buf();
        let walk = WalkDir::new(folder).min_depth(1).sort_by_file_name().into_iter();
        let walk = walk.filter_entry(|entry| {
            let path = below(entry.path());
            always(&path) || !(entry.file_type().is_dir() && ignored.is_final() && ignored.ignores(&path))
        });
        let mut entries = Vec::new();
        for found in walk {
            let found = found.map_err(|e| KindError::new(format!("context: {e}")))?;
            let path = below(found.path());
            if (always(&path) || !ignored.ignores(&path))
                && let Some(entry) = entry(found.path(), path)?
            {
                entries.push(entry);
            }
        }
        Ok(Self { folder: folder.to_path_buf(), entries })
    }

    /// One digest of all that is in it: paths, modes, contents, links; not times and owners.
    pub fn digest(&self) -> String {
        let mut all = Sha256::new();
        for entry in &self.entries {
            let what = match &entry.what {
                What::Folder => "folder".to_owned(),
                What::File(digest) => format!("file {digest}"),
                What::Link(to) => format!("link {}", to.display()),
            };
            all.update(format!("{}\0{:o}\0{what}\0", entry.path.display(), entry.mode));
        }
        hash::hex(&all.finalize())
    }

    /// How many files are sent.
    pub fn files(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.what, What::File(_))).count()
    }

    /// The archive, written while it is sent. A file that is not what it was when it was listed breaks it off.
    pub fn archive(self) -> Body {
        let (pieces, inbox) = channel::<io::Result<Vec<u8>>>(WAITING);
        tokio::task::spawn_blocking(move || {
            let mut out = Pieces { pieces: pieces.clone(), held: Vec::new() };
            let written = self.write(&mut out).and_then(|()| out.flush());
            if let Err(e) = written {
                let _ = pieces.blocking_send(Err(e));
            }
        });
        Body::wrap_stream(futures_util::stream::unfold(inbox, |mut inbox| async { inbox.recv().await.map(|piece| (piece, inbox)) }))
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(out);
        archive.mode(tar::HeaderMode::Complete);
        for entry in &self.entries {
            let path = self.folder.join(&entry.path);
            let meta = fs::symlink_metadata(&path)?;
            let mut header = tar::Header::new_gnu();
            header.set_mode(entry.mode);
            header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
            match &entry.what {
                What::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_size(0);
                    archive.append_data(&mut header, &entry.path, io::empty())?;
                }
                What::Link(to) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    archive.append_link(&mut header, &entry.path, to)?;
                }
                What::File(digest) => {
                    header.set_size(meta.len());
                    let mut file = Hashed { file: File::open(&path)?.take(meta.len()), digest: Sha256::new() };
                    archive.append_data(&mut header, &entry.path, &mut file)?;
                    if hash::hex(&file.digest.finalize()) != *digest {
                        return Err(io::Error::other(format!("`{}` changed while it was sent", path.display())));
                    }
                }
            }
        }
        archive.finish()
    }
}

fn entry(file: &Path, path: PathBuf) -> Result<Option<Entry>, KindError> {
    let wrong = |e: &io::Error| failed("cannot read", file, e);
    let meta = fs::symlink_metadata(file).map_err(|e| wrong(&e))?;
    let what = if meta.is_dir() {
        What::Folder
    } else if meta.is_symlink() {
        What::Link(fs::read_link(file).map_err(|e| wrong(&e))?)
    } else if meta.is_file() {
        let mut file = Hashed { file: File::open(file).map_err(|e| wrong(&e))?, digest: Sha256::new() };
        io::copy(&mut file, &mut io::sink()).map_err(|e| wrong(&e))?;
        What::File(hash::hex(&file.digest.finalize()))
    } else {
        return Ok(None);
    };
    let mode = if meta.is_symlink() { 0o777 } else { meta.permissions().mode() & 0o7777 };
    Ok(Some(Entry { path, mode, what }))
}

struct Hashed<R> {
    file: R,
    digest: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}

/// Sends what is written to it; fails once nobody listens.
struct Pieces {
    pieces: Sender<io::Result<Vec<u8>>>,
    held: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.held);
        if piece.is_empty() {
            return Ok(());
        }
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

#[cfg(test)]
mod tests {
    use super::Context;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn names(context: &Context) -> Vec<String> {
        context.entries.iter().map(|entry| entry.path.display().to_string()).collect()
    }

    fn list(folder: &Path) -> Context {
        Context::list(folder, "Dockerfile").unwrap()
    }

    #[test]
    fn what_is_ignored_is_not_sent_but_the_dockerfile_is() {
        let folder = folder(&[
            ("Dockerfile", "FROM scratch"),
            (".dockerignore", "*\n!src\nsrc/secret\n"),
            ("src/main.rs", "x"),
            ("src/secret", "x"),
            ("target/large", "x"),
        ]);
        assert_eq!(names(&list(folder.path())), [".dockerignore", "Dockerfile", "src", "src/main.rs"]);
        fs::write(folder.path().join(".dockerignore"), "target\nbuild").unwrap();
        fs::create_dir(folder.path().join("build")).unwrap();
        fs::write(folder.path().join("build/Dockerfile"), "FROM x").unwrap();
        let context = Context::list(folder.path(), "build/Dockerfile").unwrap();
        assert_eq!(names(&context), [".dockerignore", "Dockerfile", "build", "build/Dockerfile", "src", "src/main.rs", "src/secret"]);
        assert!(Context::list(folder.path(), "nope").unwrap_err().message.contains("there is no `nope` in"));
    }

    #[test]
    fn the_digest_is_of_what_matters() {
        let folder = folder(&[("Dockerfile", "FROM scratch"), ("a", "1")]);
        let first = list(folder.path()).digest();
        let (a, time) = (folder.path().join("a"), std::time::SystemTime::UNIX_EPOCH);
        fs::File::options().write(true).open(&a).unwrap().set_modified(time).unwrap();
        assert_eq!(list(folder.path()).digest(), first);
        fs::set_permissions(&a, fs::Permissions::from_mode(0o755)).unwrap();
        let second = list(folder.path()).digest();
        fs::write(&a, "2").unwrap();
        let third = list(folder.path()).digest();
        fs::remove_file(&a).unwrap();
        std::os::unix::fs::symlink("b", &a).unwrap();
        let fourth = list(folder.path()).digest();
        fs::rename(&a, folder.path().join("c")).unwrap();
        let all = [first, second, third, fourth, list(folder.path()).digest()];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn the_archive_has_all_of_it_and_none_that_changed() {
        let long = format!("deep/{}/{}", "a".repeat(120), "b".repeat(120));
        let folder = folder(&[("Dockerfile", "FROM scratch"), (&long, "deep"), ("large", &"x".repeat(1 << 20))]);
        std::os::unix::fs::symlink("../outside", folder.path().join("link")).unwrap();
        let context = list(folder.path());
        assert_eq!(context.files(), 3);
        let mut bytes = Vec::new();
        context.write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let found: Vec<String> = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(found.iter().map(|name| name.trim_end_matches('/').to_owned()).collect::<Vec<_>>(), names(&context));
        fs::write(folder.path().join("large"), "y".repeat(1 << 20)).unwrap();
        let wrong = context.write(&mut Vec::new()).unwrap_err().to_string();
        assert!(wrong.contains("large` changed while it was sent"), "{wrong}");
    }
}
