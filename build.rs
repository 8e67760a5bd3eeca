//! Gathers the cookbooks that are built into the binary: what belongs to them, and nothing that a
//! run of one left in its folder (a rendered project with its `target/`, a state folder).

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Names of files and folders that runs leave behind.
const LEFT_BY_RUNS: [&str; 7] =
    [".trees", "target", "slackpath-app", "fan-out-data", "fan-out-report.json", "wordpress-build", "wordpress-data"];

fn main() -> io::Result<()> {
    let out = env::var_os("OUT_DIR").map(PathBuf::from).ok_or_else(|| io::Error::other("OUT_DIR is not set"))?.join("cookbooks");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    copy(Path::new("cookbooks"), &out)
}

/// Watches files only: of a folder Cargo would watch all that a run leaves in it too, and every run
/// of a cookbook would cost a build. A file that is added is seen with the next change.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| LEFT_BY_RUNS.contains(&name)) {
            continue;
        }
        let (path, target) = (entry.path(), to.join(&name));
        if entry.file_type()?.is_dir() {
            copy(&path, &target)?;
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
