use std::time::Duration;

use super::*;
use crate::register::file::FileRegister;

fn paused(service: Option<&str>) -> Paused {
    let service = service.map(|name| name.parse().expect("a name"));
    Paused { service, by: "a".to_owned(), why: None, at: "2026-01-01T00:00:00.000Z".to_owned(), auto_only: false }
}

#[test]
fn a_pause_is_for_one_or_for_all_until_it_is_ended() {
    let (bot, web): (Name, Name) = ("bot".parse().expect("a name"), "web".parse().expect("a name"));
    let mut pauses = Pauses::default();
    pauses.pause(&[paused(Some("bot"))]);
    assert!(pauses.of(&bot).is_some() && pauses.of(&web).is_none());
    pauses.pause(&[paused(None), paused(Some("bot"))]);
    assert_eq!(pauses.0.len(), 2);
    assert!(pauses.of(&web).is_some() && pauses.all());
    pauses.resume(&[&bot]);
    assert!(pauses.of(&bot).is_some(), "all are still paused");
    pauses.resume(&[]);
    assert_eq!(pauses, Pauses::default());
}

#[test]
fn a_pause_of_the_automatic_lets_a_hand_through_unless_all_is_stopped() {
    let bot: Name = "bot".parse().expect("a name");
    let automatic = Paused { auto_only: true, ..paused(Some("bot")) };
    let mut pauses = Pauses::default();
    pauses.pause(std::slice::from_ref(&automatic));
    assert!(pauses.that_stops(&bot, false).is_some() && pauses.that_stops(&bot, true).is_none());
    pauses.pause(&[paused(None)]);
    assert!(pauses.that_stops(&bot, true).is_some());
    pauses.pause(&[Paused { auto_only: true, ..paused(None) }]);
    assert!(pauses.0.len() == 2 && pauses.that_stops(&bot, true).is_none());
    // Other nodes may have an earlier version, which knows of no such thing.
    let text = pauses.written().expect("random bits").replace(",\"auto_only\":true", "");
    assert!(Pauses::parse(&text).expect("a switch").that_stops(&bot, true).is_some());
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let register = FileRegister::new(directory.path().join("paused"));
    let soon = || Deadline::after(Duration::from_secs(60));
    let long = Paused { why: Some("w".repeat(70_000)), ..paused(Some("bot")) };
    let refused = turn(&register, "paused", soon(), |pauses| pauses.pause(std::slice::from_ref(&long)));
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    turn(&register, "paused", soon(), |pauses| pauses.pause(&[paused(None)])).expect("it can still be turned");
}

#[test]
fn of_many_that_turn_it_at_once_none_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("paused");
    let deadline = || Deadline::after(Duration::from_secs(60));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let register = FileRegister::new(&path);
            scope.spawn(move || {
                let wanted = [paused(Some(&format!("s{number}")))];
                turn(&register, "paused", deadline(), |pauses| pauses.pause(&wanted)).expect("turned");
            });
        }
    });
    let register = FileRegister::new(&path);
    let held = register.read(deadline()).expect("read");
    assert_eq!(pauses(held.as_ref()).expect("a switch").0.len(), 8);
    std::fs::write(&path, "something else\n").expect("written");
    assert!(matches!(turn(&register, "paused", deadline(), |_| ()), Err(StoreError::Foreign(_))));
}
