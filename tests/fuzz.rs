//! Whatever bytes come, the readers do not panic, and an error is one line.

use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use three_mirror::config::{self, Config};
use three_mirror::usage_error::UsageError;
use three_mirror::view::{self, LoadedView};

const CASES: u32 = 2000;

fn good() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good");
    let files = std::fs::read_dir(directory).expect("is there");
    files.map(|entry| std::fs::read_to_string(entry.expect("is there").path()).expect("UTF-8")).collect()
}

fn list() -> Config {
    let text = "[nodes]\na = \"192.0.2.1\"\nb = \"192.0.2.2\"\n[chains]\nbrain = [\"a\", \"b\"]\n";
    config::parse(Path::new("mirror.toml"), text).expect("is good").config
}

const AT: &str = "2024-05-06T07:08:09.123Z";

fn now() -> SystemTime {
    humantime::parse_rfc3339(AT).expect("a time") + Duration::from_secs(1)
}

fn good_view() -> String {
    format!(
        "{{\"schema\":\"mirror.probe/1\",\"at\":\"{AT}\",\"self\":null,\"verdict\":\"dead\",\"reason\":\"One is dead.\",\
         \"elapsed_ms\":1.5,\"digest\":\"{}\",\"nodes\":[{{\"node\":\"a\",\"address\":\"192.0.2.1\",\"method\":\"tcp\",\
         \"state\":\"alive\",\"cause\":null,\"detail\":null,\"latency_ms\":0.25,\"attempts\":1}},{{\"node\":\"b\",\
         \"address\":\"192.0.2.2\",\"method\":\"tcp\",\"state\":\"dead\",\"cause\":\"refused\",\"detail\":null,\
         \"latency_ms\":null,\"attempts\":1}}]}}\n",
        list().digest
    )
}

/// Something done to a text: pieces cut, doubled, put elsewhere, or replaced.
#[derive(Clone, Debug)]
enum Change {
    Cut(usize, usize),
    Double(usize, usize),
    Insert(usize, Vec<u8>),
    Flip(usize, u8),
    End(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let tokens: Vec<&[u8]> = vec![
        b"\"",
        b"'",
        b"[",
        b"]",
        b"[[",
        b"{",
        b"}",
        b"=",
        b",",
        b".",
        b"\n",
        b"\r",
        b"\0",
        b"#",
        b"-",
        b":",
        b"null",
        b"true",
        b"0",
        b"-1",
        b"99999999999999999999",
        b"1e999",
        b"nan",
        b"inf",
        b"1979-05-27",
        b"\"\"\"",
        b"\\u0000",
        b"\\ud800",
        b"\xff",
        b"\xc3",
        "ä".as_bytes(),
        "\u{202e}".as_bytes(),
        b"\x1b[2J",
        b"{command}",
        b"lease",
        b"..",
    ];
    let piece = prop_oneof![
        4 => proptest::sample::select(tokens).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    prop_oneof![
        (any::<usize>(), 0..20_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<usize>(), 0..60_usize).prop_map(|(at, length)| Change::Double(at, length)),
        (any::<usize>(), piece).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        any::<usize>().prop_map(Change::End),
    ]
}

fn changed(text: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for change in changes {
        let place = |at: usize| at % (bytes.len() + 1);
        match change {
            Change::Cut(at, length) => {
                let (start, end) = (place(*at), (place(*at) + length).min(bytes.len()));
                bytes.drain(start..end);
            }
            Change::Double(at, length) => {
                let (start, end) = (place(*at), (place(*at) + length).min(bytes.len()));
                let piece = bytes[start..end].to_vec();
                bytes.splice(start..start, piece);
            }
            Change::Insert(at, piece) => {
                let at = place(*at);
                bytes.splice(at..at, piece.iter().copied());
            }
            Change::Flip(at, byte) => {
                let at = place(*at);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Change::End(at) => {
                let at = place(*at);
                bytes.truncate(at);
            }
        }
    }
    bytes
}

/// An error is a misuse, is one line, is not long, and names what it speaks of.
fn one_line(error: &anyhow::Error, shown: &str) -> Result<(), TestCaseError> {
    let text = format!("{error:#}");
    prop_assert!(error.is::<UsageError>(), "{}", text);
    prop_assert!(!text.contains(['\n', '\r', '\0', '\x1b']), "{:?}", text);
    prop_assert!(text.starts_with(shown) && text.contains("; "), "{:?}", text);
    prop_assert!(text.len() < 1000, "{} bytes: {:?}", text.len(), text);
    Ok(())
}

fn configuration(text: &str) -> Result<(), TestCaseError> {
    match config::parse(Path::new("mirror.toml"), text) {
        Err(error) => one_line(&error, "mirror.toml:")?,
        Ok(loaded) => {
            for problem in &loaded.problems {
                prop_assert!(!problem.message.contains(char::is_control), "{:?}", problem);
                prop_assert!(problem.line >= 1 && problem.line <= text.matches('\n').count() + 1, "{:?}", problem);
                prop_assert!(problem.column >= 1);
            }
            let config = loaded.config;
            prop_assert!(!config.nodes.is_empty());
            prop_assert!(config.chains.values().flatten().all(|node| config.nodes.contains_key(node)));
            config::budget(&config);
        }
    }
    Ok(())
}

fn a_view(bytes: &[u8], config: &Config) -> Result<(), TestCaseError> {
    match view::parse("view.json", bytes, config, now()) {
        Err(error) => one_line(&error, "view.json:")?,
        Ok(LoadedView::Distrusted(why)) => prop_assert!(!why.contains(char::is_control), "{:?}", why),
        Ok(LoadedView::Trusted(view)) => prop_assert!(view.answers.keys().all(|node| config.nodes.contains_key(node))),
    }
    Ok(())
}

#[test]
fn the_samples_are_good_before_they_are_changed() {
    for text in good() {
        assert!(config::parse(Path::new("mirror.toml"), &text).expect("is read").sound());
    }
    let view = view::parse("view.json", good_view().as_bytes(), &list(), now()).expect("is read");
    assert!(matches!(view, LoadedView::Trusted(view) if view.answers.len() == 2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_as_a_configuration(text in any::<String>()) {
        configuration(&text)?;
    }

    #[test]
    fn any_bytes_as_a_view(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        a_view(&bytes, &list())?;
    }

    #[test]
    fn a_good_configuration_changed(
        which in any::<proptest::sample::Index>(),
        changes in proptest::collection::vec(change(), 1..6),
    ) {
        let samples = good();
        let bytes = changed(which.get::<String>(&samples), &changes);
        configuration(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn a_good_view_changed(changes in proptest::collection::vec(change(), 1..6)) {
        a_view(&changed(&good_view(), &changes), &list())?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn long_values_make_no_long_messages(
        key in proptest::sample::select(vec![
            "state", "self", "nodes.a", "nodes.a.address", "nodes.a.user", "chains.brain", "cycle.check",
            "probe.method", "probe.url", "probe.port", "remote.user", "remote.command", "services.web.failback",
            "breath.branch", "witness.addresses", "lease", "nodes.-",
        ]),
        filler in "[a-z/{ é\u{7f}]",
        quote in proptest::sample::select(vec!["\"", "'", ""]),
    ) {
        let long = filler.repeat(5000);
        configuration(&format!("{key} = {quote}{long}{quote}\n"))?;
        configuration(&format!("{key} = [{quote}{long}{quote}]\n"))?;
        configuration(&format!("\"{long}\" = 1\n"))?;
        configuration(&format!("nodes.\"{long}\" = '192.0.2.1'\n"))?;
        configuration(&format!("{key}.\"{long}\" = 1\n"))?;
    }
}

#[test]
fn what_a_view_holds_makes_no_long_or_broken_line() {
    let long = "\\n\\u001b".repeat(10_000);
    for (from, to) in [
        ("\"alive\"", format!("\"{long}\"")),
        ("\"node\":\"a\"", format!("\"node\":\"{long}\"")),
        (AT, long.clone()),
        ("\"attempts\":1", format!("\"attempts\":\"{long}\"")),
        (&list().digest, long.clone()),
        ("mirror.probe/1", long.clone()),
    ] {
        let text = good_view().replacen(from, &to, 1);
        assert_ne!(text, good_view(), "{from}");
        match view::parse("view.json", text.as_bytes(), &list(), now()) {
            Err(error) => one_line(&error, "view.json:").expect(from),
            Ok(LoadedView::Distrusted(why)) => assert!(why.len() < 1000 && !why.contains(char::is_control), "{from}"),
            Ok(LoadedView::Trusted(_)) => panic!("{from}: trusted"),
        }
    }
}

/// The parser has to bound its own depth.
#[test]
fn deep_nesting_ends_in_an_error() {
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
    ] {
        let error = config::parse(Path::new("mirror.toml"), &text).expect_err("no configuration");
        assert!(format!("{error:#}").len() < 1000);
    }
    let text = "[".repeat(100_000);
    assert!(view::parse("view.json", text.as_bytes(), &list(), now()).is_err());
}
