//! nginx with a configuration of its own, as somebody else would run it: a main file that includes a
//! folder of sites.

use crate::{Daemon, program, write};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A running nginx.
pub struct Nginx {
    daemon: Daemon,
}

impl Nginx {
    /// Starts one without sites. `http { include sites/*.conf; }`, relative to its main file.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        // Its workers may be another user's.
        let root = folder.path();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = temporary.iter().map(|name| format!("{name}_temp_path {}/temp/{name};\n", root.display())).collect();
        let main = format!(
            "daemon off;\nworker_processes 2;\npid {0}/run.pid;\nerror_log {0}/error.log;\nevents {{ }}\nhttp {{\naccess_log off;\n{temporary}include sites/*.conf;\n}}\n",
            root.display()
        );
        write(root.join("etc/nginx.conf"), &main);
        write(root.join("etc/sites/readme.txt"), "no site");
        std::fs::create_dir(root.join("temp")).unwrap();
        let mut command = Command::new(program("nginx"));
        command.arg("-c").arg(root.join("etc/nginx.conf")).arg("-p").arg(root);
        let pid = root.join("run.pid");
        let up = move || std::fs::read_to_string(&pid).is_ok_and(|text| !text.trim().is_empty());
        Self { daemon: Daemon::start(folder, &command).until("its pid", up) }
    }

    /// Its main file.
    pub fn config(&self) -> PathBuf {
        self.daemon.folder().join("etc/nginx.conf")
    }

    /// The folder of its sites.
    pub fn sites(&self) -> PathBuf {
        self.daemon.folder().join("etc/sites")
    }

    /// The folder it was started with as its prefix.
    pub fn prefix(&self) -> &Path {
        self.daemon.folder()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.daemon.folder().join("error.log")).unwrap_or_default()
    }
}
