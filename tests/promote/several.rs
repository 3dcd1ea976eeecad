//! Several services, of which one is broken.

use std::time::{Duration, Instant};

use super::Stage;
use crate::support::mirror::Started;
use crate::support::wait_for;

/// A second service whose commands are these.
fn with_second(stage: &Stage, status: &str, start: &str, timeout: &str) -> String {
    let second = format!(
        "[services.other]\nchain = \"bot\"\nstatus = \"{status}\"\nstart = \"{start}\"\nstop = \"true\"\n\
         timeout = \"{timeout}\"\n"
    );
    stage.node_list("").replace("[cycle]\n", "[cycle]\ncheck = \"200ms\"\n") + &second
}

#[test]
fn the_headline_counts_honestly() {
    let stage = Stage::new("");
    stage.network.rewrite(&with_second(&stage, "false", "false", "5s"));
    let reason = stage.promote("--dry-run").expect(0, "planned")["reason"].as_str().unwrap().to_owned();
    assert_eq!(reason, "None of 2 services runs where it belongs: 2 planned.");
    let reason = stage.promote("").expect(1, "failed")["reason"].as_str().unwrap().to_owned();
    assert_eq!(reason, "1 of 2 services runs where it belongs: 1 failed.");
}

#[test]
fn a_service_that_hangs_everywhere_holds_up_no_other() {
    let mut stage = Stage::new("");
    stage.network.rewrite(&with_second(&stage, "sleep 3600", "true", "8s"));
    stage.promote("bot").expect(0, "started");
    let asked = stage.bot.count("status a");
    let check = Started::new(stage.network.mirror(["promote"]));
    wait_for("the first look", || (stage.bot.count("status a") > asked).then_some(()));
    stage.fall("a");
    let begun = Instant::now();
    wait_for("it is taken over", || stage.bot.runs_on().contains(&"b".to_owned()).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    let object = check.end().json();
    assert_eq!((&object["services"][0]["verdict"], &object["services"][0]["target"]), (&"moved".into(), &"b".into()));
    assert_eq!(object["services"][1]["verdict"], "blocked", "{object:#}");
}
