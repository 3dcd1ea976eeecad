//! Views that are read: which are trusted, which are as good as none, and which are refused.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::program::{Ran, command, mirror};

/// Nobody is asked where a view is given, so nobody has to be there.
const LIST: &str = "[nodes]\na = \"192.0.2.1\"\nb = \"192.0.2.2\"\n[chains]\nbrain = [\"a\", \"b\"]\n\
                    web = [\"b\", \"a\"]\n[cycle]\ncheck = \"60s\"\n\
                    [services.web]\nstatus = \"false\"\nstart = \"false\"\nstop = \"false\"\n";

fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("mirror.toml"), LIST).expect("written");
    directory
}

fn at(ago: i64) -> String {
    let (now, by) = (SystemTime::now(), Duration::from_secs(ago.unsigned_abs()));
    humantime::format_rfc3339_millis(if ago < 0 { now + by } else { now - by }).to_string()
}

fn view(directory: &TempDir) -> Value {
    let ran = mirror(directory.path(), ["chain", "show"]);
    let shown: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    json!({
        "schema": "mirror.probe/1", "at": at(0), "self": null, "verdict": "dead", "reason": "", "elapsed_ms": 1.0,
        "digest": shown["digest"],
        "nodes": [
            { "node": "a", "address": "192.0.2.1", "method": "tcp", "state": "dead", "cause": "timeout",
              "detail": null, "latency_ms": null, "attempts": 3 },
            { "node": "b", "address": "192.0.2.2", "method": "tcp", "state": "alive", "cause": null,
              "detail": null, "latency_ms": 0.5, "attempts": 1 },
        ],
    })
}

fn whois(directory: &TempDir, view: &[u8]) -> Ran {
    fs::write(directory.path().join("view.json"), view).expect("written");
    mirror(directory.path(), ["whois-brain", "--view", "view.json"])
}

#[test]
fn a_good_view_is_believed_from_a_file_and_from_standard_input() {
    let directory = directory();
    let text = view(&directory).to_string();
    let ran = whois(&directory, text.as_bytes());
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let object: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(object["brain"], "b");
    assert_eq!(object["nodes"][0]["cause"], "timeout");

    let mut child = command(directory.path(), ["whois-brain", "--check", "--self", "b", "--view", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("goes");
    let ran = Ran::from(child.wait_with_output().expect("ends"));
    assert_eq!(ran.status, 0, "{ran:?}");
}

#[test]
fn a_view_that_is_none_is_refused_in_one_line() {
    let directory = directory();
    let good = view(&directory);
    let with = |change: fn(&mut Value)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed.to_string().into_bytes()
    };
    let text = good.to_string();
    let whole = "no view, as this is not one whole JSON object";
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), whole),
        ("truncated", text.as_bytes()[..text.len() / 2].to_vec(), whole),
        ("two objects", [text.as_bytes(), b"\n", text.as_bytes()].concat(), whole),
        ("no JSON", b"All 5 nodes are alive.\n".to_vec(), whole),
        (
            "no UTF-8",
            text.replace("timeout", "\u{fffd}")
                .replace('\u{fffd}', "?")
                .into_bytes()
                .iter()
                .map(|b| if *b == b'?' { 0xff } else { *b })
                .collect(),
            whole,
        ),
        ("a list", b"[]".to_vec(), "its schema is not"),
        ("another schema", with(|v| v["schema"] = "mirror.chain-show/1".into()), "its schema is not"),
        ("another version", with(|v| v["schema"] = "mirror.probe/2".into()), "its schema is not"),
        ("no schema", with(|v| drop(v.as_object_mut().expect("an object").remove("schema"))), "its schema is not"),
        ("no nodes", with(|v| drop(v.as_object_mut().expect("an object").remove("nodes"))), "missing field `nodes`"),
        ("no time", with(|v| v["at"] = "yesterday".into()), "\"at\" is no time"),
        ("from the future", with(|v| v["at"] = at(-3600).into()), "which is in the future; set the clock"),
        ("another state", with(|v| v["nodes"][0]["state"] = "ALIVE".into()), "unknown variant `ALIVE`"),
        ("a node twice", with(|v| v["nodes"][1]["node"] = "a".into()), "a stands in it twice"),
        ("an unknown node", with(|v| v["nodes"][1]["node"] = "c".into()), "no node is named \"c\""),
        ("no name", with(|v| v["nodes"][1]["node"] = "../x".into()), "\"../x\" is not a name"),
    ];
    for (what, bytes, expected) in cases {
        let ran = whois(&directory, &bytes);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{what}: {ran:?}");
        let line = ran.stderr.strip_suffix('\n').expect("a line");
        assert!(!line.contains(char::is_control), "{what}: {line:?}");
        assert!(line.starts_with("mirror: view.json:") && line.contains(expected), "{what}: {line}");
        assert!(line.contains("; "), "{what}: no remedy: {line}");
    }
    for missing in ["absent.json", "."] {
        let ran = mirror(directory.path(), ["promote", "--view", missing]);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{missing}");
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
}

#[test]
fn a_view_that_is_old_or_of_another_list_is_unknown_and_moves_nothing() {
    let directory = directory();
    let good = view(&directory);
    for (key, value, expected) in [
        ("at", at(62), "s old, which is more than cycle.check + probe.timeout (60.750 s)"),
        ("at", "1971-01-01T00:00:00Z".to_owned(), "s old, which is more than"),
        ("digest", "0123456789abcdef".to_owned(), "taken with another node list (digest 0123456789abcdef, here "),
    ] {
        let mut changed = good.clone();
        changed[key] = value.into();
        let ran = whois(&directory, changed.to_string().as_bytes());
        assert_eq!((ran.status, ran.stderr.as_str()), (3, ""), "{expected}");
        let object: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!((&object["verdict"], &object["brain"]), (&"unknown".into(), &Value::Null));
        assert!(object["reason"].as_str().is_some_and(|reason| reason.contains(expected)), "{object}");

        let ran = mirror(directory.path(), ["promote", "--view", "view.json"]);
        assert_eq!(ran.status, 3);
        let object: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!((&object["verdict"], &object["services"][0]["steps"]), (&"unknown".into(), &json!([])));
    }
}

#[test]
fn a_view_that_does_not_tell_of_everyone_decides_only_what_it_can() {
    let directory = directory();
    let mut only_b = view(&directory);
    only_b["nodes"].as_array_mut().expect("a list").remove(0);
    let ran = whois(&directory, only_b.to_string().as_bytes());
    assert_eq!(ran.status, 3, "{ran:?}");
    let object: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(object["nodes"][0]["state"], "unasked");
}
