//! The nodes asked again and again, all at once. A round is shown when everybody has answered, or when it has been
//! waited for long enough; a node that hangs is not asked a second time before the first question has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Event;
use crate::clock::Deadline;
use crate::commands::everywhere::{self, Dead, Refusal};
use crate::commands::status::facts::StatusFacts;
use crate::commands::status::merge::{Said, Told};
use crate::commands::status::{own, question_of_all, report, said};
use crate::commands::{Context, view_of_all};
use crate::name::Name;
use crate::output::Report;
use crate::view::View;

/// A round is waited for as long as a login takes on a busy machine.
const MIN_PATIENCE: Duration = Duration::from_secs(2);
/// What it takes to start a probe beside its deadline.
const STARTING: Duration = Duration::from_millis(500);
/// How often the screen tells how long a node has been waited for.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Something that a round asked for.
pub(super) enum Answer {
    Said(Name, Box<Result<Said, Refusal>>),
    Seen(Result<View>),
}

/// One question to all.
#[derive(Default)]
struct Round {
    number: u64,
    said: BTreeMap<Name, Result<Said, Refusal>>,
    seen: Option<Result<View>>,
    is_over: bool,
}

pub(super) struct Rounds {
    context: Arc<Context>,
    every: Duration,
    within: Duration,
    /// How long a round is waited for at least.
    base: Duration,
    patience: Duration,
    sender: Sender<Event>,
    begun: Instant,
    round: Round,
    /// The nodes whose question has not ended, and since when it has been asked.
    pending: BTreeMap<Name, Instant>,
}

impl Rounds {
    /// A round `every` so often, in which a question may take the second time.
    pub(super) fn new(context: Arc<Context>, (every, within): (Duration, Duration), sender: Sender<Event>) -> Self {
        let looks = context.config.nodes.values().map(|node| node.probe.timeout).max().unwrap_or_default();
        let base = every.max(MIN_PATIENCE).max(looks + STARTING).min(within);
        let (begun, round, pending) = (Instant::now(), Round::default(), BTreeMap::new());
        let mut rounds = Self { context, every, within, base, patience: base, sender, begun, round, pending };
        rounds.begin();
        rounds
    }

    /// Begins a round when it is time; the report of one that has just been over.
    pub(super) fn go_on(&mut self) -> Result<Option<Report<StatusFacts>>> {
        let elapsed = self.begun.elapsed();
        if self.round.is_over {
            if elapsed >= self.every {
                self.begin();
            }
            return Ok(None);
        }
        let all = self.round.seen.is_some() && self.round.said.len() == self.context.config.nodes.len();
        if !all && elapsed < self.patience {
            return Ok(None);
        }
        self.round.is_over = true;
        if all {
            self.patience = (elapsed + elapsed / 4).clamp(self.base, self.within);
        }
        self.report().map(Some)
    }

    /// How long until something is to be done although nothing happens.
    pub(super) fn next_event(&self) -> Duration {
        let end = if self.round.is_over { self.every } else { self.patience };
        end.saturating_sub(self.begun.elapsed()).min(TELL_EVERY)
    }

    /// The nodes that have been waited for longer than usual, and for how long.
    pub(super) fn late(&self) -> Vec<(Name, Duration)> {
        let waits = self.pending.iter().map(|(name, since)| (name.clone(), since.elapsed()));
        waits.filter(|(_, wait)| *wait >= self.patience).collect()
    }

    pub(super) fn take(&mut self, round: u64, answer: Answer) {
        let is_current = round == self.round.number && !self.round.is_over;
        match answer {
            Answer::Seen(view) if is_current => self.round.seen = Some(view),
            Answer::Seen(_) => {}
            Answer::Said(name, said) => {
                let wait = self.pending.remove(&name).map(|since| since.elapsed());
                if is_current {
                    self.round.said.insert(name, *said);
                } else if said.is_ok() {
                    // It only takes longer than the others: the next rounds wait for it.
                    let wait = wait.unwrap_or_default();
                    self.patience = self.patience.max(wait + wait / 4).min(self.within);
                }
            }
        }
    }

    fn begin(&mut self) {
        self.begun = Instant::now();
        let number = self.round.number + 1;
        self.round = Round { number, ..Round::default() };
        let (dead, deadline) = (Arc::new(Dead::default()), Deadline::after(self.within));
        let (context, found) = (Arc::clone(&self.context), Arc::clone(&dead));
        self.spawn(move || Answer::Seen(view_of_all(&context, &found)));
        let idle = self.context.config.nodes.keys().filter(|name| !self.pending.contains_key(*name));
        for name in idle.cloned().collect::<Vec<_>>() {
            self.pending.insert(name.clone(), self.begun);
            let (context, dead) = (Arc::clone(&self.context), Arc::clone(&dead));
            self.spawn(move || {
                let said = ask(&context, &name, deadline, &dead);
                Answer::Said(name, Box::new(said))
            });
        }
    }

    fn spawn(&self, work: impl FnOnce() -> Answer + Send + 'static) {
        let (number, sender) = (self.round.number, self.sender.clone());
        let _ = std::thread::Builder::new().spawn(move || sender.send(Event::Answered(number, work())));
    }

    fn report(&mut self) -> Result<Report<StatusFacts>> {
        let view = self.round.seen.take().unwrap_or_else(|| Ok(View::default()))?;
        let mut said = std::mem::take(&mut self.round.said);
        let mut answer = |name: &Name| said.remove(name).unwrap_or_else(|| Err(self.no_answer(name)));
        let answers = self.context.config.nodes.keys().map(|name| (name, answer(name))).collect();
        Ok(report(&self.context, &Told { config: &self.context.config, view, answers }, false))
    }

    fn no_answer(&self, name: &Name) -> Refusal {
        let wait = self.pending.get(name).map_or(self.patience, Instant::elapsed);
        Refusal::NotReached(format!("no answer for {} s", wait.as_secs()))
    }
}

fn ask(context: &Context, name: &Name, deadline: Deadline, dead: &Dead) -> Result<Said, Refusal> {
    if context.local_node.as_ref() == Some(name) {
        return Ok(own(context, deadline));
    }
    let Ok(node) = context.config.node(name.as_str()) else {
        return Err(Refusal::Unclear("it is not in the node list".to_owned()));
    };
    everywhere::ask(&context.remote(), node, &question_of_all(deadline, dead), said)
}
