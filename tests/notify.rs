//! `mirror notify` tells real receivers: a command and an HTTP server. `mirror metrics` is read by promtool.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::mirror::{Network, run};
use crate::support::service::{Bot, LOCAL};

/// What was posted: the first line, the headers and the body of each request.
type Requests = Arc<Mutex<Vec<(String, String, String)>>>;

/// A server that answers each request with the next of these statuses, and with the last from then on.
fn server(statuses: &[u16]) -> (u16, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, requests, statuses) = (listener.local_addr().unwrap().port(), Requests::default(), statuses.to_vec());
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let (mut first, mut headers, mut length) = (String::new(), String::new(), 0);
            if reader.read_line(&mut first).unwrap_or(0) == 0 {
                continue;
            }
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                headers += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let mut seen = seen.lock().unwrap();
            let status = statuses[seen.len().min(statuses.len() - 1)];
            seen.push((first, headers, String::from_utf8(body).unwrap()));
            let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    (port, requests)
}

/// A network of two nodes that are this machine, seen from `a`, which leads.
struct Stage {
    bot: Bot,
    network: Network,
}

impl Stage {
    fn new(notify: &str) -> Self {
        let (bot, network) = (Bot::new(), Network::new(""));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let list = format!(
            "self = \"a\"\n[nodes]\na = {{ address = \"127.0.0.1\", port = {port}, probe = {{ port = {port} }} }}\n\
             b = {{ address = \"127.0.0.2\", port = {port}, probe = {{ method = \"exec\", command = \"true\" }} }}\n\
             [chains]\nbrain = [\"a\", \"b\"]\nbot = [\"b\", \"a\"]\n[cycle]\ncheck = \"60s\"\n[probe]\ntimeout = \"20s\"\n\
             [remote]\ncommand = {LOCAL}\n[services.bot]\n{}timeout = \"100s\"\nfailback = \"never\"\n[notify]\n{notify}\n",
            bot.commands()
        );
        network.rewrite(&list);
        Self { bot, network }
    }

    fn check(&self, verdict: &str) {
        let mut check = self.network.mirror(["promote", "--if-brain"]);
        check.env("NODE", "a");
        run(check).expect(0, verdict);
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.network.path().join(name)
    }
}

#[test]
fn a_command_is_told_each_event_once_in_order_and_again_after_a_failure() {
    let command = "[ -e {dir}/away ] && exit 1; cat >>{dir}/told; \
                   echo \"$MIRROR_EVENT $MIRROR_SERVICE $MIRROR_NODE $MIRROR_VERDICT $MIRROR_SELF\" >>{dir}/fields";
    let stage = Stage::new(&format!("command = '{command}'"));
    stage.check("started");
    let object = stage.network.run("notify").expect(0, "delivered");
    assert_eq!((&object["delivered"], &object["pending"], &object["beat"]), (&json!(2), &json!(0), &json!(null)));
    assert_eq!(fs::read_to_string(stage.file("fields")).unwrap(), "brain  a  a\npromote bot b started a\n");
    stage.check("in-place");
    assert_eq!(stage.network.run("notify").expect(0, "delivered")["delivered"], 0, "a tick is no event");
    // Away for a while, it gets everything afterwards, in order.
    fs::write(stage.file("away"), "").unwrap();
    let mut promote = stage.network.mirror(["promote", "bot", "--to", "a", "--why", "disk"]);
    promote.env("NODE", "a");
    run(promote).expect(0, "moved");
    stage.network.run("pause bot").expect(0, "paused");
    let object = stage.network.run("notify").expect(1, "refused");
    assert_eq!((&object["delivered"], &object["pending"]), (&json!(0), &json!(2)), "{object:#}");
    fs::remove_file(stage.file("away")).unwrap();
    assert_eq!(stage.network.run("notify").expect(0, "delivered")["delivered"], 2);
    let told: Vec<Value> = fs::read_to_string(stage.file("told"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let events: Vec<&Value> = told.iter().map(|event| &event["event"]).collect();
    assert_eq!(events, ["brain", "promote", "promote", "pause"]);
    assert_eq!(
        (&told[2]["verdict"], &told[2]["node"], &told[2]["why"]),
        (&json!("moved"), &json!("a"), &json!("disk"))
    );
    let mut ids: Vec<&str> = told.iter().map(|event| event["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{told:#?}");
}

#[test]
fn a_url_gets_each_event_in_its_format_and_the_token_is_never_shown() {
    for (format, url, field) in [
        ("json", "/events", "id"),
        ("slack", "/hooks/{token}", "text"),
        ("telegram", "/bot{token}/sendMessage?chat_id=7", "text"),
        ("text", "/", ""),
    ] {
        let (port, requests) = server(&[503, 200]);
        let notify = format!(
            "url = \"http://127.0.0.1:{port}{url}\"\nformat = \"{format}\"\ntoken_file = \"token\"\nbeat_url = \"http://127.0.0.1:{port}/beat\""
        );
        let stage = Stage::new(&notify.replace("beat_url", "# beat_url"));
        fs::write(stage.file("token"), "s3cret-t0ken\n").unwrap();
        stage.check("started");
        let said = stage.network.run("notify");
        let object = said.expect(3, "not-reached");
        assert_eq!((&object["delivered"], &object["pending"]), (&json!(0), &json!(2)), "{object:#}");
        assert!(!format!("{said:?}").contains("s3cret"), "{said:?}");
        assert_eq!(stage.network.run("notify").expect(0, "delivered")["delivered"], 2);
        let requests = requests.lock().unwrap();
        assert_eq!(requests.len(), 3, "{requests:?}");
        let (first, headers, body) = &requests[2];
        assert!(first.starts_with(&format!("POST {}", url.replace("{token}", "s3cret-t0ken"))), "{first}");
        assert_eq!(headers.contains("Bearer s3cret-t0ken"), !url.contains("{token}"), "{headers}");
        if field.is_empty() {
            assert!(body.starts_with("bot: started. bot now runs on b"), "{body}");
        } else {
            let object: Value = serde_json::from_str(body).unwrap();
            assert!(object[field].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        }
    }
}

#[test]
fn the_brain_sends_a_beat_as_long_as_every_service_is_well() {
    let (port, requests) = server(&[200]);
    let stage = Stage::new(&format!("beat_url = \"http://127.0.0.1:{port}/beat\""));
    assert_eq!(
        stage.network.run("notify").expect(0, "delivered")["beat"],
        json!(null),
        "no check has made it the brain"
    );
    stage.check("started");
    assert_eq!(stage.network.run("notify").expect(0, "delivered")["beat"], "sent");
    assert!(requests.lock().unwrap()[0].0.starts_with("GET /beat "));
    stage.bot.crash("b");
    for node in ["a", "b"] {
        stage.bot.before("start", node, "exit 1");
    }
    let mut check = stage.network.mirror(["promote", "--if-brain"]);
    check.env("NODE", "a");
    run(check).expect(1, "failed");
    assert_eq!(stage.network.run("notify").expect(0, "delivered")["beat"], "withheld");
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[test]
fn metrics_are_what_promtool_reads() {
    let stage = Stage::new("");
    stage.check("started");
    let mut metrics = stage.network.mirror(["metrics", "--output", "mirror.prom"]);
    metrics.env("NODE", "a");
    let said = run(metrics);
    assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{said:?}");
    let text = fs::read_to_string(stage.file("mirror.prom")).unwrap();
    for line in [
        "mirror_service_running{service=\"bot\"} 0.0",
        "mirror_service_seen_on{service=\"bot\",node=\"b\"} 1.0",
        "mirror_node_alive{node=\"a\"} 1.0",
        "mirror_brain 1.0",
        "mirror_at_work 1.0",
        "mirror_check_verdict{verdict=\"started\"} 1.0",
        "mirror_service_outage_seconds{service=\"bot\"} 0.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(
        fs::read_dir(stage.network.path())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".prom"))
            .count(),
        1
    );
    let Some(mut check) = promtool(&["check", "metrics"]) else { return };
    let checked = check.stdin(fs::File::open(stage.file("mirror.prom")).unwrap()).output().unwrap();
    assert!(checked.status.success(), "{checked:?}\n{text}");
}

#[test]
fn the_alert_rules_are_sound() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/prometheus");
    for words in [["check", "rules", "mirror.rules.yml"], ["test", "rules", "mirror.rules.test.yml"]] {
        let Some(mut promtool) = promtool(&words) else { return };
        let checked = promtool.current_dir(&rules).output().unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }
}

/// None, and said to be, where it is not installed.
fn promtool(words: &[&str]) -> Option<Command> {
    let found = Command::new("promtool").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: no promtool is installed here (Debian's package prometheus has it)");
        return None;
    }
    let mut promtool = Command::new("promtool");
    promtool.args(words);
    Some(promtool)
}
