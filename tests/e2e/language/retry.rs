//! `retry`, `timeout`, `deadline` and what exit codes mean.

use super::{has, run};

fn attempts(step: &str) -> (String, u64, String) {
    let ran = run(&format!("steps:\n  a: {{ {step} }}"));
    let step = ran.steps()["a"].clone();
    let code = step["reason"]["code"].as_str().unwrap_or("").to_owned();
    (step["status"].as_str().unwrap().to_owned(), step["attempts"].as_u64().unwrap(), code)
}

#[test]
fn what_is_retried_and_how_often() {
    let table = [
        ("retry: { attempts: 3, delay: 1ms }, run: 'exit 1'", "failed", 3, "exit"),
        ("run: 'exit 1'", "failed", 1, "exit"),
        ("retry: { attempts: 3, delay: 1ms }, run: 'test $TREES_ATTEMPT = 2'", "succeeded", 2, ""),
        ("retry: { attempts: 3, delay: 1ms, on: ['exit:4'] }, run: 'exit 5'", "failed", 1, "exit"),
        ("retry: { attempts: 3, delay: 1ms, on: ['exit:4'] }, run: 'exit 4'", "failed", 3, "exit"),
        ("retry: { attempts: 3, delay: 1ms, on: [timeout] }, run: 'exit 4'", "failed", 1, "exit"),
        ("retry: { attempts: 2, delay: 1ms }, run: 'exit 126'", "failed", 1, "exit"),
        ("retry: { attempts: 2, delay: 1ms }, run: no-such-command-here", "failed", 1, "exit"),
        ("retry: { attempts: 2, delay: 1ms, on: [timeout] }, run: 'exit 75'", "failed", 2, "exit"),
        ("exit: { retry: [9] }, retry: { attempts: 2, delay: 1ms, on: [timeout] }, run: 'exit 9'", "failed", 2, "exit"),
        ("exit: { ok: [0, 1] }, run: 'exit 1'", "succeeded", 1, ""),
        ("retry: { attempts: 2, delay: 1ms, on: ['signal:9'] }, run: 'kill -9 $$'", "failed", 2, "signal"),
        ("retry: { attempts: 2, delay: 1ms, on: ['signal:9'] }, run: 'exit 137'", "failed", 2, "exit"),
        (
            "retry: { attempts: 2, delay: 1ms, on: [timeout] }, timeout: 50ms, run: 'exec cat /dev/zero > /dev/null'",
            "timed_out",
            2,
            "timeout",
        ),
        (
            "retry: { attempts: 2, delay: 1ms, on: [failure] }, timeout: 50ms, run: 'exec cat /dev/zero > /dev/null'",
            "timed_out",
            1,
            "timeout",
        ),
    ];
    for (step, status, count, code) in table {
        let got = attempts(step);
        assert_eq!((got.0.as_str(), got.1), (status, count), "{step}: {got:?}");
        if !code.is_empty() {
            assert_eq!(got.2, code, "{step}");
        }
    }
}

#[test]
fn the_wait_grows_up_to_its_bound() {
    let ran = run("steps: { a: { retry: { attempts: 4, delay: 10ms, factor: 3, max_delay: 50ms, jitter: 0 }, run: 'exit 1' } }").code(1);
    let waits: Vec<i64> = ran
        .events()
        .iter()
        .filter(|e| e["type"] == "attempt_failed")
        .map(|e| {
            let at = |key: &str| e[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
            at("retry_at").duration_since(at("ts")).as_millis() as i64
        })
        .collect();
    assert_eq!(waits, [10, 30, 50]);
}

#[test]
fn a_deadline_holds_over_all_attempts_and_waits() {
    let ran = run("steps: { a: { deadline: 150ms, run: 'exec cat /dev/zero > /dev/null' }, b: { needs: a, run: 'true' } }").code(1);
    assert_eq!(ran.statuses(), "a=timed_out b=blocked");
    assert_eq!(ran.text("a"), "the step's deadline of 150ms passed while the action ran");
    let ran = run("steps: { a: { deadline: 1s, retry: { attempts: 9, delay: 1h }, run: 'exit 1' } }").code(1);
    assert_eq!(ran.steps()["a"]["attempts"], 1);
    has(&ran.text("a"), "deadline leaves no time");
}

#[test]
fn the_deadline_of_a_run_ends_what_runs() {
    let ran = run("deadline: 200ms\nsteps: { a: { run: 'exec cat /dev/zero > /dev/null' }, b: { needs: a, run: 'true' } }\nfinally: { f: { run: 'touch f' } }").code(1);
    assert_eq!(ran.show()["status"], "failed");
    assert!(ran.bench.path("f").exists());
    has(&ran.statuses(), "b=");
    assert!(!ran.statuses().contains("running"), "{}", ran.statuses());
    has(&format!("{}{}", ran.outcome.stdout, ran.outcome.stderr), "deadline");
}

#[test]
fn the_output_file_is_fresh_each_attempt() {
    let ran = run("steps: { a: { retry: { attempts: 2, delay: 1ms }, outputs: { v: integer }, run: 'echo v=$TREES_ATTEMPT >> $TREES_OUTPUT; test $TREES_ATTEMPT = 2' } }").code(0);
    assert_eq!(ran.outputs("a")["v"], 2);
    assert_eq!(ran.story("a"), "step_started attempt_failed step_started step_succeeded");
}
