use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn drain(of: &str, holds: bool, stamp: u64, by: &str) -> Notice {
    Notice {
        subject: Subject::drain(of.parse().expect("a name")),
        holds,
        auto_only: false,
        heeded: false,
        by: by.to_owned(),
        why: None,
        at: "2026-01-01T00:00:00.000Z".to_owned(),
        stamp,
    }
}

fn notice() -> impl Strategy<Value = Notice> {
    ("[abc]", any::<bool>(), 0..5_u64, "[xy]", any::<bool>())
        .prop_map(|(of, holds, stamp, by, heeded)| Notice { heeded, ..drain(&of, holds, stamp, &by) })
}

proptest! {
    /// However often, in which order and by which way notices come, all nodes know the same in the end.
    #[test]
    fn the_order_of_what_is_heard_does_not_matter(
        (told, mixed) in proptest::collection::vec(notice(), 0..12).prop_flat_map(|told| (Just(told.clone()), Just(told).prop_shuffle())),
        split in 0..12_usize,
    ) {
        let one: Notices = told.iter().cloned().collect();
        let (first, second) = mixed.split_at(split.min(mixed.len()));
        let mut other: Notices = second.iter().cloned().collect();
        other.merge(first.iter().cloned());
        other.merge(told.iter().cloned());
        prop_assert_eq!(one, other);
    }

    /// What is set after something was heard counts more, whatever the clocks say.
    #[test]
    fn what_is_set_later_counts(told in proptest::collection::vec(notice(), 0..8), clock in 0..10_u64) {
        let mut known: Notices = told.iter().cloned().collect();
        let stamp = known.next_stamp(SystemTime::UNIX_EPOCH + Duration::from_millis(clock));
        prop_assert!(stamp >= clock && told.iter().all(|notice| notice.stamp < stamp));
        let end = drain("a", false, stamp, "z");
        known.merge([end]);
        prop_assert!(known.merge(told).is_empty());
        prop_assert!(known.drain_of(&"a".parse().expect("a name")).is_none());
    }
}

#[test]
fn only_what_begins_or_ends_is_news() {
    let mut known = Notices::default();
    assert_eq!(known.merge([drain("a", false, 1, "x")]).len(), 0, "it was not drained before");
    assert_eq!(known.merge([drain("a", true, 2, "x")]).len(), 1);
    assert_eq!(known.merge([drain("a", true, 3, "y"), drain("a", true, 2, "x")]).len(), 0);
    let heeded = Notice { heeded: true, ..drain("a", true, 3, "y") };
    assert_eq!(known.merge([heeded.clone()]).len(), 0);
    assert!(known.drain_of(&"a".parse().expect("a name")).is_some_and(|notice| notice.heeded));
    // A new drain has to be heeded anew.
    known.merge([drain("a", true, 4, "x")]);
    assert!(!known.drain_of(&"a".parse().expect("a name")).is_some_and(|notice| notice.heeded));
}

#[test]
fn what_cannot_be_followed_or_is_too_long_is_not_taken() {
    let json = |notice: &Notice| serde_json::to_value(notice).expect("an object");
    let long = Notice { why: Some("w".repeat(MAX_TEXT + 1)), ..drain("a", true, 1, "x") };
    let told = serde_json::json!([
        json(&drain("a", true, 7, "x")),
        json(&drain("b", true, u64::MAX, "x")),
        json(&long),
        { "kind": "later", "of": null },
        "nothing",
    ]);
    assert_eq!(from_json(&told), [drain("a", true, 7, "x")]);
    assert_eq!(from_json(&serde_json::Value::Null), []);
}

#[test]
fn the_end_of_the_pause_of_all_ends_older_ones_of_single_services() {
    let pause = |of: Option<&str>, holds, stamp| Notice {
        subject: Subject::pause(of.map(|of| of.parse().expect("a name"))),
        ..drain("a", holds, stamp, "x")
    };
    let mut known = Notices::default();
    known.merge([pause(Some("bot"), true, 1), drain("a", true, 1, "x")]);
    assert_eq!(known.merge([pause(None, false, 2)]).len(), 1, "it ended something");
    assert_eq!(known.merge([pause(None, false, 3)]).len(), 0, "nothing was paused");
    assert_eq!(known.merge([pause(Some("web"), true, 2)]).len(), 0, "it was set before the end");
    assert_eq!(known.merge([pause(Some("bot"), true, 4)]).len(), 1);
    let holding: Vec<&Subject> = known.all_holding().map(|notice| &notice.subject).collect();
    assert_eq!(holding.len(), 2, "{holding:?}");
}
