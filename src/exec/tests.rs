use super::*;

fn run(script: &str) -> Finished {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Exec::new(command).run(Deadline::after(Duration::from_secs(60))).expect("it runs")
}

#[test]
fn what_went_wrong_is_in_the_first_or_the_last_line() {
    for (script, first, last) in [
        ("echo out; printf '\\n one \\n\\ntwo\\n' >&2", Some("one"), Some("two")),
        ("echo; echo one; echo two; echo ' ' >&2", Some("one"), Some("two")),
        ("printf 'o\\033[8mne\\n' >&2", Some("o[8mne"), Some("o[8mne")),
        ("echo", None, None),
    ] {
        let finished = run(script);
        assert_eq!((finished.first_line().as_deref(), finished.last_line().as_deref()), (first, last), "{script}");
    }
    let long = run("head -c 100000 /dev/zero | tr '\\0' x");
    assert!(long.cut && long.first_line().is_some_and(|line| line.len() == MAX_LINE));
}
