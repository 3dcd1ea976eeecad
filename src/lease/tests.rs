//! The rules, one case at a time.

use super::*;
use crate::clock::BootInstant;
use crate::name::Name;
use crate::register::Version;

const PARAMS: Params = Params { valid: Duration::from_secs(2), grace: Duration::from_secs(1) };

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn at(seconds: f64) -> BootInstant {
    BootInstant::since_boot(Duration::from_secs_f64(seconds))
}

fn record(holder: &str, epoch: u64, state: LeaseState, previous_holder: &str) -> LeaseRecord {
    LeaseRecord {
        holder: name(holder),
        epoch,
        state,
        previous_holder: (!previous_holder.is_empty()).then(|| name(previous_holder)),
        nonce: Nonce(u128::from(epoch) * 2 + u128::from(state == LeaseState::Granted)),
        by: "tester".to_owned(),
        why: None,
        at: String::new(),
    }
}

fn read(began: f64, ended: f64, value: Option<&LeaseRecord>) -> Observation {
    let found = value.map(|value| VersionedRecord { version: Version(value.nonce.to_string()), value: value.clone() });
    Observation { began: at(began), ended: at(ended), found }
}

fn step(lease_view: &LeaseView, stopped: &[Stopped], target: &str, now: f64) -> TakeoverStep {
    step_of(lease_view, stopped, target, now, true)
}

fn step_of(
    lease_view: &LeaseView,
    stopped: &[Stopped],
    target: &str,
    now: f64,
    may_grant_by_waiting: bool,
) -> TakeoverStep {
    let target = name(target);
    let request =
        ClaimRequest { target: &target, by: "tester", why: None, at: "", nonce: Nonce(99), may_grant_by_waiting };
    takeover::next_step(lease_view, stopped, &request, at(now), &PARAMS)
}

#[test]
fn a_node_may_run_until_valid_after_its_latest_good_read_began() {
    let mut lease_view = LeaseView::default();
    let until = |lease_view: &LeaseView, node: &str, now| {
        lease_view.permit(&name(node), at(now), &PARAMS).map(|permit| (permit.epoch, permit.until))
    };
    let grant = record("a", 4, LeaseState::Granted, "b");
    lease_view.observe(read(10.0, 11.0, Some(&grant))).expect("obeyed");
    assert_eq!(until(&lease_view, "a", 11.9), Some((4, at(12.0))));
    assert_eq!(until(&lease_view, "a", 12.0), None);
    assert_eq!(until(&lease_view, "b", 11.0), None);
    // An earlier read that is answered later does not shorten the permit.
    lease_view.observe(read(11.5, 11.6, Some(&grant))).expect("obeyed");
    lease_view.observe(read(10.5, 11.7, Some(&grant))).expect("obeyed");
    assert_eq!(until(&lease_view, "a", 12.0), Some((4, at(13.5))));
    // A claim for the same node in a later epoch ends the permit of this one.
    lease_view.observe(read(11.8, 11.9, Some(&record("a", 5, LeaseState::Claimed, "a")))).expect("obeyed");
    assert_eq!(until(&lease_view, "a", 12.0), None);
}

#[test]
fn a_register_that_went_back_is_not_obeyed() {
    let mut lease_view = LeaseView::default();
    let [older, newer] = [record("a", 4, LeaseState::Granted, ""), record("b", 5, LeaseState::Granted, "a")];
    lease_view.observe(read(10.0, 11.0, Some(&newer))).expect("obeyed");
    // A read that began before the newer record was known is merely late.
    lease_view.observe(read(10.5, 12.0, Some(&older))).expect("late");
    lease_view.observe(read(10.5, 12.0, None)).expect("late");
    let rewound = Regression::Rewound { from: 5, to: 4 };
    assert_eq!(lease_view.observe(read(11.5, 12.0, Some(&older))), Err(rewound.clone()));
    assert_eq!(lease_view.observe(read(11.5, 12.0, None)), Err(Regression::Gone(5)));
    let other = LeaseRecord { nonce: Nonce(7), ..newer.clone() };
    assert_eq!(lease_view.observe(read(11.5, 12.0, Some(&other))), Err(Regression::Forked(5)));
    assert_eq!(lease_view.value(), Some(&newer));
    lease_view.forget_times();
    assert_eq!(lease_view.permit(&name("b"), at(10.1), &PARAMS), None);
    assert_eq!(lease_view.observe(read(1.0, 2.0, Some(&older))), Err(rewound), "after another boot too");
}

#[test]
fn a_record_was_written_after_the_last_read_of_the_one_before() {
    let mut lease_view = LeaseView::default();
    let bounds = |lease_view: &LeaseView| lease_view.seen.as_ref().map(|seen| (seen.written_after, seen.read_after));
    lease_view.observe(read(10.0, 11.0, Some(&record("a", 4, LeaseState::Granted, "")))).expect("obeyed");
    assert_eq!(bounds(&lease_view), Some((None, None)));
    lease_view.observe(read(12.0, 13.0, Some(&record("b", 5, LeaseState::Claimed, "a")))).expect("obeyed");
    assert_eq!(bounds(&lease_view), Some((Some(at(10.0)), None)));
    lease_view.observe(read(14.0, 15.0, Some(&record("b", 5, LeaseState::Granted, "a")))).expect("obeyed");
    assert_eq!(bounds(&lease_view), Some((Some(at(12.0)), Some(at(10.0)))));
    // The time of our own write is known exactly.
    lease_view.observe_own_write(read(16.0, 17.0, Some(&record("a", 6, LeaseState::Claimed, "b")))).expect("obeyed");
    assert_eq!(bounds(&lease_view), Some((Some(at(16.0)), Some(at(12.0)))));
    lease_view.observe(read(18.0, 19.0, Some(&record("b", 7, LeaseState::Claimed, "b")))).expect("obeyed");
    assert_eq!(bounds(&lease_view), Some((Some(at(16.0)), Some(at(16.0)))));
}

#[test]
fn a_takeover_waits_and_a_confirmed_stop_does_not() {
    let stopped = |node: &str, issued| [Stopped { node: name(node), issued: at(issued) }];
    let mut lease_view = LeaseView::default();
    lease_view.observe(read(10.0, 11.0, Some(&record("a", 4, LeaseState::Granted, "")))).expect("obeyed");
    assert_eq!(step(&lease_view, &[], "a", 11.0), TakeoverStep::Settled);
    let claim = LeaseRecord { nonce: Nonce(99), ..record("b", 5, LeaseState::Claimed, "a") };
    assert_eq!(step(&lease_view, &[], "b", 11.0), TakeoverStep::Claim(claim.clone()));
    lease_view.observe_own_write(read(11.0, 11.5, Some(&claim))).expect("obeyed");
    assert_eq!(step(&lease_view, &stopped("a", 11.7), "b", 99.0), TakeoverStep::Publish, "however late");
    lease_view.published(at(12.0));
    lease_view.published(at(13.0));
    let wait = TakeoverStep::Wait { until: at(15.0), stop: Some(name("a")) };
    assert_eq!(step(&lease_view, &[], "b", 14.9), wait);
    let grant = TakeoverStep::Grant(LeaseRecord { nonce: Nonce(99), ..record("b", 5, LeaseState::Granted, "a") });
    assert_eq!(step(&lease_view, &[], "b", 15.0), grant);
    assert_eq!(step_of(&lease_view, &[], "b", 15.0, false), TakeoverStep::LeaveToBrain);
    assert_eq!(step_of(&lease_view, &stopped("a", 12.1), "b", 12.5, false), grant, "confirmed");
    assert_eq!(step(&lease_view, &stopped("a", 12.1), "b", 12.5), grant);
    assert_eq!(step(&lease_view, &stopped("a", 11.9), "b", 12.5), wait, "ordered before the claim was published");
    assert_eq!(step(&lease_view, &stopped("c", 12.1), "b", 12.5), wait, "another node");
}

#[test]
fn another_brain_finishes_an_abandoned_claim() {
    let mut lease_view = LeaseView::default();
    lease_view.observe(read(20.0, 20.5, Some(&record("b", 5, LeaseState::Claimed, "a")))).expect("obeyed");
    lease_view.published(at(21.0));
    assert_eq!(step(&lease_view, &[], "b", 22.0), TakeoverStep::Wait { until: at(24.0), stop: Some(name("a")) });
    assert!(matches!(step(&lease_view, &[], "b", 24.0), TakeoverStep::Grant(_)));
    // For another target it claims anew; the wait continues, and `previous_holder` is carried along.
    let TakeoverStep::Claim(claim) = step(&lease_view, &[], "c", 22.0) else { panic!("no claim") };
    assert_eq!((claim.epoch, claim.previous_holder.clone()), (6, Some(name("a"))));
    let mut own = lease_view.clone();
    own.observe_own_write(read(22.0, 23.0, Some(&claim))).expect("obeyed");
    assert_eq!(step(&own, &[], "c", 23.5), TakeoverStep::Wait { until: at(24.0), stop: Some(name("a")) });
    // Another brain's claim may follow a grant that we never saw, so its wait starts anew.
    lease_view.observe(read(22.0, 22.5, Some(&claim))).expect("obeyed");
    assert_eq!(step(&lease_view, &[], "c", 22.6), TakeoverStep::Publish);
    lease_view.published(at(23.0));
    assert_eq!(step(&lease_view, &[], "c", 23.5), TakeoverStep::Wait { until: at(26.0), stop: Some(name("a")) });
    // Back to the previous holder: no other node can be running.
    let mut back = own;
    let TakeoverStep::Claim(claim) = step(&back, &[], "a", 23.5) else { panic!("no claim") };
    back.observe_own_write(read(23.5, 23.6, Some(&claim))).expect("obeyed");
    assert!(matches!(step(&back, &[], "a", 23.6), TakeoverStep::Grant(_)));
}

#[test]
fn a_first_claim_is_waited_out() {
    let mut lease_view = LeaseView::default();
    lease_view.observe(read(1.0, 2.0, None)).expect("obeyed");
    let TakeoverStep::Claim(claim) = step(&lease_view, &[], "a", 2.0) else { panic!("no claim") };
    assert_eq!((claim.epoch, claim.previous_holder.clone()), (1, None));
    lease_view.observe_own_write(read(2.0, 2.5, Some(&claim))).expect("obeyed");
    assert_eq!(step(&lease_view, &[], "a", 99.0), TakeoverStep::Publish);
    lease_view.published(at(3.0));
    assert_eq!(step(&lease_view, &[], "a", 3.0), TakeoverStep::Wait { until: at(6.0), stop: None });
    assert!(matches!(step(&lease_view, &[], "a", 6.0), TakeoverStep::Grant(_)));
}
