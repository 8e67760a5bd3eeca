//! The cookbook slackpath, killed again and again on its way from an empty folder to two running
//! services.

use crate::bench::Bench;
use crate::chance::Chance;
use crate::laws;
use crate::live::{Live, processes_of};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

/// The kills of one slackpath.
const KILLS: usize = 10;

/// A place for it, with two free ports; what it deployed ends with it.
struct Shop {
    bench: Bench,
    ports: [u16; 2],
}

impl Shop {
    fn new() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let both = [free(), free()];
        Self { bench: Bench::new(), ports: both.map(|l| l.local_addr().unwrap().port()) }
    }

    /// `trees run slackpath.yaml` with its ports.
    fn arguments(&self) -> Vec<String> {
        let [staging, production] = self.ports;
        let ports = [format!("port={staging}"), format!("production_port={production}")];
        ["run", "slackpath.yaml", "--format", "json", "--approve", "*", "-p", &ports[0], "-p", &ports[1]].map(str::to_owned).to_vec()
    }

    /// What one of the services answers.
    fn ask(&self, service: usize, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[service])).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Both services answer with the version, the messages are there, and `trees show` knows them.
    #[track_caller]
    fn is_open(&self, outputs: &Value) {
        let version = outputs["version"].as_str().unwrap();
        let head = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(self.bench.path("slackpath-app")).output().unwrap();
        assert_eq!(version, String::from_utf8(head.stdout).unwrap().trim());
        for service in [0, 1] {
            assert!(self.ask(service, "/version").contains(version));
            for channel in ["general", "random"] {
                let messages = self.ask(service, &format!("/channels/{channel}/messages"));
                assert_eq!(messages.matches("is up").count(), 1, "{messages}");
            }
        }
    }

    /// The pids of all that was deployed, supervisors and services.
    fn deployed(&self) -> Vec<u32> {
        let folder = self.bench.dir().canonicalize().unwrap();
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let own = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
            if own || String::from_utf8_lossy(&command).contains(&folder.display().to_string()) {
                pids.push(pid);
            }
        }
        pids
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Supervisors start what dies again: until none is left.
        for _ in 0..20 {
            let pids: Vec<String> = self.deployed().iter().map(u32::to_string).collect();
            if pids.is_empty() {
                return;
            }
            drop(Command::new("kill").arg("-9").args(pids).output());
        }
    }
}

fn outputs(events: &[Value]) -> Value {
    events.last().unwrap()["outputs"].clone()
}

#[test]
fn killed_at_each_of_its_phases_it_opens_all_the_same() {
    let shop = Shop::new();
    let mut chance = Chance(10);
    let (mut told, mut run) = (laws::Told::default(), String::new());
    for kill in 0..=KILLS {
        let arguments = if run.is_empty() { shop.arguments() } else { ["resume", &run, "--format", "json"].map(str::to_owned).to_vec() };
        let mut live = Live::start(&shop.bench, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        run = live.run();
        if kill < KILLS {
            // The run has some 60 events: a few a sitting, so that the kills are spread over it.
            for _ in 0..=chance.below(8) {
                live.line();
            }
            assert!(live.kill(), "it ended before its {kill}th kill:\n{}", live.errors());
        } else {
            live.finish();
        }
        told.note(&shop.bench, &live.events());
    }
    let recorded = laws::events(&shop.bench, &run);
    laws::of_events(&recorded, "succeeded");
    shop.is_open(&outputs(&recorded));
    let left = processes_of(&run);
    assert!(left.is_empty(), "{left:?}");
}
