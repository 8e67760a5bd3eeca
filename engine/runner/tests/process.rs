//! Real processes: what they print is kept exactly, and nothing of them is left.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use trees_core::path::{RunId, StepPath};
use trees_core::tree::Shell;
use trees_runner::clock::Clock;
use trees_runner::identity::{Identity, Marks, Register};
use trees_runner::leftovers;
use trees_runner::mask::Masker;
use trees_runner::output;
use trees_runner::process::{Ended, Exit, Launch, Program, SpawnError, Stop};

/// Longer than anything here takes: reaching it is the failure.
const LONG: Duration = Duration::from_secs(60);

struct Attempt {
    folder: TempDir,
    launch: Launch,
}

fn attempt(program: Program) -> Attempt {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
    let marks = Marks { run: RunId(name), step: StepPath::root("step"), attempt: 1 };
    let path = std::env::var_os("PATH").unwrap();
    let mut env: Vec<(OsString, OsString)> = vec![("PATH".into(), path)];
    env.extend(marks.variables().map(|(k, v)| (k.into(), v.into())));
    let launch = Launch {
        folder: folder.path().into(),
        register: Arc::new(Register::new(folder.path().into())),
        dir: folder.path().into(),
        program,
        env,
        mask: Masker::default(),
        log_limit: output::LIMIT,
        clock: Clock::default(),
        leave_running: false,
        marks,
        on_line: None,
    };
    Attempt { folder, launch }
}

fn sh(script: &str) -> Attempt {
    attempt(Program::Script(Shell::Sh, script.into()))
}

impl Attempt {
    async fn run(self) -> (TempDir, Exit) {
        let running = self.launch.start().unwrap();
        let exit = tokio::time::timeout(LONG, running.wait()).await.expect("ends in time").unwrap();
        (self.folder, exit)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn log(folder: &TempDir) -> Vec<u8> {
    fs::read(folder.path().join(output::FILE)).unwrap_or_default()
}

/// Waits until a file holds so many whole lines and returns them.
async fn lines_in(path: &Path, count: usize) -> String {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.matches('\n').count() >= count {
            return text.trim().to_owned();
        }
        assert!(begun.elapsed() < LONG, "only {text:?} in {}", path.display());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn line_in(path: &Path) -> String {
    lines_in(path, 1).await
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test]
async fn exit_codes_and_signals() {
    for (script, ended) in [
        (":", Ended::Code(0)),
        ("exit 7", Ended::Code(7)),
        ("false; echo not reached", Ended::Code(1)),
        ("kill -9 $$", Ended::Signal(9)),
        ("no-such-command-anywhere", Ended::Code(127)),
    ] {
        let (_folder, exit) = sh(script).run().await;
        assert_eq!((exit.ended, exit.stopped, exit.held, exit.leftovers), (ended, false, false, 0), "{script}");
    }
    let (folder, exit) = attempt(Program::Script(Shell::Bash, "set -o | grep pipefail; false | true".into())).run().await;
    assert_eq!((exit.ended, log(&folder)), (Ended::Code(1), b"pipefail       \ton\n".to_vec()));
    let custom = Shell::Custom(vec!["env".into(), "sh".into()]);
    let (folder, exit) = attempt(Program::Script(custom, "echo by env".into())).run().await;
    assert_eq!((exit.ended, log(&folder)), (Ended::Code(0), b"by env\n".to_vec()));
    let (folder, _) = attempt(Program::Argv(vec!["printf".into(), "%s|".into(), "a b".into(), "*".into()])).run().await;
    assert_eq!(log(&folder), b"a b|*|");
}

#[tokio::test]
async fn a_silent_step_leaves_no_log() {
    let (folder, exit) = sh(":").run().await;
    assert_eq!(exit.output.bytes, 0);
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["processes"]);
}

#[tokio::test]
async fn both_streams_in_their_order_and_nothing_to_read() {
    let (folder, _) = sh("for i in 1 2 3; do echo out $i; echo err $i >&2; done; cat; echo \"[$(wc -c)]\"").run().await;
    assert_eq!(String::from_utf8(log(&folder)).unwrap(), "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n[0]\n");
}

#[tokio::test]
async fn there_is_no_terminal_to_ask_at() {
    let (folder, exit) = sh("if (: </dev/tty) 2>/dev/null; then echo terminal; else echo none; fi").run().await;
    assert_eq!((exit.ended, log(&folder)), (Ended::Code(0), b"none\n".to_vec()));
}

#[tokio::test]
async fn only_the_given_environment() {
    let mut attempt = sh("env | grep -v '^PWD=\\|^_=\\|^SHLVL=' | cut -d= -f1 | sort | tr '\\n' ' '");
    attempt.launch.env.push(("ODD".into(), "two\nlines".into()));
    let (folder, _) = attempt.run().await;
    assert_eq!(String::from_utf8(log(&folder)).unwrap(), "ODD PATH TREES_ATTEMPT TREES_RUN_ID TREES_STEP lines ");
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_does_not_hold_the_step() {
    let attempt = sh("sleep 300 & echo $! > pid; echo started");
    let pid = attempt.path("pid");
    let (folder, exit) = attempt.run().await;
    let pid = fs::read_to_string(pid).unwrap();
    assert_eq!((exit.ended, exit.held, exit.leftovers, log(&folder)), (Ended::Code(0), true, 1, b"started\n".to_vec()));
    assert!(!is_alive(pid.trim()), "the leftover is ended");
}

#[tokio::test]
async fn what_calls_setsid_does_not_escape() {
    let script = "setsid sh -c 'echo $$ > pid; exec sleep 300' >/dev/null 2>&1 & while ! [ -s pid ]; do :; done";
    let attempt = sh(script);
    let path = attempt.path("pid");
    let (_folder, exit) = attempt.run().await;
    let pid = fs::read_to_string(path).unwrap();
    assert_eq!((exit.ended, exit.held), (Ended::Code(0), false));
    assert_eq!(exit.leftovers, 1);
    assert!(!is_alive(pid.trim()), "the escaped process is ended");
}

#[tokio::test]
async fn a_double_fork_that_ignores_all_but_kill_does_not_escape() {
    let script = "(setsid sh -c 'trap \"\" INT TERM HUP; echo $$ > pid; while :; do sleep 300; done' &) >/dev/null 2>&1; while ! [ -s pid ]; do :; done";
    let attempt = sh(script);
    let path = attempt.path("pid");
    let (_folder, exit) = attempt.run().await;
    let pid = fs::read_to_string(path).unwrap();
    assert!(exit.leftovers >= 1);
    assert!(!is_alive(pid.trim()));
}

#[tokio::test]
async fn leave_running_leaves_it() {
    let mut attempt = sh("setsid sleep 300 >/dev/null 2>&1 & echo $! > pid");
    attempt.launch.leave_running = true;
    let path = attempt.path("pid");
    let (_folder, exit) = attempt.run().await;
    assert_eq!((exit.ended, exit.leftovers), (Ended::Code(0), 0));
    let pid = fs::read_to_string(path).unwrap();
    assert!(is_alive(pid.trim()));
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
}

#[tokio::test]
async fn a_chain_of_twenty_ends_together() {
    let attempt = sh(
        "echo $$ >> pids; if [ \"${DEPTH:-0}\" -lt 20 ]; then DEPTH=$((${DEPTH:-0} + 1)) sh \"$0\" & fi; [ \"${DEPTH:-0}\" -lt 20 ] || echo all > ready; sleep 300",
    );
    let (ready, pids) = (attempt.path("ready"), attempt.path("pids"));
    let running = attempt.launch.start().unwrap();
    line_in(&ready).await;
    // (A shell lets its background children ignore SIGINT.)
    running.stopper().stop(Stop::Terminate { kill_after: LONG });
    let exit = tokio::time::timeout(LONG, running.wait()).await.unwrap().unwrap();
    assert!(exit.stopped);
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 21);
    assert_eq!(pids.lines().filter(|pid| is_alive(pid)).count(), 0);
}

#[tokio::test]
async fn signals_come_in_order_and_once() {
    let script = "trap 'echo int >> got' INT; trap 'echo term >> got' TERM; echo up > ready; while :; do sleep 0.01 || :; done";
    let attempt = sh(script);
    let (ready, got) = (attempt.path("ready"), attempt.path("got"));
    let running = attempt.launch.start().unwrap();
    line_in(&ready).await;
    let stopper = running.stopper();
    let soft = Stop::Interrupt { term_after: LONG, kill_after: LONG };
    stopper.stop(soft);
    assert_eq!(line_in(&got).await, "int");
    stopper.stop(soft);
    stopper.stop(Stop::Terminate { kill_after: LONG });
    assert_eq!(lines_in(&got, 2).await, "int\nterm");
    stopper.stop(Stop::Kill);
    let exit = tokio::time::timeout(LONG, running.wait()).await.unwrap().unwrap();
    assert_eq!((exit.ended, exit.stopped), (Ended::Signal(9), true));
    assert_eq!(fs::read_to_string(got).unwrap(), "int\nterm\n");
}

#[tokio::test]
async fn what_ignores_signals_is_killed_after_the_graces() {
    let attempt = sh("trap '' INT TERM; echo up > ready; while :; do sleep 0.01; done");
    let ready = attempt.path("ready");
    let running = attempt.launch.start().unwrap();
    line_in(&ready).await;
    let short = Duration::from_millis(10);
    running.stopper().stop(Stop::Interrupt { term_after: short, kill_after: short });
    let exit = tokio::time::timeout(LONG, running.wait()).await.unwrap().unwrap();
    assert_eq!(exit.ended, Ended::Signal(9));
}

#[tokio::test]
async fn a_child_that_tidies_up_when_the_shell_is_gone_already_has_its_grace() {
    // The child ends only when the test says so, long after the shell died of the signal.
    let child = "trap 'echo asked >> got; while ! [ -e go ]; do sleep 0.01; done; echo tidy >> got; exit' TERM; echo up > ready; while :; do sleep 0.01; done";
    let mut attempt = sh("sh -c \"$CHILD\" & wait");
    attempt.launch.env.push(("CHILD".into(), child.into()));
    let (ready, got, go) = (attempt.path("ready"), attempt.path("got"), attempt.path("go"));
    let running = attempt.launch.start().unwrap();
    line_in(&ready).await;
    let shell = running.identity.clone();
    running.stopper().stop(Stop::Terminate { kill_after: LONG });
    line_in(&got).await;
    while shell.is_alive() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    fs::write(go, "").unwrap();
    let exit = tokio::time::timeout(LONG, running.wait()).await.unwrap().unwrap();
    assert_eq!((exit.ended, exit.stopped), (Ended::Signal(15), true));
    assert_eq!(fs::read_to_string(got).unwrap(), "asked\ntidy\n");
}

#[tokio::test]
async fn random_bytes_are_kept_exactly() {
    let attempt = sh("cat random; cat random >&2");
    let mut state = 7u64;
    let bytes: Vec<u8> = (0..1_000_003)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    fs::write(attempt.path("random"), &bytes).unwrap();
    let (folder, exit) = attempt.run().await;
    assert_eq!((exit.output.bytes, exit.output.cut), (2_000_006, 0));
    assert!(log(&folder) == [bytes.clone(), bytes].concat());
}

#[tokio::test]
async fn a_secret_is_masked_in_the_log_and_in_the_newest_line() {
    let mut attempt = sh("printf 'key=s3cr'; printf 'et-v'; echo 'alue.'; printf 's3cret-value' | od -An -tx1 | tr -d ' \\n'; echo");
    attempt.launch.mask = Masker::new(["s3cret-value"]);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = lines.clone();
    attempt.launch.on_line = Some(Arc::new(move |line| seen.lock().unwrap().push(line.to_owned())));
    let (folder, _) = attempt.run().await;
    assert_eq!(String::from_utf8(log(&folder)).unwrap(), "key=***.\n***\n");
    let lines = lines.lock().unwrap();
    assert_eq!(lines.last().map(String::as_str), Some("***"));
    assert!(lines.iter().all(|l| !l.contains("s3c")), "{lines:?}");
}

#[tokio::test]
async fn the_identity_is_recorded_while_it_runs() {
    let attempt = sh("echo $$ > pid; while ! [ -e go ]; do sleep 0.01; done");
    let (folder, pid) = (attempt.folder.path().to_owned(), attempt.path("pid"));
    let running = attempt.launch.start().unwrap();
    let recorded = Identity::of_attempt(&folder.join("processes"), &running.identity.marks);
    let identity = recorded.first().cloned().expect("written by the start");
    assert_eq!(identity, running.identity);
    assert_eq!(line_in(&pid).await, identity.pid.to_string());
    assert!(identity.is_alive());
    fs::write(folder.join("go"), "").unwrap();
    running.wait().await.unwrap();
    assert!(!identity.is_alive());
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let message = |attempt: Attempt| attempt.launch.start().unwrap_err().to_string();
    let mut gone = sh(":");
    gone.launch.dir = "/no/such/folder".into();
    assert_eq!(message(gone), "the working folder /no/such/folder cannot be used: No such file or directory (os error 2)");
    let program = attempt(Program::Argv(vec!["no-such-program".into()]));
    assert_eq!(message(program), "cannot start `no-such-program`: No such file or directory (os error 2)");
    let mut large = sh(":");
    large.launch.env.push(("LARGE".into(), "x".repeat(200 << 10).into()));
    assert!(matches!(large.launch.start(), Err(SpawnError::TooLarge { bytes }) if bytes > 200 << 10));
    let mut folder = sh(":");
    folder.launch.register = Arc::new(Register::new("/no/such/folder".into()));
    assert_eq!(message(folder), "cannot write /no/such/folder/processes: No such file or directory (os error 2)");
    assert_eq!(message(attempt(Program::Argv(vec![]))), "cannot start ``: the argument vector is empty");
}

#[tokio::test]
async fn what_a_crash_left_is_found_by_its_marks_and_by_its_identity() {
    // One is found by its environment; the other has cleared its environment, but is in the session
    // of the recorded process.
    let script = "setsid sleep 300 >/dev/null 2>&1 & echo $! >> pids; env -i sleep 300 & echo $! >> pids; echo up > ready; sleep 300";
    let mut attempt = sh(script);
    attempt.launch.marks.step = StepPath("odd step[a=b]/x".into());
    attempt.launch.env.retain(|(name, _)| name != "TREES_STEP");
    attempt.launch.env.push(("TREES_STEP".into(), "odd step[a=b]/x".into()));
    let (marks, ready, pids) = (attempt.launch.marks.clone(), attempt.path("ready"), attempt.path("pids"));
    let running = attempt.launch.start().unwrap();
    line_in(&ready).await;
    let found = leftovers::of_run(&marks.run).unwrap();
    assert!(found.len() >= 2 && found.iter().all(|f| f.marks == marks), "{found:?}");
    assert!(leftovers::of_run(&RunId("anotherrun".into())).unwrap().is_empty());
    let other = Marks { attempt: 2, ..marks.clone() };
    assert_eq!(leftovers::end_attempts(&marks.run, &[other], &attempt.folder.path().join("processes"), LONG).await.unwrap(), 0);
    let count =
        leftovers::end_attempts(&marks.run, std::slice::from_ref(&marks), &attempt.folder.path().join("processes"), LONG).await.unwrap();
    assert!(count >= 4, "{count}");
    assert_eq!(fs::read_to_string(pids).unwrap().lines().filter(|pid| is_alive(pid)).count(), 0);
    assert_eq!(running.wait().await.unwrap().ended, Ended::Signal(15));
    assert!(leftovers::of_run(&marks.run).unwrap().is_empty());
}

#[tokio::test]
async fn a_leftover_that_ignores_all_but_kill_is_killed() {
    let attempt = sh("trap '' TERM INT HUP; echo up > ready; while :; do sleep 0.01 || :; done");
    let (marks, ready) = (attempt.launch.marks.clone(), attempt.path("ready"));
    let running = attempt.launch.start().unwrap();
    line_in(&ready).await;
    let found = leftovers::of_run(&marks.run).unwrap();
    leftovers::end(&found, Duration::from_millis(10)).await.unwrap();
    assert_eq!(running.wait().await.unwrap().ended, Ended::Signal(9));
}

#[tokio::test]
async fn an_interrupted_start_can_be_stopped_at_once() {
    let attempt = sh("sleep 300");
    let running = attempt.launch.start().unwrap();
    running.stopper().stop(Stop::Kill);
    let exit = tokio::time::timeout(LONG, running.wait()).await.unwrap().unwrap();
    assert_eq!((exit.ended, exit.stopped), (Ended::Signal(9), true));
}

/// The most memory this process ever had, in KiB.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

#[tokio::test]
async fn a_flood_costs_no_memory_and_keeps_head_and_tail() {
    const SIZE: u64 = 200_000_000;
    // Numbered lines of 20 bytes.
    let mut attempt = sh(&format!("seq -f '%019.0f' 1 {}", SIZE / 20));
    attempt.launch.log_limit = 2_000_000;
    let before = peak();
    let (folder, exit) = attempt.run().await;
    assert_eq!((exit.ended, exit.output.bytes, exit.output.cut), (Ended::Code(0), SIZE, SIZE - 2_000_000));
    if let (Some(before), Some(after)) = (before, peak()) {
        assert!(after - before < 40_000, "{before} KiB before, {after} KiB after");
    }
    let text = String::from_utf8(log(&folder)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let number = |i: u64| format!("{i:019}");
    assert_eq!(
        (lines[0], lines[49_999], lines[50_000]),
        (&*number(1), &*number(50_000), "… trees cut 198000000 bytes here: the log has a limit of 2000000 …")
    );
    assert_eq!((lines[50_001], lines.last()), (&*number(SIZE / 20 - 49_999), Some(&&*number(SIZE / 20))));
    assert_eq!(lines.len(), 100_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_print_and_end() {
    let tasks: Vec<_> = (0..100)
        .map(|i| {
            tokio::spawn(async move {
                let (folder, exit) = sh(&format!("echo {i}; exit {}", i % 7)).run().await;
                (exit.ended, log(&folder))
            })
        })
        .collect();
    for (i, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), (Ended::Code(i as i32 % 7), format!("{i}\n").into_bytes()));
    }
}
