//! The exit statuses: the command's, and its own.

use rustix::process::Signal;
use three_mirror::lease::LeaseState;

use super::{Field, OBEDIENT, write};
use crate::support::mirror::{Started, run};
use crate::support::processes::signal;
use crate::support::{LONG, wait_for};

#[test]
fn the_commands_status_is_passed_through() {
    let field = Field::new("60s", "10s");
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill $$", 143)] {
        let said = field.hold(script);
        assert_eq!((said.status, said.stdout.as_str()), (status, ""), "{script}: {said:?}");
        let shown = field.shown();
        assert_eq!((shown["verdict"].as_str(), shown["exit_status"].as_i64()), (Some("ended"), Some(status.into())));
    }
}

#[test]
fn the_command_gets_the_streams_and_the_epoch() {
    let field = Field::new("60s", "10s");
    field.grant("b");
    field.grant("a");
    let files = "for fd in /proc/$$/fd/*; do printf '%s ' \"${fd##*/}\"; done";
    let script = format!("cat; echo $MIRROR_SERVICE $MIRROR_HOLDER $MIRROR_EPOCH; echo words >&2; {files}");
    let mut command = field.holding(&script);
    std::fs::write(field.path("input"), "fed\n").unwrap();
    command.stdin(std::fs::File::open(field.path("input")).unwrap());
    let said = run(command);
    // Nothing else is open: not the lock, not the supervisor's orders, not what `mirror` inherited. The
    // shell itself opens the directory that it lists.
    assert_eq!((said.status, &said.stdout[..]), (0, "fed\nbot a 3\n0 1 2 3 "), "{}", said.stderr);
    assert!(said.stderr.contains("words\n"), "{}", said.stderr);
}

#[test]
fn it_prints_each_event_unless_quiet() {
    let field = Field::new("60s", "10s");
    let said = field.hold("exit 3");
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert!(
        matches!(lines[..], [one, two] if one.starts_with("mirror: bot runs here in epoch 1, as process ")
            && two == "mirror: bot has ended, with status 3."),
        "{said:?}"
    );
    let said = run(field.network.mirror(["hold", "--quiet", "bot", "--", "sh", "-c", "exit 3"]));
    assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (3, "", ""));
}

#[test]
fn nothing_is_started_when_the_lease_is_not_ours() {
    let field = Field::new("60s", "10s");
    field.grant("b");
    let not_ours = |field: &Field| {
        let said = field.hold("touch ran");
        assert_eq!(said.status, 1, "{said:?}");
        assert_eq!(field.shown()["verdict"], "not-ours");
    };
    not_ours(&field);
    write(&field.path("lease/bot"), "a", 3, LeaseState::Claimed);
    not_ours(&field);
    let vacant = Field::new("60s", "10s");
    std::fs::remove_file(vacant.path("lease/bot")).unwrap();
    not_ours(&vacant);
    assert!(!field.path("ran").exists() && !vacant.path("ran").exists());
}

#[test]
fn nothing_is_started_when_the_lease_cannot_be_read() {
    let field = Field::new("500ms", "10s");
    std::fs::write(field.path("lease/bot"), "something else\n").unwrap();
    let said = field.hold("touch ran");
    assert_eq!(said.status, 3, "{said:?}");
    assert!(said.stderr.contains("holds what is not its lease"), "{said:?}");
    field.cut_off();
    let said = field.hold("touch ran");
    assert_eq!(said.status, 3, "{said:?}");
    assert_eq!(field.shown()["verdict"], "unknown");
    assert!(!field.path("ran").exists());
}

#[test]
fn a_register_that_went_back_is_not_obeyed() {
    let field = Field::new("1s", "10s");
    field.grant("b");
    let backup = std::fs::read(field.path("lease/bot")).unwrap();
    field.grant("a");
    assert_eq!(field.hold("exit 0").status, 0);
    std::fs::write(field.path("lease/bot"), backup).unwrap();
    let said = field.hold("touch ran");
    assert_eq!(said.status, 3, "{said:?}");
    assert!(said.stderr.contains("went back from epoch 3 to 2"), "{said:?}");
}

#[test]
fn one_node_holds_a_service_once() {
    let field = Field::new("60s", "10s");
    let running = field.start(OBEDIENT);
    let said = field.hold("touch ran");
    assert_eq!(said.status, 3, "{said:?}");
    assert!(said.stderr.contains("held on this node already"), "{said:?}");
    assert_eq!(field.shown()["verdict"], "running", "the file is still the other's");
    signal(running.hold(), Signal::TERM);
    running.end();
    // Nothing of one hold blocks the next.
    for _ in 0..10 {
        assert_eq!(field.hold("exit 0").status, 0);
    }
    assert!(!field.path("ran").exists());
}

#[test]
fn a_second_hold_is_excluded_even_when_the_state_is_deleted() {
    let field = Field::new("60s", "10s");
    let running = field.start(OBEDIENT);
    std::fs::remove_dir_all(field.path("state")).unwrap();
    let said = field.hold("touch ran");
    assert_eq!(said.status, 3, "{said:?}");
    assert!(said.stderr.contains("held on this node already"), "{said:?}");
    signal(running.hold(), Signal::TERM);
    running.end();
    assert_eq!(field.hold("exit 0").status, 0);
    assert!(!field.path("ran").exists());
}

#[test]
fn the_status_says_that_a_command_cannot_be_started() {
    let field = Field::new("60s", "10s");
    let of = |program: &str| {
        let said = run(field.network.mirror(["hold", "bot", "--", program]));
        assert_eq!(field.shown()["verdict"], "failed");
        said.status
    };
    assert_eq!((of("/nowhere/at/all"), of("/")), (127, 126));
}

#[test]
fn a_usage_error_starts_nothing() {
    let field = Field::new("2s", "1s");
    let usage_error = |arguments: &[&str]| {
        let arguments = [&["hold"], arguments, &["--", "touch", "ran"]].concat();
        run(field.network.mirror(arguments)).expect_misuse().to_owned()
    };
    assert!(usage_error(&["bot", "--check", "2s"]).contains("may be relied on for 2s"));
    assert!(usage_error(&["bot", "--check", "0s"]).contains("--check"));
    assert!(usage_error(&["nothing"]).contains("no service is named"));
    run(field.network.mirror(["hold", "bot"])).expect_misuse();
    let list = std::fs::read_to_string(field.network.config()).unwrap();
    field.network.rewrite(&list.lines().filter(|line| !line.contains("lease =")).collect::<Vec<_>>().join("\n"));
    assert!(usage_error(&["bot"]).contains("add [lease]"));
    assert!(!field.path("ran").exists());
}

#[test]
fn a_signal_is_passed_on_and_the_commands_status_with_it() {
    let field = Field::new("60s", "30s");
    for sent in [Signal::TERM, Signal::INT, Signal::HUP] {
        let _ = std::fs::remove_file(field.path("main"));
        let running = field.start(OBEDIENT);
        signal(running.hold(), sent);
        assert_eq!(running.end().status, 9);
        assert_eq!(std::fs::read_to_string(field.path("term")).unwrap(), "term\n");
        std::fs::remove_file(field.path("term")).unwrap();
        assert_eq!(field.shown()["verdict"], "ended");
    }
}

#[test]
fn a_signal_before_the_first_read_ends_it() {
    let field = Field::new("120s", "1s");
    // A read waits for the lock.
    let lock = std::fs::File::create(field.path("lease/bot.lock")).unwrap();
    lock.lock().unwrap();
    let started = Started::new(field.holding("touch ran"));
    wait_for("it has begun", || field.path("state/hold-bot.lock").exists().then_some(()));
    super::a_while();
    signal(started.pid(), Signal::TERM);
    let said = started.end();
    assert_eq!(said.status, 143, "{said:?}");
    assert!(said.took < LONG / 3 && !field.path("ran").exists());
}

#[test]
fn the_state_file_matches_the_schema() {
    let field = Field::new("60s", "10s");
    let schema = serde_json::from_str(&field.network.run("schema hold").stdout).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let keeps = || {
        let shown = field.shown();
        let errors: Vec<String> = validator.iter_errors(&shown).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {shown}");
    };
    let running = field.start(OBEDIENT);
    wait_for("it is shown", || field.path("state/hold-bot.json").exists().then_some(()));
    keeps();
    assert_eq!(field.shown()["pid"], running.main);
    field.grant("b");
    field.grant("b");
    signal(running.hold(), Signal::TERM);
    running.end();
    keeps();
    field.hold("exit 0");
    keeps();
}
