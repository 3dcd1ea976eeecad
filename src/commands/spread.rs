//! Sets notices on every node that can be reached, and hears what the nodes know.

use std::time::SystemTime;

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;

use super::everywhere::{self, Dead, Refusal};
use super::{Context, beat, view_of_all};
use crate::at_work;
use crate::clock::Deadline;
use crate::config::Node;
use crate::leader::State;
use crate::lease::client;
use crate::name::Name;
use crate::notices::{self, Kind, MAX_TEXT, Notice, Notices, Subject};
use crate::remote::Remote;
use crate::remote::question::Question;
use crate::state::StateDir;
use crate::usage_error::UsageError;
use crate::view::View;

/// How often a notice is set again because a node has one that was set later by its stamp.
const MAX_TRIES: usize = 3;

/// What is to be set.
pub(super) struct Wanted<'a> {
    /// The subjects, all of one kind.
    pub(super) subjects: Vec<Subject>,
    /// Whether it begins or ends.
    pub(super) holds: bool,
    /// Of a pause: whether it stops the automatic alone.
    pub(super) auto_only: bool,
    /// The reason.
    pub(super) why: Option<&'a str>,
    /// In which order the nodes are told.
    pub(super) order: Order<'a>,
}

/// In which order the nodes are told. Each time those that are told next learn what the ones before said.
#[derive(Clone, Copy)]
pub(super) enum Order<'a> {
    /// This one first: it gives way before another one leads.
    First(&'a Name),
    /// This one last: it leads once the others have given way.
    Last(&'a Name),
    /// All at once.
    Together,
}

/// A node that could not be told.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Untold {
    /// The node.
    pub node: Name,
    /// Why, as a slug.
    pub cause: String,
    /// The same in words.
    pub detail: String,
}

/// Who knows by now.
pub(super) struct Spread {
    /// What was known before.
    pub(super) before: Notices,
    /// What is known now.
    pub(super) after: Notices,
    /// The nodes that have it, in the order of the list.
    pub(super) seen_by: Vec<Name>,
    /// The others.
    pub(super) untold: Vec<Untold>,
    /// How the nodes look from here.
    pub(super) view: View,
}

impl Spread {
    /// The nodes that could not be told, as the end of a sentence; empty where there are none.
    pub(super) fn words(&self) -> String {
        let word = |untold: &Untold| format!("{} ({})", untold.node, untold.detail);
        let untold: Vec<String> = self.untold.iter().map(word).collect();
        if untold.is_empty() {
            return String::new();
        }
        let learns = if self.seen_by.is_empty() { "" } else { ", and learns of it from the others" };
        format!(" {} could not be told{learns}.", untold.join(", "))
    }

    /// How many nodes have it, for people.
    pub(super) fn count(&self) -> String {
        format!("{} of {} nodes", self.seen_by.len(), self.seen_by.len() + self.untold.len())
    }
}

/// What a node knows once it was told.
type Heard<'a> = (&'a Name, Result<Vec<Notice>, Refusal>);

/// One round to the nodes.
struct Round<'a> {
    context: &'a Context,
    remote: Remote,
    kind: Kind,
    dead: &'a Dead,
    deadline: Deadline,
}

/// Sets it here and on every node that answers. What is set already is only told again.
///
/// # Errors
/// When this machine can neither keep it nor ask anybody, or a reason is too long.
pub(super) fn set(context: &Context, wanted: &Wanted<'_>) -> Result<Spread> {
    let long = |text: &&str| text.len() > MAX_TEXT;
    if wanted.why.as_ref().is_some_and(long) {
        return Err(UsageError::new(format!("--why: it is longer than {MAX_TEXT} bytes")));
    }
    let Some(kind) = wanted.subjects.first().map(|subject| subject.kind) else { bail!("there is nothing to set") };
    let dead = Dead::default();
    std::thread::scope(|scope| {
        let view = scope.spawn(|| view_of_all(context, &dead));
        let deadline = Deadline::after(everywhere::timeout(context, None));
        let round = Round { context, remote: context.remote(), kind, dead: &dead, deadline };
        let before = round.known();
        let mut known = before.clone();
        let mut told = Vec::new();
        for _ in 0..MAX_TRIES {
            let set: Vec<Notice> =
                wanted.subjects.iter().map(|subject| wanted.notice(subject, &known, context)).collect();
            known.merge(set.iter().cloned());
            told = round.tell_all(&set, wanted.order);
            known.merge(told_by(&told));
            if wanted.is_met(&known) {
                break;
            }
        }
        let view = view.join().unwrap_or_else(|_| bail!("the probe broke off"))?;
        let (mut seen_by, mut untold) = (Vec::new(), Vec::new());
        for (name, heard) in told {
            match heard {
                Ok(notices) if wanted.is_met(&notices.iter().cloned().collect()) => seen_by.push(name.clone()),
                Ok(_) => {
                    untold.push(wanted.untold(name, &Refusal::Unclear("it keeps something else".to_owned()), &view))
                }
                Err(refusal) => untold.push(wanted.untold(name, &refusal, &view)),
            }
        }
        Ok(Spread { before, after: known, seen_by, untold, view })
    })
}

fn told_by(heard: &[Heard<'_>]) -> Vec<Notice> {
    heard.iter().filter_map(|(_, heard)| heard.as_ref().ok()).flatten().cloned().collect()
}

/// What is known of one kind: by the state of this node, and on a machine that is no node by asking them all.
pub(super) fn known(context: &Context, kind: Kind) -> Notices {
    let deadline = Deadline::after(everywhere::timeout(context, None));
    Round { context, remote: context.remote(), kind, dead: &Dead::default(), deadline }.known()
}

impl Wanted<'_> {
    /// The notice that is set; the one that is known where it says the same.
    fn notice(&self, subject: &Subject, known: &Notices, context: &Context) -> Notice {
        // One of this node alone is not spread.
        if let Some(same) = self.said(subject, known).filter(|same| same.stamp > 0) {
            return same.clone();
        }
        let now = SystemTime::now();
        Notice {
            subject: subject.clone(),
            holds: self.holds,
            auto_only: self.auto_only,
            heeded: false,
            by: client::signed_by(context.local_node.as_ref()),
            why: self.why.map(str::to_owned),
            at: humantime::format_rfc3339_millis(now).to_string(),
            stamp: known.next_stamp(now),
        }
    }

    fn is_met(&self, notices: &Notices) -> bool {
        self.subjects.iter().all(|subject| self.said(subject, notices).is_some())
    }

    /// The notice that says the same already.
    fn said<'n>(&self, subject: &Subject, notices: &'n Notices) -> Option<&'n Notice> {
        if self.holds {
            return notices.holding(subject).filter(|notice| notice.auto_only == self.auto_only);
        }
        // That of every pause says so only where none began after it.
        let is_over = subject.of.is_some() || notices.holding_of(subject.kind).next().is_none();
        notices.get(subject).filter(|notice| !notice.holds && is_over)
    }

    fn untold(&self, name: &Name, refusal: &Refusal, view: &View) -> Untold {
        let is_dead = view.seen().get(name) == Some(&State::Dead);
        let (cause, detail) = if is_dead { ("dead", "dead") } else { (refusal.cause(), refusal.why()) };
        Untold { node: name.clone(), cause: cause.to_owned(), detail: detail.to_owned() }
    }
}

impl<'a> Round<'a> {
    /// Tells all nodes in this order.
    fn tell_all(&self, set: &[Notice], order: Order<'_>) -> Vec<Heard<'a>> {
        let (apart, is_first) = match order {
            Order::First(node) => (Some(node), true),
            Order::Last(node) => (Some(node), false),
            Order::Together => (None, true),
        };
        let is_early = |name: &Name| apart.is_none_or(|node| (name == node) == is_first);
        let mut heard = self.tell(set, is_early);
        if apart.is_some() {
            let mut known: Notices = set.iter().cloned().collect();
            known.merge(told_by(&heard));
            let set: Vec<Notice> = set.iter().filter_map(|notice| known.get(&notice.subject)).cloned().collect();
            heard.extend(self.tell(&set, |name| !is_early(name)));
        }
        let place = |name: &Name| self.context.config.nodes.get_index_of(name);
        heard.sort_by_key(|(name, _)| place(name));
        heard
    }

    /// Tells these nodes at once, this one if it is among them; a machine that is no node learns it too.
    fn tell(&self, set: &[Notice], wanted: impl Fn(&Name) -> bool) -> Vec<Heard<'a>> {
        let context = self.context;
        let is_here = context.local_node.as_ref().is_none_or(&wanted);
        std::thread::scope(|scope| {
            let own = is_here.then(|| scope.spawn(|| beat::learn(context, set, self.deadline)));
            let is_other = |name: &Name| context.local_node.as_ref() != Some(name) && wanted(name);
            let others = context.config.nodes.iter().filter(|(name, _)| is_other(name));
            let ask = |(name, node)| (name, scope.spawn(move || self.tell_one((name, node), set)));
            let threads: Vec<_> = others.map(ask).collect();
            let broke_off = |_| Err(Refusal::Unclear("the question broke off".to_owned()));
            let mut heard: Vec<Heard<'a>> =
                threads.into_iter().map(|(name, thread)| (name, thread.join().unwrap_or_else(broke_off))).collect();
            let own = own.map(|own| own.join().unwrap_or_else(|_| bail!("it broke off")));
            if let (Some(own), Some(name)) = (own, &context.local_node) {
                let said = own.map(|()| self.known_here());
                heard.push((name, said.map_err(|error| Refusal::Unclear(format!("{error:#}")))));
            }
            heard
        })
    }

    fn tell_one(&self, node: (&Name, &Node), set: &[Notice]) -> Result<Vec<Notice>, Refusal> {
        let question = if set.is_empty() {
            Question::Beat
        } else {
            Question::Learn(STANDARD.encode(serde_json::to_vec(set).unwrap_or_default()))
        };
        let question = everywhere::Question {
            command: question.to_string(),
            schema: at_work::SCHEMA,
            deadline: self.deadline,
            dead: Some(self.dead),
        };
        everywhere::ask(&self.remote, node, &question, |object| Some(notices::from_json(object.value.get("notices")?)))
    }

    fn known(&self) -> Notices {
        let mut known = notices::read(&StateDir::open(&self.context.config), self.kind);
        if self.context.local_node.is_none() {
            known.merge(told_by(&self.tell(&[], |_| true)).into_iter().filter(|told| told.subject.kind == self.kind));
        }
        known
    }

    fn known_here(&self) -> Vec<Notice> {
        notices::read(&StateDir::open(&self.context.config), self.kind).told().cloned().collect()
    }
}
