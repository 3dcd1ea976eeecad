//! `mirror chain check --live` asks real nodes over a real ssh: green means that each can do its work.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::mirror::{MIRROR, Network, Said, run};
use crate::support::nodes::{NAMES, Nodes, git};

/// The service of these tests: its status cannot be run where a file says so.
const SERVICE: &str = "[services.bot]\nstatus = 'test ! -e \"$MIRROR_SELF-cannot\" || exit 126; exit 1'\n\
                       start = \"true\"\nstop = \"true\"\ntimeout = \"20s\"\n";

fn three_nodes() -> Nodes {
    Nodes::new(SERVICE)
}

/// What the laptop finds.
fn check(nodes: &Nodes, options: &str) -> Said {
    nodes.network.run(&format!("chain check --live {options}"))
}

/// The problems but those of the list itself, as `code: message`.
fn live_problems(object: &Value) -> Vec<String> {
    let problems = object["problems"].as_array().unwrap().iter();
    let of_nodes = problems
        .filter(|problem| problem["where"].as_str().unwrap().starts_with("nodes.") && problem["code"] != "not-at-work");
    of_nodes
        .map(|p| {
            format!(
                "{} {}: {}",
                p["where"].as_str().unwrap(),
                p["code"].as_str().unwrap(),
                p["message"].as_str().unwrap()
            )
        })
        .collect()
}

/// Which problems there are, by node and code.
fn codes(object: &Value) -> Vec<String> {
    live_problems(object).iter().map(|problem| problem.split_once(": ").unwrap().0.to_owned()).collect()
}

#[test]
fn where_all_is_well_every_node_has_asked_every_other() {
    let nodes = three_nodes();
    let object = check(&nodes, "").expect(0, "sound");
    assert_eq!(codes(&object), [""; 0], "{object:#}");
    assert!(object["reason"].as_str().unwrap().ends_with("3 of 3 nodes asked."), "{}", object["reason"]);
    assert_eq!((&object["live"]["asked"], &object["live"]["answered"]), (&3.into(), &3.into()));
    let links = object["live"]["links"].as_array().unwrap();
    let pairs: Vec<String> =
        links.iter().map(|link| format!("{} {}", link["from"], link["to"]).replace('"', "")).collect();
    assert_eq!(pairs, ["a b", "a c", "b a", "b c", "c a", "c b"]);
    for link in links {
        assert!(link["answered"] == 10 && link["slowest_ms"].as_f64() >= link["median_ms"].as_f64(), "{link:#}");
        assert_eq!(link["deadline_ms"], 5000.0);
    }
    let promise = &object["live"]["promises"][0];
    assert!(promise["typical_ms"].as_f64() > Some(30_000.0 + 5000.0), "half a check and a deadline: {promise:#}");
    assert_eq!(object["live"]["suggestion"], Value::Null);
    for (answer, name) in object["live"]["nodes"].as_array().unwrap().iter().zip(NAMES) {
        let here = &answer["here"];
        assert_eq!(
            (&answer["node"], &here["node"], &answer["digest"]),
            (&name.into(), &name.into(), &object["digest"])
        );
        let others: Vec<&Value> = here["nodes"].as_array().unwrap().iter().map(|tried| &tried["name"]).collect();
        assert_eq!(others, NAMES.iter().filter(|other| **other != name).collect::<Vec<_>>());
        assert_eq!((&here["services"][0]["works"], &here["breath"]["works"]), (&true.into(), &true.into()), "{here:#}");
        assert_eq!(here["state"], nodes.path(name).join("state").to_str().unwrap());
        // What cannot be asked is said.
        if !Path::new("/run/systemd/system").exists() {
            let confinement = &here["confinement"];
            assert_eq!(
                (&confinement["works"], &confinement["detail"]),
                (&false.into(), &"no systemd runs here".into())
            );
        }
        // Its own question, and those of the two others.
        let server = &nodes.servers[NAMES.iter().position(|other| *other == name).unwrap()];
        assert_eq!(server.logins(), 3, "{name}");
    }
}

#[test]
fn a_deadline_that_is_shorter_than_a_link_is_an_error_and_one_that_would_do_is_printed() {
    let nodes = three_nodes();
    // No link answers so soon.
    for list in NAMES.map(|name| nodes.path(name)).iter().chain([&nodes.network.path().to_owned()]) {
        let text = nodes.list().replace("timeout = \"5s\"", "timeout = \"auto\"\ntimeout_max = \"1us\"");
        fs::write(list.join("mirror.toml"), text).unwrap();
    }
    let object = check(&nodes, "--suggest").expect(1, "unsound");
    let short: Vec<String> = codes(&object).into_iter().filter(|code| code.ends_with("deadline-below-link")).collect();
    assert_eq!(short.len(), 6, "{object:#}");
    let suggested = object["live"]["suggestion"].as_str().unwrap();
    assert!(suggested.starts_with("[probe]\ntimeout = \"auto\"\ntimeout_max = \""), "{suggested}");
    nodes.network.run("chain check --suggest").expect_misuse();
}

#[test]
fn each_pair_that_fails_is_named_with_the_remedy() {
    let nodes = three_nodes();
    // b has another host key of c.
    let known = fs::read_to_string(nodes.path("b").join("known_hosts")).unwrap();
    let c = format!("[127.0.0.1]:{} ", nodes.servers[2].port());
    let without: Vec<&str> = known.lines().filter(|line| !line.starts_with(&c)).collect();
    fs::write(nodes.path("b").join("known_hosts"), without.join("\n") + "\n").unwrap();
    let object = check(&nodes, "").expect(1, "unsound");
    assert_eq!(codes(&object), ["nodes.b not-reached"], "{object:#}");
    let problem = &live_problems(&object)[0];
    assert!(
        problem.contains("b cannot run a command on c (host-key: ")
            && problem.contains("Host key verification failed."),
        "{problem}"
    );
    assert!(problem.contains(&format!("ssh -p {} -l ", nodes.servers[2].port())), "{problem}");
    let b = object["problems"].as_array().unwrap().iter().find(|problem| problem["where"] == "nodes.b").unwrap();
    assert_eq!((&b["line"], &b["column"]), (&3.into(), &1.into()));
}

#[test]
fn what_a_node_cannot_do_itself_is_named() {
    let nodes = three_nodes();
    fs::write(nodes.path("b").join("b-cannot"), "").unwrap();
    fs::remove_dir_all(nodes.path("c").join("repo")).unwrap();
    let object = check(&nodes, "").expect(1, "unsound");
    assert_eq!(codes(&object), ["nodes.b status-not-run", "nodes.c breath-not-reached"], "{object:#}");

    // Another remote, which does not answer.
    fs::remove_file(nodes.path("b").join("b-cannot")).unwrap();
    git(&nodes.path("c"), &["init", "-q", "-b", "main", "repo"]);
    git(&nodes.path("c").join("repo"), &["remote", "add", "origin", "../gone"]);
    let object = check(&nodes, "").expect(1, "unsound");
    assert_eq!(codes(&object), ["nodes.c breath-not-reached"], "{object:#}");
    let problem = &live_problems(&object)[0];
    assert!(problem.contains("ls-remote origin"), "{problem}");
}

#[test]
fn a_clone_that_is_not_made_for_the_mesh_is_named() {
    let nodes = three_nodes();
    let list = nodes.list().replace("repo = \"repo\"\n", "repo = \"repo\"\npeers = true\n");
    for directory in NAMES.iter().map(|name| nodes.path(name)).chain([nodes.network.path().to_owned()]) {
        fs::write(directory.join("mirror.toml"), &list).unwrap();
    }
    for repo in ["a", "b"].map(|name| nodes.path(name).join("repo")) {
        for setting in ["receive.denyNonFastForwards", "receive.denyDeletes"] {
            git(&repo, &["config", setting, "true"]);
        }
        for setting in ["receive.autogc", "maintenance.auto"] {
            git(&repo, &["config", setting, "false"]);
        }
        git(&repo, &["config", "gc.auto", "0"]);
        for hidden in ["refs/heads", "HEAD"] {
            git(&repo, &["config", "--add", "uploadpack.hideRefs", hidden]);
        }
    }
    let object = check(&nodes, "").expect(1, "unsound");
    assert_eq!(codes(&object), ["nodes.c breath-not-reached"], "{object:#}");
    let problem = &live_problems(&object)[0];
    assert!(problem.contains("uploadpack.hiderefs=HEAD") && problem.contains("mirror breathe --init"), "{problem}");
}

#[test]
fn a_connection_from_before_proves_nothing() {
    let nodes = three_nodes();
    let (c, sockets) = (&nodes.servers[2], tempfile::tempdir_in("/tmp").unwrap());
    let mut config = fs::read_to_string(nodes.client.config()).unwrap();
    config += &format!("ControlMaster auto\nControlPersist 60\nControlPath {}/%C\n", sockets.path().display());
    fs::write(nodes.client.config(), config).unwrap();
    let log_in = || {
        let mut ssh = nodes.client.ssh(c, "true");
        ssh.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    };
    assert!(log_in());
    fs::write(c.path().join("authorized_keys"), "").unwrap();
    assert!(log_in(), "the connection from before lets in");
    let object = check(&nodes, "").expect(1, "unsound");
    let of_c = live_problems(&object);
    assert_eq!(codes(&object), ["nodes.a not-reached", "nodes.b not-reached", "nodes.c not-reached"], "{object:#}");
    assert!(of_c.iter().all(|problem| problem.contains("Permission denied")), "{object:#}");
}

#[test]
fn another_list_and_no_mirror_are_named() {
    let nodes = three_nodes();
    let list = fs::read_to_string(nodes.path("b").join("mirror.toml")).unwrap();
    fs::write(nodes.path("b").join("mirror.toml"), list.replace("recovery = \"60s\"", "recovery = \"61s\"")).unwrap();
    fs::remove_file(nodes.path("c").join("bin/mirror")).unwrap();
    let object = check(&nodes, "").expect(1, "unsound");
    assert_eq!(codes(&object), ["nodes.b digest-differs", "nodes.c no-mirror"], "{object:#}");
}

#[test]
fn another_version_and_a_clock_that_is_off_are_warned_of() {
    let nodes = three_nodes();
    nodes.set_clock_ahead("b");
    let version = env!("CARGO_PKG_VERSION");
    nodes.install("c", &format!("{MIRROR} \"$@\" | sed 's/\"version\":\"{version}\"/\"version\":\"0.0.1\"/'"));
    let object = check(&nodes, "").expect(0, "sound");
    assert_eq!(codes(&object), ["nodes.b clock-differs", "nodes.c version-differs"], "{object:#}");
    let of = live_problems(&object);
    let (clock, version) = (&of[0], &of[1]);
    assert!(clock.contains("the clock of b is 3") && clock.contains(" s ahead of this machine's"), "{clock}");
    assert!(version.contains("c has mirror 0.0.1, and this machine "), "{version}");
    let offset = object["live"]["nodes"][1]["clock_offset_ms"].as_f64().unwrap();
    assert!((3_500_000.0..=3_700_000.0).contains(&offset), "{offset}");
    check(&nodes, "--strict").expect(1, "unsound");
}

#[test]
fn a_node_that_hangs_holds_up_nobody_beyond_the_deadline() {
    let nodes = three_nodes();
    nodes.servers[2].freeze();
    let said = check(&nodes, "--within 20s");
    let object = said.expect(1, "unsound");
    assert!(said.took < Duration::from_secs(60), "{:?}", said.took);
    assert_eq!(codes(&object), ["nodes.a not-reached", "nodes.b not-reached", "nodes.c not-reached"], "{object:#}");
    assert!(object["reason"].as_str().unwrap().ends_with("2 of 3 nodes asked."), "{}", object["reason"]);
}

#[test]
fn a_node_that_is_not_at_work_is_named_with_the_state_that_was_read() {
    let nodes = three_nodes();
    let idle = |object: &Value| -> Vec<(String, String)> {
        let problems = object["problems"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let idle = problems.filter(|problem| problem["code"] == "not-at-work");
        idle.map(|problem| (text(&problem["where"]), text(&problem["message"]))).collect()
    };
    let check_of = |name: &str, state: &Path| {
        let mut check = nodes.network.mirror(["whois-brain", "--check"]);
        check.env("MIRROR_SELF", name).env("MIRROR_CONFIG", nodes.path(name).join("mirror.toml"));
        check.env("STATE_DIRECTORY", state);
        run(check)
    };
    check_of("a", &nodes.path("a").join("state")).expect(0, "self");
    // The watchdog of b keeps its state where no other node looks.
    check_of("b", &nodes.path("b").join("elsewhere")).expect(1, "other");
    let object = check(&nodes, "").expect(0, "sound");
    let found = idle(&object);
    let places: Vec<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, ["nodes.b", "nodes.c"], "{object:#}");
    let message = &found[0].1;
    assert!(message.starts_with("b is not at work: no check has ended there yet; start its timer"), "{message}");
    let state = nodes.path("b").join("state");
    assert!(message.contains(&format!("keep their state in {}, where", state.display())), "{message}");
    assert_eq!(object["live"]["nodes"][0]["here"]["at_work"], true, "{object:#}");
}

#[test]
fn annotations_stand_on_the_lines_of_the_list_and_warnings_can_be_errors() {
    let list = "nodes = { a = \"192.0.2.1\", b = \"192.0.2.2\" }\n\n[chains]\nbrain = [\"a\", \"b\"]\nbot = [\"a\"]\n\
                [services.bot]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\n";
    let network = Network::new(list);
    let said = network.run("chain check --format github --survive 1");
    assert_eq!(said.status, 1, "{said:?}");
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(
        lines.iter().any(|line| line.starts_with("::error file=mirror.toml,line=5,col=1,title=survives-less::")),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|line| line.starts_with("::warning file=mirror.toml,line=")), "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("line=1,")), "{lines:#?}");
    network.run("chain check").expect(0, "sound");
    let object = network.run("chain check --strict").expect(1, "unsound");
    assert!(object["problems"].as_array().unwrap().iter().all(|problem| problem["severity"] == "error"), "{object:#}");
}
