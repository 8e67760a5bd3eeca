//! What is sent to a host: the files of a release, the files of an instance, as `tar` reads them.

use super::super::record::{Program, Release, Role};
use super::look::Tool;
use super::script::SUPERVISE;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tar::{Builder, EntryType, Header};
use trees_core::hash;
use trees_runner::kind::KindError;
use walkdir::WalkDir;

fn failed(what: &str, e: impl std::fmt::Display) -> KindError {
    KindError::new(format!("cannot pack {what}: {e}"))
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header
}

/// Digest and mode of files, as a host tells them with its tool.
///
/// # Errors
/// When a file cannot be read.
pub fn digests(files: &BTreeMap<String, PathBuf>, tool: Tool) -> Result<BTreeMap<String, String>, KindError> {
    let one = |path: &Path| -> std::io::Result<String> {
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        let bytes = fs::read(path)?;
        Ok(match tool {
            Tool::Sha256 => format!("{} {mode:03o}", hash::bytes(&bytes)),
            Tool::Cksum => format!("cksum {} {} {mode:03o}", cksum(&bytes), bytes.len()),
        })
    };
    let text = |path: &Path| one(path).map_err(|e| KindError::new(format!("files: cannot read `{}`: {e}", path.display())));
    files.iter().map(|(name, path)| Ok((name.clone(), text(path)?))).collect()
}

/// The sum of POSIX's `cksum`.
fn cksum(bytes: &[u8]) -> u32 {
    let step =
        |sum: u32, byte: u8| (0..8).fold(sum ^ (u32::from(byte) << 24), |s, _| if s >> 31 == 1 { (s << 1) ^ 0x04c1_1db7 } else { s << 1 });
    let length = bytes.len().to_le_bytes();
    let used = length.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    !bytes.iter().chain(&length[..used]).fold(0, |sum, byte| step(sum, *byte))
}

/// Writes the files of a release, but for those that are there already, to a file.
///
/// # Errors
/// When one cannot be read.
pub fn release(sources: &[(String, PathBuf)], there: &BTreeSet<String>, to: &Path) -> Result<(), KindError> {
    let file = File::create(to).map_err(|e| failed("the release", e))?;
    let mut archive = Builder::new(std::io::BufWriter::new(file));
    for (name, source) in sources {
        for entry in WalkDir::new(source).follow_links(true).sort_by_file_name() {
            let entry = entry.map_err(|e| failed(name, e))?;
            let below = entry.path().strip_prefix(source).unwrap_or(Path::new(""));
            let path = if below.as_os_str().is_empty() { PathBuf::from(name) } else { Path::new(name).join(below) };
            if entry.file_type().is_dir() {
                let mut head = header(EntryType::Directory, 0o755, 0);
                archive.append_data(&mut head, &path, std::io::empty()).map_err(|e| failed(name, e))?;
            } else if entry.file_type().is_file() && !path.to_str().is_some_and(|path| there.contains(path)) {
                append(&mut archive, entry.path(), &path).map_err(|e| failed(&entry.path().display().to_string(), e))?;
            }
        }
    }
    let mut out = archive.into_inner().map_err(|e| failed("the release", e))?;
    out.flush().map_err(|e| failed("the release", e))
}

fn append(archive: &mut Builder<impl Write>, source: &Path, path: &Path) -> std::io::Result<()> {
    let file = File::open(source)?;
    let meta = file.metadata()?;
    let mut head = header(EntryType::Regular, meta.permissions().mode() & 0o777, meta.len());
    // A file that grows meanwhile would break the archive; that it changed is found by its digest.
    archive.append_data(&mut head, path, file.take(meta.len()))
}

/// What an instance is started with.
pub struct Start<'a> {
    /// The deployment's folder there.
    pub root: &'a str,
    /// The release.
    pub release: &'a Release,
    /// Serving, or being tried.
    pub role: Role,
    /// Where it listens.
    pub port: Option<u16>,
    /// Its unit, where systemd supervises it.
    pub unit: Option<String>,
}

impl Start<'_> {
    /// Its files: all readable by their owner alone, since the environment may be secret.
    ///
    /// # Errors
    /// Never but for want of memory.
    pub fn archive(&self) -> Result<Vec<u8>, KindError> {
        let release = self.release;
        let Program { mut command, env } = release.on_port(self.port);
        let folder = format!("{}/releases/{}", self.root, release.folder);
        if let Some(program) = command.first_mut()
            && let Some(own) = program.strip_prefix("./")
        {
            *program = format!("{folder}/{own}");
        }
        let longest = release.health_timeout + Duration::from_secs(30);
        let tenths = |time: Duration| time.as_millis().div_ceil(100).to_string();
        let (role, expires) = match self.role {
            Role::Live => ("live", "0".to_owned()),
            Role::Trial => ("trial", tenths(longest)),
        };
        let place =
            if release.environment.is_empty() { release.project.clone() } else { format!("{}/{}", release.project, release.environment) };
        let line = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let mut files: Vec<(String, String)> = vec![
            ("supervise".into(), SUPERVISE.into()),
            ("release".into(), folder),
            ("folder".into(), release.folder.clone()),
            ("role".into(), role.into()),
            ("port".into(), self.port.map(|port| port.to_string()).unwrap_or_default()),
            ("drain".into(), tenths(release.drain)),
            ("expires".into(), expires),
            ("unit".into(), self.unit.clone().unwrap_or_default()),
            ("description".into(), line(&format!("{} {} (trees:{place})", release.name, release.release)).replace('%', "%%")),
        ];
        files.extend(command.into_iter().enumerate().map(|(n, word)| (format!("argv/{n:06}"), word)));
        files.extend(env.into_iter().map(|(name, value)| (format!("env/{name}"), value)));
        files.push(("whole".into(), String::new()));
        let mut archive = Builder::new(Vec::new());
        for (name, text) in files {
            let text = format!("{text}\n");
            let mut head = header(EntryType::Regular, 0o600, text.len() as u64);
            archive.append_data(&mut head, &name, text.as_bytes()).map_err(|e| failed(&name, e))?;
        }
        archive.into_inner().map_err(|e| failed("an instance", e))
    }
}

#[cfg(test)]
mod tests {
    use super::{cksum, release};
    use std::collections::BTreeSet;

    #[test]
    fn sums_are_those_of_cksum() {
        for (text, sum) in [("", 4_294_967_295), ("a", 1_220_704_766), ("123456789", 930_766_865)] {
            assert_eq!(cksum(text.as_bytes()), sum, "{text}");
        }
        let long: Vec<u8> = (0..70_000_u32).map(|n| (n % 251) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x"), &long).unwrap();
        let done = std::process::Command::new("cksum").arg(folder.path().join("x")).output().unwrap();
        assert!(String::from_utf8_lossy(&done.stdout).starts_with(&format!("{} 70000 ", cksum(&long))));
    }

    #[test]
    fn a_release_is_packed_without_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("site");
        std::fs::create_dir_all(source.join("empty")).unwrap();
        std::fs::write(source.join("old"), "1").unwrap();
        std::fs::write(source.join(format!("{}.txt", "long".repeat(50))), "2").unwrap();
        let to = folder.path().join("tar");
        release(&[("public".into(), source)], &BTreeSet::from(["public/old".into()]), &to).unwrap();
        let mut archive = tar::Archive::new(std::fs::File::open(to).unwrap());
        let names: Vec<String> = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["public".to_owned(), "public/empty".into(), format!("public/{}.txt", "long".repeat(50))]);
    }
}
