use super::*;
use crate::state::ServiceRecord;

#[test]
fn without_a_directory_one_process_has_the_locks_of_all_services() {
    let fallback = tempfile::NamedTempFile::new().expect("a file");
    let text = "state = \"/dev/null/nowhere\"\nnodes = { a = \"192.0.2.1\" }\nchains = { brain = [\"a\"] }";
    let config = crate::config::parse(fallback.path(), text).expect("parses").config;
    let (state_dir, other) = (StateDir::open(&config), StateDir::open(&config));
    let service = |name: &str| name.parse::<Name>().expect("a name");
    let first = state_dir.lock(&service("a")).expect("can be locked");
    let second = state_dir.lock(&service("b")).expect("can be locked");
    assert!(first.is_some() && second.is_some());
    assert!(other.lock(&service("a")).expect("can be tried").is_none(), "two processes have one lock");
    drop((state_dir, first, second));
    assert!(other.lock(&service("a")).expect("can be locked").is_some());
}

fn in_directory(directory: &Path) -> StateDir {
    let text =
        format!("state = \"{}\"\nnodes = {{ a = \"192.0.2.1\" }}\nchains = {{ brain = [\"a\"] }}", directory.display());
    StateDir::open(&crate::config::parse(&directory.join("list"), &text).expect("parses").config)
}

/// The warnings about files below `directory`; other tests of this process warn too.
fn warned(directory: &Path) -> Vec<String> {
    let all = warnings::collected().into_iter().map(|warning| warning.message);
    all.filter(|message| message.contains(&directory.display().to_string())).collect()
}

#[test]
fn a_damaged_file_is_named_once_and_the_next_write_mends_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (state_dir, service) = (in_directory(directory.path()), "bot".parse::<Name>().expect("a name"));
    let file = directory.path().join("service-bot.json");
    let record = ServiceRecord { trouble: Some("blocked".to_owned()), ..ServiceRecord::default() };
    let pipe = || rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o600.into(), 0);
    let damages: [(&str, &dyn Fn()); 4] = [
        ("empty", &|| std::fs::write(&file, "").expect("written")),
        ("full of NUL bytes", &|| std::fs::write(&file, [0; 300]).expect("written")),
        ("damaged", &|| std::fs::write(&file, "{\"boot\"").expect("written")),
        ("not a regular file", &|| {
            std::fs::remove_file(&file).expect("removed");
            pipe().expect("a pipe");
        }),
    ];
    for (number, (what, damage)) in damages.into_iter().enumerate() {
        state_dir.keep_record(&service, &record);
        assert_eq!(state_dir.record(&service), record);
        damage();
        for _ in 0..2 {
            assert_eq!(state_dir.record(&service), ServiceRecord::default());
        }
        let warned = warned(directory.path());
        assert!(warned.len() == number + 1 && warned[number].contains(what), "{warned:?}");
        assert!(warned[number].contains("service-bot.json"), "{warned:?}");
    }
    state_dir.keep_record(&service, &record);
    assert_eq!(state_dir.record(&service), record);
}

#[test]
fn what_another_user_can_have_written_is_not_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let (state_dir, service) = (in_directory(&directory.path().join("state")), "bot".parse::<Name>().expect("a name"));
    let record = ServiceRecord { trouble: Some("blocked".to_owned()), ..ServiceRecord::default() };
    state_dir.keep_record(&service, &record);
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).expect("changed");
    assert_eq!(state_dir.record(&service), ServiceRecord::default());
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("changed");
    assert_eq!(state_dir.record(&service), record);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(directory.path().join("state"), Some(12345), None).expect("changed");
        assert_eq!(state_dir.record(&service), ServiceRecord::default());
    }
}

#[test]
fn a_promotion_leaves_the_time_of_its_check() {
    let directory = tempfile::tempdir().expect("a directory");
    let state_dir = in_directory(directory.path());
    assert_eq!(state_dir.last_check(), None);
    drop(state_dir.lock(&"bot".parse().expect("a name")).expect("locked"));
    assert!(state_dir.last_check().is_some_and(|age| age < Duration::from_secs(60)));
}
