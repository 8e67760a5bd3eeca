//! What sort of file system the state folder is on: over a network, locks and the write-ahead log
//! lie, so such a folder is refused.

use crate::error::{io_unusable, unusable};
use std::path::Path;
use trees_core::journal::JournalError;

/// Refuses a folder on a network file system.
pub(crate) fn refuse_network(folder: &Path) -> Result<(), JournalError> {
    match network(folder).map_err(|error| io_unusable(folder, "looking at the file system of", folder, &error))? {
        Some(name) => Err(unusable(
            folder,
            format!("it is on a network file system ({name}), where locks do not hold; choose a local folder with --state or TREES_STATE"),
        )),
        None => Ok(()),
    }
}

/// Whether not even the smallest thing fits on the file system of a folder: the index that SQLite
/// keeps beside a log takes as much.
pub(crate) fn is_full(folder: &Path) -> bool {
    const SMALLEST: u64 = 32 << 10;
    let full = |stat: rustix::fs::StatVfs| {
        // What is kept back is kept for root.
        let blocks = if rustix::process::geteuid().is_root() { stat.f_bfree } else { stat.f_bavail };
        // Some file systems do not say how large they are.
        stat.f_blocks > 0 && blocks.saturating_mul(stat.f_frsize) < SMALLEST
    };
    rustix::fs::statvfs(folder).is_ok_and(full)
}

/// Free bytes for us on the file system of a folder.
pub(crate) fn free(folder: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The name of the network file system that the folder is on, if it is on one.
#[cfg(target_os = "linux")]
pub(crate) fn network(folder: &Path) -> std::io::Result<Option<String>> {
    let magic = u64::try_from(rustix::fs::statfs(folder)?.f_type).unwrap_or(0) & 0xFFFF_FFFF;
    if magic == FUSE {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        return Ok(mount_type(&mounts, folder).filter(|name| is_network_fuse(name)));
    }
    Ok(NETWORK.iter().find(|(known, _)| *known == magic).map(|(_, name)| (*name).into()))
}

/// The name of the network file system that the folder is on, if it is on one.
#[cfg(target_os = "macos")]
pub(crate) fn network(folder: &Path) -> std::io::Result<Option<String>> {
    let stat = rustix::fs::statfs(folder)?;
    let name: String = stat.f_fstypename.iter().take_while(|c| **c != 0).map(|c| char::from(c.unsigned_abs())).collect();
    let known = ["nfs", "smbfs", "afpfs", "webdav", "ftp"];
    Ok((known.contains(&name.as_str()) || is_network_fuse(&name)).then_some(name))
}

#[cfg(target_os = "linux")]
const FUSE: u64 = 0x6573_5546;

#[cfg(target_os = "linux")]
const NETWORK: &[(u64, &str)] = &[
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x564C, "ncp"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "afs"),
    (0x7375_7245, "coda"),
    (0x00C3_6400, "ceph"),
    (0x0BD0_0BD0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x1983_0326, "beegfs"),
    (0x0102_1997, "9p"),
];

/// FUSE carries local file systems too (fuse-overlayfs, ntfs-3g): only those known to be remote.
fn is_network_fuse(name: &str) -> bool {
    let remote = [
        "sshfs",
        "osxfuse",
        "macfuse",
        "rclone",
        "s3fs",
        "gcsfuse",
        "goofys",
        "glusterfs",
        "davfs",
        "davfs2",
        "curlftpfs",
        "juicefs",
        "seaweedfs",
        "mountpoint-s3",
        "blobfuse",
        "blobfuse2",
        "cephfs",
        "ceph",
        "moosefs",
        "mfs",
        "smbnetfs",
        "afuse",
        "google-drive-ocamlfuse",
        "onedriver",
    ];
    name.strip_prefix("fuse.").is_some_and(|kind| remote.contains(&kind)) || matches!(name, "macfuse" | "osxfuse")
}

/// The type of the mount that a folder is on, by the kernel's list.
#[cfg(target_os = "linux")]
fn mount_type(mounts: &str, folder: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(name)) = (left.split(' ').nth(4), right.split(' ').next()) else { continue };
        let point = point.replace("\\040", " ");
        // A later mount on the same point hides the one before.
        if folder.starts_with(&point) && best.is_none_or(|(length, _)| point.len() >= length) {
            best = Some((point.len(), name));
        }
    }
    best.map(|(_, name)| name.to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[track_caller]
    fn check(folder: &str, expected: Option<&str>) {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 0:40 / /mnt/far rw - fuse.sshfs me@far:/ rw\n\
            31 22 0:41 / /mnt/far/near rw - tmpfs none rw\n\
            32 22 0:42 / /mnt/a\\040b rw - fuse.rclone r: rw\n\
            33 22 0:43 / /home rw - fuse.fuse-overlayfs x rw\n";
        assert_eq!(mount_type(mounts, Path::new(folder)).filter(|name| is_network_fuse(name)).as_deref(), expected);
    }

    #[test]
    fn the_innermost_mount_decides() {
        check("/srv", None);
        check("/mnt/far/x", Some("fuse.sshfs"));
        check("/mnt/farther", None);
        check("/mnt/far/near/x", None);
        check("/mnt/a b/c", Some("fuse.rclone"));
        check("/home/me", None);
    }

    #[test]
    fn a_temporary_folder_is_local() {
        assert_eq!(network(&std::env::temp_dir()).unwrap(), None);
        assert!(refuse_network(&std::env::temp_dir()).is_ok());
    }
}
