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
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        return fuse(&mounts, &folder.canonicalize()?);
    }
    Ok(NETWORK.iter().find(|(known, _)| *known == magic).map(|(_, name)| (*name).into()))
}

/// The same of a folder on FUSE, by the kernel's list of mounts. One that is not in it may be anything: an error.
#[cfg(target_os = "linux")]
fn fuse(mounts: &str, folder: &Path) -> std::io::Result<Option<String>> {
    let unknown = || std::io::Error::other("what it is mounted from does not stand in /proc/self/mountinfo");
    let name = mount_type(mounts, folder).filter(|name| name.starts_with("fuse")).ok_or_else(unknown)?;
    Ok(is_network_fuse(&name).then_some(name))
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
        let point = unescaped(point);
        // A later mount on the same point hides the one before.
        if folder.starts_with(&point) && best.is_none_or(|(length, _)| point.len() >= length) {
            best = Some((point.len(), name));
        }
    }
    best.map(|(_, name)| name.to_owned())
}

/// Blanks, tabs, line ends and backslashes stand there as octal numbers (proc_pid_mountinfo(5)).
#[cfg(target_os = "linux")]
fn unescaped(point: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(point.to_owned(), |text, (code, letter)| text.replace(code, letter))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 22 0:40 / /mnt/far rw - fuse.sshfs me@far:/ rw\n\
        31 22 0:41 / /mnt/far/near rw - tmpfs none rw\n\
        32 22 0:42 / /mnt/a\\040b\\134 rw - fuse.rclone r: rw\n\
        33 22 0:43 / /home rw - fuse.fuse-overlayfs x rw\n\
        34 22 0:44 / /disk rw - fuseblk /dev/sdb1 rw\n";

    #[test]
    fn the_innermost_mount_decides() {
        let of = |folder: &str| mount_type(MOUNTS, Path::new(folder)).unwrap();
        assert_eq!(of("/srv"), "ext4");
        assert_eq!(of("/mnt/far/x"), "fuse.sshfs");
        assert_eq!(of("/mnt/farther"), "ext4");
        assert_eq!(of("/mnt/far/near/x"), "tmpfs");
        assert_eq!(of("/mnt/a b\\/c"), "fuse.rclone");
    }

    #[test]
    fn of_fuse_the_mount_must_be_known() {
        let of = |folder: &str| fuse(MOUNTS, Path::new(folder));
        assert_eq!(of("/mnt/far/x").unwrap().as_deref(), Some("fuse.sshfs"));
        assert_eq!(of("/home/me").unwrap(), None);
        assert_eq!(of("/disk").unwrap(), None);
        // The kernel says that it is FUSE, the list knows no such mount: hidden, or not to be read.
        assert!(of("/srv").is_err() && fuse("", Path::new("/home")).is_err());
    }

    #[test]
    fn a_temporary_folder_is_local() {
        assert_eq!(network(&std::env::temp_dir()).unwrap(), None);
        assert!(refuse_network(&std::env::temp_dir()).is_ok());
    }
}
