//! What a node list amounts to: its digest, which node this machine is, what it survives.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::program::{MIRROR, Ran, command, mirror};

fn with(text: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("mirror.toml"), text).expect("written");
    directory
}

fn object(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

fn digest(text: &str) -> String {
    let directory = with(text);
    let shown = object(&mirror(directory.path(), ["chain", "show"]));
    let digest = shown["digest"].as_str().expect("text").to_owned();
    assert!(digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{digest}");
    assert_eq!(object(&mirror(directory.path(), ["chain", "check"]))["digest"], *digest);
    digest
}

const LIST: &str = r#"
[nodes]
a = "192.0.2.1"
b = "b.example.org"

[chains]
brain = ["a", "b"]
web = ["b", "a"]

[services.web]
status = "systemctl is-active web"
start = "systemctl start web"
stop = "systemctl stop web"
"#;

#[test]
fn the_digest_is_the_same_however_the_file_is_laid_out() {
    let first = digest(LIST);
    let others = [
        // Other order, inline tables, comments, defaults written out.
        r#"
        services = { web = { stop = "systemctl stop web", start = "systemctl start web", status = "systemctl is-active web" } }
        chains = { web = ["b", "a"], brain = [ # the first leads
            "a",
            "b",
        ] }
        [nodes.b]
        address = "B.example.ORG"
        [nodes.a]
        port = 22
        address = '192.0.2.1'
        "#
        .to_owned(),
        LIST.replace("[services.web]", "[services.web]\nchain = \"web\"\ntimeout = \"5000ms\"\nfailback = \"60s\"\nrestarts = 3\nwindow = \"300s\""),
        // What is a node's own.
        format!("self = \"a\"\nstate = \"x\"\n{LIST}[witness]\naddresses = [\"192.0.2.9\"]\n"),
        // Every default written out.
        format!(
            "{LIST}[cycle]\ncheck = \"5s\"\nsync = \"12000ms\"\nrecovery = \"10s\"\n[probe]\nmethod = \"tcp\"\n\
             timeout = \"750ms\"\nattempts = 3\nsecond_opinion = false\n[remote]\nuser = \"root\"\n\
             [breath]\nremote = \"origin\"\nbranch = \"main\"\ntimeout = \"15s\"\ncommit = false\n"
        ),
        // What comes to the same, said of the node or of the network.
        LIST.replace("\"192.0.2.1\"", "{ address = \"192.0.2.1\", user = \"root\", probe = { port = 22 } }"),
        format!("{LIST}[probe]\nport = 22\n"),
    ];
    for other in others {
        assert_eq!(digest(&other), first, "{other}");
    }
}

#[test]
fn the_digest_differs_when_a_node_a_chain_or_a_service_does() {
    let change = |from: &str, to: &str| {
        let changed = LIST.replace(from, to);
        assert_ne!(changed, LIST, "{from}");
        changed
    };
    let lists = [
        LIST.to_owned(),
        change("192.0.2.1", "192.0.2.2"),
        change("\"192.0.2.1\"", "{ address = \"192.0.2.1\", port = 23 }"),
        change("\"192.0.2.1\"", "{ address = \"192.0.2.1\", user = \"ops\" }"),
        change("\"192.0.2.1\"", "{ address = \"192.0.2.1\", probe = { method = \"ssh\" } }"),
        change("\n[chains]", "c = \"192.0.2.3\"\n[chains]"),
        change("brain = [\"a\", \"b\"]", "brain = [\"b\", \"a\"]"),
        change("brain = [\"a\", \"b\"]", "brain = [\"a\"]"),
        change("web = [", "more = [\"a\"]\nweb = ["),
        change("systemctl start web", "systemctl restart web"),
        change("systemctl stop web", "systemctl kill web"),
        change("is-active", "is-active --quiet"),
        format!("{LIST}timeout = \"6s\"\n"),
        format!("{LIST}failback = \"never\"\n"),
        format!("{LIST}failback = \"always\"\n"),
        format!("{LIST}failback = \"61s\"\n"),
        format!("{LIST}restarts = 0\n"),
        format!("{LIST}window = \"1m\"\n"),
        format!("{LIST}chain = \"brain\"\n"),
        format!("{LIST}health = {{ method = \"tcp\", port = 80 }}\n"),
        format!("{LIST}[cycle]\ncheck = \"1s\"\n"),
        format!("{LIST}[cycle]\nsync = \"1s\"\n"),
        format!("{LIST}[cycle]\nrecovery = \"1s\"\n"),
        format!("{LIST}[probe]\ntimeout = \"1s\"\n"),
        format!("{LIST}[probe]\ntimeout = \"auto\"\n"),
        format!("{LIST}[probe]\ntimeout = \"auto\"\ntimeout_max = \"1s\"\n"),
        format!("{LIST}[probe]\ntimeout = \"auto\"\ntimeout_min = \"50ms\"\n"),
        format!("{LIST}[probe]\nattempts = 1\n"),
        format!("{LIST}[probe]\nsecond_opinion = true\n"),
        format!("{LIST}[remote]\nuser = \"ops\"\n"),
        format!("{LIST}[remote]\ncommand = [\"sh\", \"-c\", \"{{command}}\"]\n"),
        format!("{LIST}[breath]\nrepo = \"/srv/repo\"\n"),
        format!("{LIST}[breath]\nremote = \"other\"\n"),
        format!("{LIST}[breath]\nbranch = \"other\"\n"),
        format!("{LIST}[breath]\ntimeout = \"1s\"\n"),
        format!("{LIST}[breath]\ncommit = true\n"),
        format!("{LIST}[lease]\nstore = \"git\"\nremote = \"ssh://192.0.2.9/lease\"\n"),
        format!("{LIST}[lease]\nstore = \"git\"\nremote = \"ssh://192.0.2.9/lease\"\nvalid = \"3s\"\n"),
        format!("{LIST}[lease]\nstore = \"git\"\nremote = \"ssh://192.0.2.9/lease\"\ngrace = \"3s\"\n"),
        format!("{LIST}[lease]\nstore = \"git\"\nremote = \"ssh://192.0.2.9/lease\"\nprefix = \"refs/x/\"\n"),
        format!("{LIST}[lease]\nstore = \"file\"\npath = \"lease\"\n"),
    ];
    let mut digests: Vec<String> = lists.iter().map(|list| digest(list)).collect();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), lists.len());
}

#[test]
fn a_path_counts_from_the_directory_of_the_file() {
    let digest = |repo: &str, directory: &Path| {
        let list = format!("{LIST}[breath]\nrepo = \"{repo}\"\n");
        std::fs::write(directory.join("mirror.toml"), list).expect("written");
        let shown = object(&mirror(directory, ["chain", "show"]));
        shown["digest"].as_str().expect("text").to_owned()
    };
    let (one, two) = (with(""), with(""));
    let plain = digest("repo", one.path());
    let whole = one.path().join("repo");
    // However the path is written, and wherever a copy of the list lies.
    assert_eq!(digest("./repo/", one.path()), plain);
    assert_eq!(digest(whole.to_str().expect("UTF-8"), one.path()), plain);
    assert_eq!(digest("repo", two.path()), plain);
    assert_ne!(digest(whole.to_str().expect("UTF-8"), two.path()), plain);
}

fn local_node(ran: &Ran) -> Value {
    object(ran)["self"].clone()
}

#[test]
fn which_node_this_is_when_it_is_said() {
    let directory = with(LIST);
    let show = || command(directory.path(), ["chain", "show"]);
    let run = |command: &mut Command| Ran::from(command.output().expect("runs"));
    assert_eq!(local_node(&run(&mut show())), Value::Null);
    assert_eq!(local_node(&run(show().args(["--self", "a"]))), "a");
    assert_eq!(local_node(&run(show().env("MIRROR_SELF", "b"))), "b");
    assert_eq!(local_node(&run(show().env("MIRROR_SELF", "b").args(["--self", "a"]))), "a");
    // Set to nothing is not set.
    assert!(local_node(&run(show().env("MIRROR_SELF", ""))).is_null());

    let named = with(&format!("self = \"b\"\n{LIST}"));
    let show = || command(named.path(), ["chain", "show"]);
    assert_eq!(local_node(&run(&mut show())), "b");
    assert_eq!(local_node(&run(show().env("MIRROR_SELF", "a"))), "a");

    for unknown in ["c", "A", "-x", "a b"] {
        let ran = run(command(directory.path(), ["chain", "show"]).env("MIRROR_SELF", unknown));
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{unknown:?}");
        assert_eq!(ran.stderr, format!("mirror: mirror.toml: no node is named {unknown:?}; there are a, b\n"));
    }
}

#[test]
fn loopback_addresses_identify_nobody() {
    let list = "[nodes]\na = \"127.0.0.1\"\nb = \"::1\"\nc = \"127.0.0.2\"\nd = \"localhost\"\n\
                [chains]\nbrain = [\"a\", \"b\", \"c\", \"d\"]\n";
    assert_eq!(local_node(&mirror(with(list).path(), ["chain", "show"])), Value::Null);
}

/// Runs `mirror chain show` in a network of its own that bears these addresses; none where such a
/// network may not be made.
fn bearing(directory: &Path, addresses: &[&str], name: &str) -> Option<Ran> {
    let possible = Command::new("unshare").args(["-rnu", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let mut script = format!("hostname {name} || exit 99\nip link set lo up || exit 99\n");
    for address in addresses {
        script += &format!("ip addr add {address} dev lo || exit 99\n");
    }
    script += "exec \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["-rnu", "sh", "-c", &script, "sh", MIRROR, "chain", "show"]).current_dir(directory);
    unshare.env("HOME", directory).env_remove("MIRROR_SELF").env("MIRROR_CONFIG", "mirror.toml");
    Some(unshare.output().expect("runs").into())
}

#[test]
fn the_node_whose_address_this_machine_bears() {
    let list = "[nodes]\na = \"192.0.2.1\"\nb = \"2001:db8::2\"\nc = \"198.51.100.3\"\nd = \"127.0.0.1\"\n\
                e = \"somehost\"\n[chains]\nbrain = [\"a\", \"b\", \"c\", \"d\", \"e\"]\n";
    let directory = with(list);
    let Some(ran) = bearing(directory.path(), &["192.0.2.1/24"], "other") else {
        eprintln!("skipped: no network namespace may be made here");
        return;
    };
    assert_eq!(local_node(&ran), "a");
    let own_of =
        |addresses: &[&str], name: &str| local_node(&bearing(directory.path(), addresses, name).expect("as before"));
    assert_eq!(own_of(&["2001:db8::2/64"], "other"), "b");
    assert_eq!(own_of(&["203.0.113.9/24", "198.51.100.3/24"], "other"), "c");
    assert_eq!(own_of(&["203.0.113.9/24"], "other"), Value::Null);
    assert_eq!(own_of(&[], "SomeHost"), "e");

    let both = bearing(directory.path(), &["192.0.2.1/24", "2001:db8::2/64"], "other").expect("as before");
    assert_eq!((both.status, both.stdout.as_str()), (2, ""));
    assert_eq!(
        both.stderr,
        "mirror: mirror.toml: this machine bears the addresses of both a and b; name the right one with --self\n"
    );
}

/// `mirror chain check` of nodes a to e with these chains: the status and the object.
fn check(chains: &[&str], options: &[&str]) -> (i32, Value) {
    let mut list = "[nodes]\n".to_owned();
    for (index, node) in ["a", "b", "c", "d", "e"].iter().enumerate() {
        list += &format!("{node} = \"192.0.2.{index}\"\n");
    }
    list += "[chains]\n";
    for (index, chain) in chains.iter().enumerate() {
        let name = if index == 0 { "brain".to_owned() } else { format!("web{index}") };
        let nodes: Vec<String> = chain.chars().map(|node| format!("\"{node}\"")).collect();
        list += &format!("{name} = [{}]\n", nodes.join(", "));
    }
    let ran = mirror(with(&list).path(), [&["chain", "check"], options].concat());
    (ran.status, object(&ran))
}

fn sets(object: &Value) -> Vec<String> {
    let text = |set: &Value| set.as_array().expect("a list").iter().map(|n| n.as_str().expect("text")).collect();
    object["fatal_sets"].as_array().expect("a list").iter().map(text).collect()
}

fn codes(object: &Value) -> Vec<&str> {
    problems(object).iter().map(|p| p["code"].as_str().expect("text")).collect()
}

fn problems(object: &Value) -> &[Value] {
    object["problems"].as_array().expect("a list")
}

#[test]
fn what_a_node_list_survives() {
    for (chains, survives, fatal, warnings) in [
        (&["abcde", "bcdea"][..], 4, &["abcde"][..], &[][..]),
        (&["abcd", "ebcd"], 3, &["abcd", "ebcd"], &["missing-node", "missing-node"]),
        (&["abcde", "ab"], 1, &["ab"], &["missing-node"]),
        (&["abcde", "e"], 0, &["e"], &["no-standby", "missing-node"]),
        (&["ab", "cd", "ad"], 1, &["ab", "cd", "ad"], &["missing-node"; 3]),
    ] {
        let (status, object) = check(chains, &[]);
        assert_eq!((status, &object["verdict"]), (0, &Value::from("sound")), "{chains:?}");
        assert_eq!(object["survives_any"], survives, "{chains:?}");
        assert_eq!(sets(&object), fatal, "{chains:?}");
        assert_eq!(codes(&object), warnings, "{chains:?}");
        // Exactly what it survives may be asked for.
        for wanted in 0..=5 {
            let (status, object) = check(chains, &["--survive", &wanted.to_string()]);
            assert_eq!(status, i32::from(wanted > survives), "{chains:?} --survive {wanted}");
            assert_eq!(codes(&object).contains(&"survives-less"), wanted > survives);
            // Five nodes can be ordered to survive four failures, and no order survives five.
            let advice = if wanted < 5 { "add the missing nodes" } else { "name more nodes" };
            if let Some(problem) = problems(&object).iter().find(|problem| problem["code"] == "survives-less") {
                let message = problem["message"].as_str().expect("text");
                assert!(message.contains(advice), "{message}");
                // It stands where the shortest chain does.
                let shortest = (0..chains.len()).min_by_key(|index| chains[*index].len()).expect("there is one");
                assert_eq!((&problem["line"], &problem["column"]), (&(8 + shortest).into(), &1.into()), "{object}");
            }
        }
    }
    let directory = with(LIST);
    for bad in ["-1", "four", "", "1.5"] {
        let ran = mirror(directory.path(), ["chain", "check", &format!("--survive={bad}")]);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{bad}");
    }
}

#[test]
fn one_leader_of_brain_and_service_is_a_warning() {
    let list = LIST.replace("web = [\"b\", \"a\"]", "web = [\"a\", \"b\"]");
    let ran = mirror(with(&list).path(), ["chain", "check"]);
    assert_eq!(ran.status, 0);
    let object = object(&ran);
    assert!(codes(&object).contains(&"shared-leader"), "{object}");
    let shared = object["problems"].as_array().expect("a list").iter().find(|p| p["code"] == "shared-leader");
    assert_eq!(
        (&shared.expect("is there")["line"], &shared.expect("is there")["where"]),
        (&8.into(), &"chains.web".into())
    );
}

#[test]
fn the_budget_is_the_sum_of_its_parts() {
    let list =
        format!("{LIST}timeout = \"2s\"\n[cycle]\ncheck = \"3s\"\nrecovery = \"8s\"\n[probe]\ntimeout = \"500ms\"\n");
    let ran = mirror(with(&list).path(), ["chain", "check"]);
    let checked = object(&ran);
    let budget: Vec<u64> = ["check_ms", "probe_ms", "stop_ms", "start_ms", "lease_ms", "total_ms", "recovery_ms"]
        .map(|part| checked["budget"][part].as_u64().expect("a number"))
        .into();
    assert_eq!(budget, [3000, 500, 2000, 2000, 0, 7500, 8000]);
    // A brain that stops working at the same moment: two checks and a probe until its beat is stale, a check
    // until the next question, and four probes for the answer.
    assert_eq!((&checked["budget"]["beat_ms"], &checked["budget"]["total_inert_ms"]), (&11500.into(), &19000.into()));
    assert_eq!((ran.status, &checked["budget"]["within"]), (0, &true.into()));
    assert!(!codes(&checked).contains(&"over-budget"));

    // A node that is given more time makes the worst case worse; a warning, no error.
    let slower = list.replace("\"192.0.2.1\"", "{ address = \"192.0.2.1\", probe = { timeout = \"1100ms\" } }");
    let ran = mirror(with(&slower).path(), ["chain", "check"]);
    let checked = object(&ran);
    assert_eq!((ran.status, &checked["budget"]["within"]), (0, &false.into()));
    assert_eq!(checked["budget"]["total_ms"], 8100);
    let problem = problems(&checked).iter().find(|problem| problem["code"] == "over-budget").expect("is there");
    let line = |text: &str| slower.lines().position(|line| line.starts_with(text)).expect("is there") + 1;
    assert_eq!((&problem["line"], &problem["column"]), (&line("recovery").into(), &12.into()));

    // A beat is stale after 2 s at the soonest, and a brain is asked once in 2 s at most.
    let fast = list.replace("\"3s\"", "\"200ms\"");
    assert_eq!(object(&mirror(with(&fast).path(), ["chain", "check"]))["budget"]["beat_ms"], 6000);
    for (example, beat_ms) in [("five-mirrors.toml", 18_750), ("fast.toml", 7000)] {
        let text = std::fs::read_to_string(format!("{}/examples/{example}", env!("CARGO_MANIFEST_DIR")));
        let ran = mirror(with(&text.expect("an example")).path(), ["chain", "check"]);
        assert_eq!(object(&ran)["budget"]["beat_ms"], beat_ms, "{example}");
    }

    // Where the promise is the default, the service is what does not keep it.
    let default = slower.replace("recovery = \"8s\"\n", "").replace("2s", "4s");
    let checked = object(&mirror(with(&default).path(), ["chain", "check"]));
    let problem = problems(&checked).iter().find(|problem| problem["code"] == "over-budget").expect("is there");
    assert_eq!((&problem["line"], &problem["column"]), (&line("[services.web]").into(), &11.into()));
}

/// A list in which every node of the chain is wrong, and one with many chains: linear time, whatever the
/// length, since twenty times as much takes less than a hundred times as long.
#[test]
fn a_long_list_takes_linear_time() {
    let check = |list: String| {
        assert!(list.len() <= 1024 * 1024, "{}", list.len());
        let directory = with(&list);
        let begun = std::time::Instant::now();
        let ran = mirror(directory.path(), ["chain", "check", "--survive", "3"]);
        (begun.elapsed(), ran)
    };
    let duplicates = |count: usize| format!("nodes.a = \"192.0.2.1\"\nchains.brain = [{}]\n", "\"a\",".repeat(count));
    let unknown = |count: usize| {
        let nodes: String = (0..count).map(|i| format!("n{i}=\"n{i}.a\"\n")).collect();
        let chain: String = (0..count).map(|i| format!("\"m{i}\",")).collect();
        format!("[nodes]\n{nodes}[chains]\nbrain=[{chain}]\n")
    };
    let chains = |count: usize| {
        let nodes: String = (0..count).map(|i| format!("n{i}=\"n{i}.a\"\n")).collect();
        let chains: String = (0..count).map(|i| format!("c{i}=[\"n{i}\",\"n0\",\"n1\"]\n")).collect();
        format!(
            "[nodes]\n{nodes}[chains]\nbrain=[\"n0\"]\n{}",
            chains.replace("c0=[\"n0\",\"n0\",\"n1\"]\n", "").replace("c1=[\"n1\",\"n0\",\"n1\"]\n", "")
        )
    };
    let kinds: [(&str, &dyn Fn(usize) -> String); 3] =
        [("duplicates", &duplicates), ("unknown", &unknown), ("chains", &chains)];
    for (kind, list) in kinds {
        let (short, _) = check(list(1000));
        let (long, ran) = check(list(20_000));
        assert!(ran.status == 1, "{kind}: {}", ran.stderr);
        assert!(long < short * 100 + std::time::Duration::from_secs(2), "{kind}: {short:?} and {long:?}");
    }
}

#[test]
fn a_secret_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let list = format!(
        "{LIST}[lease]\nstore = \"etcd\"\nendpoints = [\"https://192.0.2.9:2379\"]\ncert = \"cert\"\nkey = \"key\"\n\
         user = \"mirror\"\npassword_file = \"password\"\n"
    );
    let directory = with(&list);
    let set = |mode: u32| {
        for name in ["key", "password"] {
            let path = directory.path().join(name);
            std::fs::write(&path, "secret").expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        }
        object(&mirror(directory.path(), ["chain", "check"]))
    };
    let line = |key: &str| list.lines().position(|line| line.starts_with(key)).expect("is there") + 1;
    let found: Vec<(Value, Value)> = problems(&set(0o640))
        .iter()
        .filter(|problem| problem["code"] == "readable-secret")
        .map(|problem| (problem["where"].clone(), problem["line"].clone()))
        .collect();
    let expected = [("lease.key", line("key")), ("lease.password_file", line("password_file"))];
    assert_eq!(found, expected.map(|(key, line)| (key.into(), line.into())));
    assert!(!codes(&set(0o600)).contains(&"readable-secret"));
}
