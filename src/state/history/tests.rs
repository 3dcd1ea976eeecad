use super::*;

fn store(directory: &std::path::Path) -> StateDir {
    let text =
        format!("state = \"{}\"\nnodes = {{ a = \"192.0.2.1\" }}\nchains = {{ brain = [\"a\"] }}", directory.display());
    StateDir::open(&crate::config::parse(&directory.join("mirror.toml"), &text).expect("parses").config)
}

#[test]
fn the_oldest_are_forgotten_and_no_line_is_torn() {
    let directory = tempfile::tempdir().expect("a directory");
    let long = "x".repeat(1000);
    let others = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (store, long, others) = (store(directory.path()), &long, &others);
            scope.spawn(move || {
                for number in 0..300 {
                    if number == 299 {
                        others.wait();
                    }
                    record(&store, &Entry::new(None, Event::Brain, format!("{writer} {number} {long}")));
                }
            });
        }
    });
    let store = store(directory.path());
    let entries = read(&store);
    for writer in 0..4 {
        let of = |entry: &Entry| entry.reason.strip_prefix(&format!("{writer} "))?.split(' ').next()?.parse().ok();
        let numbers: Vec<u32> = entries.iter().filter_map(of).collect();
        assert_eq!(numbers.last(), Some(&299), "the newest of {writer}");
        assert!(numbers.is_sorted(), "in order: {numbers:?}");
    }
    assert!(entries.len() < 1200 && entries.len() > 200, "{}", entries.len());
    for path in [ASIDE, CURRENT].map(|name| directory.path().join(name)) {
        let text = std::fs::read_to_string(path).expect("a file");
        // The others go on writing while one puts the file aside.
        assert!((text.len() as u64) < 2 * MAX_FILE, "{}", text.len());
        // Of a line that is just being written half may be seen, and a newline be put after it.
        let mut lines = text.lines().filter(|line| !line.is_empty());
        assert!(lines.all(|line| serde_json::from_str::<Entry>(line).is_ok()));
    }
}

#[test]
fn half_a_line_costs_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store(directory.path());
    record(&store, &Entry::new(None, Event::Pause, "one"));
    let mut file = std::fs::OpenOptions::new().append(true).open(directory.path().join(CURRENT)).expect("a file");
    file.write_all(b"{\"at\":\"2026").expect("written");
    record(&store, &Entry::new(None, Event::Resume, "two"));
    let past = read_past(&store);
    let reasons: Vec<String> = past.entries.into_iter().map(|entry| entry.reason).collect();
    assert_eq!((reasons, past.damaged), (vec!["one".to_owned(), "two".to_owned()], 1));
}

#[test]
fn of_a_file_that_grew_too_long_the_newest_lines_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store(directory.path());
    let line = |reason: &str| serde_json::to_string(&Entry::new(None, Event::Brain, reason)).expect("a line") + "\n";
    let old = line("old").repeat(3 * MAX_FILE as usize / line("old").len());
    std::fs::write(directory.path().join(CURRENT), old + &line("newest")).expect("written");
    let past = read_past(&store);
    assert_eq!((past.entries.last().map(|entry| &entry.reason[..]), past.damaged), (Some("newest"), 0));
    let bytes: usize = past.entries.iter().map(|entry| line(&entry.reason).len()).sum();
    assert!(bytes as u64 <= 2 * MAX_FILE, "{bytes}");
}

#[test]
fn what_is_no_file_of_ours_is_put_aside_for_the_next_entry() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store(directory.path());
    let precious = directory.path().join("paused.json");
    std::fs::write(&precious, "precious").expect("written");
    std::os::unix::fs::symlink(&precious, directory.path().join(CURRENT)).expect("a link");
    assert!(read(&store).is_empty());
    record(&store, &Entry::new(None, Event::Pause, "one"));
    assert_eq!(read(&store).len(), 1);
    assert_eq!(std::fs::read_to_string(precious).expect("is there"), "precious");
}
