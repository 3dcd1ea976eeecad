//! Properties of the decisions: on histories that are sets of commits, and merges that are unions.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

type History = BTreeMap<String, BTreeSet<String>>;

/// Heads with what they contain: letters, of which a lower-case and an upper-case one contradict each other.
fn heads() -> impl Strategy<Value = Vec<(BTreeSet<char>, BTreeSet<usize>)>> {
    let content = proptest::collection::btree_set(prop_oneof![Just('a'), Just('A'), Just('b'), Just('c')], 1..4);
    let head = (content, proptest::collection::btree_set(0_usize..6, 0..4));
    proptest::collection::vec(head, 1..6)
}

fn named(heads: &[(BTreeSet<char>, BTreeSet<usize>)]) -> (Vec<Head>, BTreeMap<String, BTreeSet<char>>) {
    let mut contents = BTreeMap::new();
    let mut list = Vec::new();
    for (index, (content, places)) in heads.iter().enumerate() {
        let commit = format!("{index}-{}", content.iter().collect::<String>());
        contents.insert(commit.clone(), content.clone());
        list.push(Head { commit, places: places.iter().copied().collect() });
    }
    (list, contents)
}

fn merge(contents: &mut BTreeMap<String, BTreeSet<char>>, a: &str, b: &str) -> Merged {
    let both: BTreeSet<char> = contents[a].union(&contents[b]).copied().collect();
    if both.contains(&'a') && both.contains(&'A') && contents[a] != contents[b] {
        return Merged::Conflict(vec!["a".to_owned()]);
    }
    let commit = format!("({a}+{b})");
    contents.insert(commit.clone(), both);
    Merged::Clean(commit)
}

fn followed(heads: &[Head], contents: &BTreeMap<String, BTreeSet<char>>, ours: Option<&str>) -> Followed {
    let mut contents = contents.clone();
    let found = follow(heads.to_vec(), |a, b| Ok(merge(&mut contents, a, b)), |head| Ok(Some(head) == ours));
    found.expect("no failure").expect("a line")
}

proptest! {
    /// Every node that knows the same heads forms the same lines, in whatever order it learned them.
    #[test]
    fn lines_do_not_depend_on_the_order_of_discovery(heads in heads(), seed in any::<u64>()) {
        let (list, contents) = named(&heads);
        let mut shuffled = list.clone();
        let count = shuffled.len();
        for at in 0..count {
            shuffled.swap(at, (seed >> (at * 8) & 0xff) as usize % count);
        }
        for ours in list.iter().map(|head| Some(head.commit.as_str())).chain([None]) {
            prop_assert_eq!(followed(&list, &contents, ours), followed(&shuffled, &contents, ours));
        }
    }

    /// Each head is in the line or left out, and ours is in the line.
    #[test]
    fn no_head_is_forgotten_and_ours_is_never_left(heads in heads()) {
        let (list, contents) = named(&heads);
        for ours in &list {
            let Followed { line, left_out } = followed(&list, &contents, Some(&ours.commit));
            prop_assert!(line.members.contains(&ours.commit));
            let mut all: Vec<String> = line.members.to_vec();
            all.extend(left_out.iter().map(|out| out.commit.clone()));
            all.sort();
            let mut wanted: Vec<String> = list.iter().map(|head| head.commit.clone()).collect();
            wanted.sort();
            prop_assert_eq!(all, wanted);
            prop_assert!(left_out.iter().all(|out| !out.files.is_empty()));
        }
    }

    /// A ref goes forward or stays, and every value that was shown is contained in what is kept.
    #[test]
    fn a_ref_only_goes_forward_and_no_value_is_lost(
        current in proptest::option::of(proptest::collection::btree_set(0_u8..6, 1..5)),
        shown in proptest::collection::vec(proptest::collection::btree_set(0_u8..6, 1..5), 0..5),
    ) {
        let mut history: History = BTreeMap::new();
        let mut name = |set: &BTreeSet<u8>| {
            let name = format!("{set:?}");
            history.insert(name.clone(), set.iter().map(u8::to_string).collect());
            name
        };
        let current = current.as_ref().map(&mut name);
        let shown: Vec<String> = shown.iter().map(&mut name).collect();
        let contains = |a: &str, b: &str| history[b].is_superset(&history[a]);
        let list: Vec<&str> = shown.iter().map(String::as_str).collect();
        let settled = settle(current.as_deref(), &list, |a, b| Ok(contains(a, b))).expect("no failure");
        if let Some(current) = &current {
            prop_assert!(contains(current, settled.value.as_deref().expect("a value")));
        }
        for value in shown.iter().chain(&current) {
            let kept = settled.forks.iter().chain(&settled.value).any(|kept| contains(value, kept));
            prop_assert!(kept, "{} is in none of {:?}", value, settled);
        }
    }

    /// Of two nodes, the merge of the first one has crossed the network before the second one makes its own.
    #[test]
    fn a_quiet_merge_is_made_by_the_first_node_long_before_the_next(nodes in 2_usize..8, place in 0_usize..7) {
        let place = place.min(nodes - 2);
        let rounds = |place: usize| {
            let mut last = Quiet::default();
            (0..1000).find(|_| {
                let (may, next) = may_merge(&last, "x", place, nodes);
                last = next;
                may
            }).expect("some round")
        };
        prop_assert!(rounds(place + 1) >= rounds(place) + nodes);
    }
}

#[test]
fn another_set_of_heads_begins_to_wait_anew() {
    let (may, waiting) = may_merge(&Quiet { heads: "a".to_owned(), rounds: 4 }, "a", 1, 5);
    assert!(may);
    assert!(!may_merge(&waiting, "b", 1, 5).0);
}

#[test]
fn the_first_line_stays_the_first_while_its_owner_is_known() {
    let head = |commit: &str, places: &[usize]| Head { commit: commit.to_owned(), places: places.to_vec() };
    let mut heads = [head("b", &[2]), head("f", &[1, 3]), head("a", &[1]), head("c", &[]), head("z", &[0])];
    heads.sort_by(order);
    assert_eq!(heads.each_ref().map(|head| &head.commit[..]), ["z", "f", "a", "b", "c"]);
}

#[test]
fn only_names_of_lives_have_an_owner() {
    assert_eq!(owner("spb-1.0a1b2c3d"), Some("spb-1"));
    assert_eq!(owner("spb-1.0a1b2c3d.fork-00ff"), Some("spb-1"));
    assert_eq!(owner("0origin"), Some(ORIGIN));
    assert_eq!(owner("0origin.fork-00ff"), Some(ORIGIN));
    for other in ["origin", "a.b", "a.0a1b2c3", "-a.0a1b2c3d", ".0a1b2c3d", "a b.0a1b2c3d", "origin/main"] {
        assert_eq!(owner(other), None, "{other}");
    }
    assert_eq!(fork_name("a.0a1b2c3d", "ff"), "a.0a1b2c3d.fork-ff");
    assert_eq!(fork_name("a.0a1b2c3d.fork-ee", "ff"), "a.0a1b2c3d.fork-ff");
}

#[test]
fn a_ref_of_a_former_life_is_spent_once_another_one_contains_it() {
    let refs =
        [("a.00000001", "1"), ("a.00000002", "12"), ("b.00000001", "1"), ("c.00000001", "1"), ("c.00000002", "1")];
    let refs: BTreeMap<String, String> = refs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let spent =
        |name: &str| is_spent(name, &refs[name], &refs, |old, new| Ok(new.starts_with(old))).expect("no failure");
    let of: Vec<&String> = refs.keys().filter(|name| spent(name)).collect();
    // Of two that are equal, either may be the living one.
    assert_eq!(of, ["a.00000001"]);
    assert!(has_other_life("c.00000003", &refs) && !has_other_life("b.00000001", &refs));
}
