//! The releases of an environment: recorded as runs end, shown, gone back to, looked at for drift.

use crate::bench::{Bench, Outcome};
use serde_json::Value;
use std::fs;

const TREE: &str = "\
tree: shop
project: store
params: { version: v1, well: true, port: { type: integer, default: 0 } }
environments:
  staging: { default: true, vars: { text: quiet } }
  production: { protected: true, vars: { text: loud } }
steps:
  build:
    run: |
      printf '#!/bin/sh\\nexec sleep 100000\\n# %s\\n' {{ params.version }} > serve.sh
      chmod +x serve.sh
      echo built {{ params.version }} >> built.txt
    artifacts: { serve: serve.sh }
  serve:
    uses: deploy/process
    with: { name: web, release: '{{ params.version }}', command: [./serve], files: { serve: '{{ steps.build.artifacts.serve.path }}' } }
  tell:
    needs: serve
    run: echo {{ environment }} {{ params.version }} >> told.txt; test {{ params.well }} = true
    undo: echo taken back >> told.txt
on_failure: rollback
";

/// What it deployed ends with it.
struct Shop(Bench);

impl Shop {
    fn new() -> Self {
        Self(Bench::with("shop.yaml", TREE))
    }

    fn run(&self, version: &str, more: &[&str], code: i32) {
        let version = format!("version={version}");
        self.0.run(&[&["run", "shop.yaml", "-p", &version], more].concat()).expect(code);
    }

    fn releases(&self, environment: &str) -> Vec<(u64, String, Vec<String>)> {
        let shown = self.0.run(&["env", "show", "shop.yaml", "-e", environment, "--format", "json"]).expect(0).json();
        let texts = |list: &Value| list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        let one = |row: &Value| (row["number"].as_u64().unwrap(), row["status"].as_str().unwrap().to_owned(), texts(&row["differs"]));
        shown["releases"].as_array().unwrap().iter().map(one).collect()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.0.end_deployments();
    }
}

#[test]
fn each_run_that_deploys_is_a_release_of_its_environment() {
    let shop = Shop::new();
    assert_eq!(shop.releases("staging"), []);
    shop.run("v1", &[], 0);
    shop.run("v2", &[], 0);
    shop.run("v3", &["-p", "well=false"], 4);
    shop.run("v2", &["-e", "production", "--approve", "*"], 0);
    // Nothing of it was deployed.
    shop.0.run(&["run", "shop.yaml", "--only", "build"]).expect(0);
    let row =
        |number, status: &str, differs: &[&str]| (number, status.to_owned(), differs.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>());
    let expected =
        [row(3, "rolled_back", &[]), row(2, "succeeded", &["  serve: release v1 -> v2"]), row(1, "succeeded", &["+ serve: release v1"])];
    assert_eq!(shop.releases("staging"), expected);
    assert_eq!(shop.releases("production"), [row(1, "succeeded", &["+ serve: release v2"])]);
    let text = shop.0.run(&["env", "show", "shop.yaml"]).expect(0).stdout;
    assert!(text.contains("release 2  ") && text.contains("verified, stands") && text.contains("rolled back"), "{text}");
}

#[test]
fn a_verified_release_is_deployed_again_with_what_was_built_then() {
    let shop = Shop::new();
    let bench = &shop.0;
    let back = |release: &str, more: &[&str], code: i32| {
        bench.run(&[&["rollback", "--release", release, "-e", "production", "shop.yaml"], more].concat()).expect(code)
    };
    for version in ["v1", "v2"] {
        shop.run(version, &["-e", "production", "--approve", "*"], 0);
    }
    shop.run("v3", &["-e", "production", "--approve", "*", "-p", "well=false"], 4);
    // Protected: it asks, and begins nothing before.
    assert!(back("1", &[], 3).stderr.contains("environment:production"));
    bench.run(&["cancel", "@last"]).expect(0);
    let went = back("1", &["--approve", "environment:production"], 0);
    assert!(went.stderr.contains("taking over from run"), "{}", went.stderr);
    assert_eq!(bench.read("built.txt"), "built v1\nbuilt v2\nbuilt v3\n", "nothing is built again");
    assert!(bench.read("told.txt").ends_with("production v1\n"), "what depends on the deploy runs");
    let shown = bench.run(&["env", "show", "shop.yaml", "-e", "production", "--format", "json"]).expect(0).json();
    assert_eq!(shown["deployed"][0]["release"], "v1");
    let newest = &shown["releases"][0];
    assert_eq!((&newest["verified"], &newest["differs"][0]), (&true.into(), &"  serve: release v2 -> v1".into()));
    let started = bench.run(&["events", "@last"]).expect(0).stdout;
    assert!(started.lines().next().unwrap().contains("\"trigger\":\"rollback\""), "{started}");

    let wrong = back("3", &[], 2).stderr;
    assert!(wrong.contains("release 3 of store/production was never verified") && wrong.contains("verified and kept: "), "{wrong}");
    assert!(back("9", &[], 2).stderr.contains("store/production has no release 9"));
    let none = bench.run(&["rollback", "--release", "1", "-e", "nowhere", "shop.yaml"]).expect(2).stderr;
    assert!(none.contains("no environment `nowhere`"), "{none}");
    bench.run(&["rollback", "--release", "1"]).expect(2);
    // The runs of releases outlive others.
    bench.run(&["gc", "--keep", "1"]).expect(0);
    back("2", &["--approve", "*"], 0);
}

#[test]
fn drift_of_one_environment_is_that_of_its_newest_verified_release() {
    let shop = Shop::new();
    let bench = &shop.0;
    shop.run("v1", &["-e", "production", "--approve", "*"], 0);
    shop.run("v1", &[], 0);
    assert!(bench.run(&["drift", "-e", "production"]).expect(0).stdout.contains("in production"));
    // What it was made from is another by now, then gone: what was deployed has not drifted by that.
    bench.write("serve.sh", "#!/bin/sh\nexec sleep 1 # unreleased\n");
    bench.run(&["drift", "-e", "production"]).expect(0);
    fs::remove_file(bench.path("serve.sh")).unwrap();
    bench.run(&["drift", "-e", "production"]).expect(0);
    let folder = bench.path(".trees/deploy/store/production/web/releases/v1");
    fs::write(folder.join("serve"), "#!/bin/sh\nexec sleep 99999\n").unwrap();
    assert!(bench.run(&["drift", "-e", "production"]).expect(10).stdout.contains("files.serve"));
    bench.run(&["drift", "-e", "staging", "shop.yaml"]).expect(0);
    let healed = bench.run(&["drift", "-e", "production", "shop.yaml", "--heal", "--approve", "*"]).expect(0);
    assert!(healed.stderr.contains("healing"), "{}", healed.stderr);
    bench.run(&["drift", "-e", "production"]).expect(0);
    assert_eq!(bench.read("built.txt"), "built v1\nbuilt v1\n", "healing builds nothing: nothing newer comes there");
    assert!(fs::read_to_string(folder.join("serve")).unwrap().contains("# v1"));
    let none = bench.run(&["drift", "-e", "elsewhere"]).expect(2).stderr;
    assert!(none.contains("no successful run in elsewhere"), "{none}");
}

#[test]
fn what_a_run_did_on_another_machine_is_no_release_here() {
    let shop = Shop::new();
    shop.run("v1", &[], 0);
    shop.0.run(&["export", "@last", "-o", "run.tar.gz"]).expect(0);
    let file = shop.0.path("run.tar.gz").display().to_string();
    let other = Bench::with("shop.yaml", TREE);
    other.run(&["import", &file]).expect(0);
    let shown = other.run(&["env", "show", "shop.yaml", "--format", "json"]).expect(0).json();
    assert_eq!(shown["releases"], Value::Array(Vec::new()));
}

#[test]
fn a_secret_of_a_release_is_sealed_wherever_it_is_kept() {
    const TREE: &str = "\
tree: shop
params: { version: v1 }
secrets: { TOKEN: {} }
steps:
  serve:
    uses: deploy/process
    with:
      name: web
      release: '{{ params.version }}'
      command: [sh, -c, 'printf %s \"$0 $TOKEN\" | cksum > given; exec sleep 100000', '{{ secrets.TOKEN }}']
      env: { TOKEN: '{{ secrets.TOKEN }}' }
";
    let shop = Shop(Bench::with("shop.yaml", TREE));
    let bench = &shop.0;
    let with = |token: &str, arguments: &[&str]| Outcome::of(&bench.command(arguments).env("TOKEN", token).output().unwrap());
    let given = |release: &str| bench.read(&format!(".trees/deploy/shop/default/web/releases/{release}/given"));
    let sum = |token: &str| {
        let output = std::process::Command::new("sh").args(["-c", "printf %s \"$0 $0\" | cksum", token]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    with("canary-one", &["run", "shop.yaml"]).expect(0);
    assert_eq!(given("v1"), sum("canary-one"));
    with("canary-one", &["plan", "shop.yaml"]).expect(0);
    let turned = with("canary-two", &["plan", "shop.yaml"]).expect(10).stdout;
    assert!(turned.contains("env.TOKEN") && turned.contains("command") && !turned.contains("canary"), "{turned}");
    with("canary-two", &["run", "shop.yaml", "-p", "version=v2"]).expect(0);
    assert_eq!(given("v2"), sum("canary-two"));
    // The value of then, which nobody gives any more.
    fs::remove_file(bench.path(".trees/deploy/shop/default/web/releases/v1/given")).unwrap();
    with("canary-two", &["rollback", "@last", "--yes"]).expect(0);
    assert_eq!(given("v1"), sum("canary-one"));
    assert_eq!(bench.holding(&["canary-one", "canary-two"]), Vec::<std::path::PathBuf>::new());

    fs::write(bench.home().join(".config/trees/master.key"), "1".repeat(64)).unwrap();
    let wrong = with("canary-one", &["run", "shop.yaml"]).expect(1).stderr;
    for part in ["release v1 of web (shop) cannot be opened", "another master key", "releases/v1.json"] {
        assert!(wrong.contains(part), "{wrong}");
    }
}

#[test]
fn a_step_that_was_left_out_by_its_if_keeps_no_release_from_being_one() {
    let tree = TREE.replace("  serve:\n", "  old:\n    if: not params.well\n    uses: deploy/process\n    with: { name: old, release: v0, command: [sleep, '9'] }\n  serve:\n    needs: { steps: [build, old], rule: none_failed }\n");
    let shop = Shop(Bench::with("shop.yaml", tree));
    shop.run("v1", &[], 0);
    shop.run("v2", &[], 0);
    shop.0.run(&["rollback", "--release", "1", "-e", "staging", "shop.yaml"]).expect(0);
    assert_eq!(shop.releases("staging")[0], (3, "succeeded".into(), vec!["  serve: release v2 -> v1".into()]));
    shop.0.run(&["drift", "-e", "staging", "shop.yaml"]).expect(0);
}

#[test]
fn what_failed_its_verify_is_no_verified_release_though_the_run_goes_on() {
    let tree = TREE.replace("  tell:\n", "    verify: exit 1\n    allow_failure: true\n  tell:\n");
    let shop = Shop(Bench::with("shop.yaml", tree));
    shop.run("v1", &[], 0);
    assert_eq!(shop.releases("staging"), [(1, "succeeded_with_warnings".into(), vec!["  serve: failed".into()])]);
    let none = shop.0.run(&["rollback", "--release", "1", "-e", "staging", "shop.yaml"]).expect(2).stderr;
    assert!(none.contains("no verified release is kept"), "{none}");
}

#[test]
fn what_each_run_does_anew_has_not_drifted() {
    let tree = "tree: t\nsecrets: { TOKEN: { from: generate } }\nsteps:\n  a: { secrets: [TOKEN], run: ':' }\n  b: { needs: a, uses: secret/rotate, with: { name: TOKEN } }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.run(&["run", "t.yaml"]).expect(0);
    assert!(bench.run(&["plan", "t.yaml"]).expect(10).stdout.contains("version: 2 -> a new one"));
    let looked = bench.run(&["drift", "t.yaml"]).expect(0).stdout;
    assert!(looked.contains("each run does it anew"), "{looked}");
}

#[test]
fn a_port_that_another_program_holds_is_said() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let tree = format!(
        "tree: t\nsteps:\n  a:\n    uses: deploy/process\n    with: {{ name: web, release: v1, command: [sleep, '9'], port: {port} }}\n"
    );
    let shop = Shop(Bench::with("t.yaml", tree));
    let wrong = shop.0.run(&["run", "t.yaml"]).expect(1).stderr;
    assert!(wrong.contains(&format!("release v1 cannot listen on 127.0.0.1:{port}: another program does")), "{wrong}");
}
