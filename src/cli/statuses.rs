//! The exit statuses of each command, for its help and its man page.

/// The exit statuses of a command: its own 0, 1 and 3, and the 2 that all share.
macro_rules! statuses {
    ($yes:literal $(, no: $no:literal)? $(, unknown: $unknown:literal)?) => {
        concat!(
            "Exit status:\n  0  ", $yes,
            $("\n  1  ", $no,)?
            "\n  2  the command line, the configuration or a view is wrong; no output",
            $("\n  3  ", $unknown,)?
        )
    };
}

pub(super) const ALL_STATUSES: &str = statuses!(
    "yes, or done",
    no: "a definite no: dead, not the brain, unsound, refused, conflict",
    unknown: "unknown: it could not be found out, or could not be confirmed in time\n\n\
              Treat anything but 0 and 1 as unknown: a script that acts on \"not 0\" acts on a\n\
              broken tool."
);
pub(super) const PROBE_STATUSES: &str = statuses!(
    "alive: every node that was asked is alive",
    no: "dead: a node is dead",
    unknown: "unknown: a node could not be asked, and none is dead"
);
pub(super) const WHOIS_BRAIN_STATUSES: &str = statuses!(
    "known: a brain is known; with --check, self: it is this node",
    no: "nobody: every node of the chain is dead; with --check also other:\n     another node is the brain",
    unknown: "unknown: a node before the first living one could not be asked, or the view\n     \
              cannot be trusted; isolated: this node sees no other and no witness"
);
pub(super) const BEAT_STATUSES: &str = statuses!(
    "fresh: the last check here ended a short while ago",
    no: "stale: it ended too long ago; none: no check has ended here since this\n     \
         machine booted"
);
pub(super) const GATE_STATUSES: &str = statuses!(
    "done; what was asked for has its own status, git its own exit status",
    no: "refused: this is nothing that a node may ask for here",
    unknown: "unknown: what was asked for could not be run"
);
pub(super) const BREATHE_STATUSES: &str = statuses!(
    "in-step: the branch is the same here and on the remote; with peers, another\n     \
     node holds all that this one has, and this one all of its",
    no: "conflict, refused: a person must decide; nothing is lost",
    unknown: "unreachable, busy, raced: the next breath tries again; alone: no other node\n     \
              was reached; failed: something on this machine failed; nothing is lost"
);
pub(super) const PROMOTE_STATUSES: &str = statuses!(
    "in-place, started, moved, stopped-elsewhere: every service runs on its\n     \
     target; planned: --dry-run, nothing was touched",
    no: "refused: no living node can run it; not-brain: another node decides;\n     \
         failed: it could not be started; paused: it is paused and not in place;\n     \
         nothing was touched",
    unknown: "blocked: a living node did not confirm that it stopped; busy: another\n     \
              promotion runs here; unknown: it could not be found out"
);
pub(super) const CHAIN_SHOW_STATUSES: &str = statuses!("shown");
pub(super) const CHAIN_CHECK_STATUSES: &str = statuses!(
    "sound: there is nothing worse than a warning",
    no: "unsound: there is an error, or the list survives less than --survive asks"
);
pub(super) const LEASE_SHOW_STATUSES: &str = statuses!(
    "granted: every lease that was asked for is granted to a node",
    no: "claimed: a takeover is under way, or was left unfinished; vacant: it was\n     \
         never claimed; no node may run the service",
    unknown: "unknown: a register cannot be read, or lost what it held"
);
pub(super) const LEASE_CHECK_STATUSES: &str = statuses!(
    "self: the lease is granted to this node, which may run the service now",
    no: "other: another node holds the lease; claimed: a takeover is under way;\n     \
         vacant: it was never claimed; this node may not run the service",
    unknown: "unknown: the register cannot be read in time, or lost what it held: this\n     \
              node may not run the service"
);
pub(super) const LEASE_HISTORY_STATUSES: &str = statuses!("shown", unknown: "unknown: the register cannot be read");
pub(super) const LEASE_REPAIR_STATUSES: &str = statuses!(
    "repaired: a new claim was written; sound: there was nothing to repair",
    unknown: "busy: a promotion of the service runs here; unknown: the register cannot be\n     \
              read, or it is unknown whether the claim was written"
);
pub(super) const LEASE_MIGRATE_STATUSES: &str = statuses!(
    "migrated: the leases are in the new store; already-there: they were;\n     planned: --dry-run, nothing was touched",
    no: "refused: a lease cannot be moved there, and the reason says why",
    unknown: "unconfirmed: the old register is closed and the new one not open yet;\n     \
              busy: a promotion runs here; unknown: a register cannot be read or written;\n     \
              run it again"
);
pub(super) const LEASE_WITNESS_STATUSES: &str = statuses!(
    "vouched: this node knows of nothing newer than the grant",
    no: "newer-known: this node knows of a newer claim or grant; lists-differ: its\n     \
         node list is another one",
    unknown: "unknown: what this node knows cannot be read"
);
pub(super) const HOLD_STATUSES: &str = concat!(
    "Exit status:",
    "\n  0  ended: the status is the command's own, whatever that is, or 128 and the number\n     ",
    "of the signal that ended it; running, stopping: it has not ended yet",
    "\n  1  not-ours: the lease is not granted to this node; nothing was started",
    "\n  2  the command line or the configuration is wrong; nothing was started",
    "\n  3  unknown: the register could not be read in time; busy: the service is already\n     ",
    "held on this node; nothing was started",
    "\n  75  lost: the command ran and was ended, because the lease was taken away or could\n     ",
    "no longer be read (EX_TEMPFAIL)",
    "\n  126  failed: the command could not be started",
    "\n  127  failed: there is no such program\n\n",
    "The command itself can end in any of these; hold-SERVICE.json in the state directory and\n",
    "the last line on stderr tell which it was."
);
pub(super) const DRAIN_STATUSES: &str = statuses!(
    "drained: the node is drained, and nothing that is promoted runs there",
    no: "not-moved: the node is drained, and a service stays there: no other node can\n     \
         take it, or it is paused",
    unknown: "unknown: no node knows of it, or it is unknown whether everything has left"
);
pub(super) const UNDRAIN_STATUSES: &str = statuses!(
    "undrained: the node is not drained, now or since before",
    no: "kept: --if-why: it was drained for another reason",
    unknown: "unknown: no node knows of it"
);
pub(super) const PAUSE_STATUSES: &str = statuses!(
    "paused: what you named is paused, now or since before",
    unknown: "unknown: the pause could not be written or confirmed, or no node could be told"
);
pub(super) const RESUME_STATUSES: &str = statuses!(
    "resumed: what you named is not paused, now or since before",
    no: "refused: all services are paused at once; end that without naming one",
    unknown: "unknown: the end of the pause could not be written or confirmed"
);
pub(super) const STATUS_STATUSES: &str = statuses!(
    "well: every service runs once, and every node lives, works and is in step",
    no: "unwell: something is wrong; `warnings` says what",
    unknown: "unknown: nothing is known to be wrong, and something could not be asked"
);
pub(super) const HISTORY_STATUSES: &str = statuses!(
    "listed",
    unknown: "--all: a node could not be asked; what the others know was listed"
);
pub(super) const ROLLOUT_STATUSES: &str = statuses!(
    "rolled-out: every node of both lists has the new one; planned: --dry-run, nothing\n     was touched",
    no: "refused: the list is unsound, a node serves what it would lose, or a node\n     \
         cannot take it; nothing was switched",
    unknown: "partial: some nodes could not be reached; run it again"
);
pub(super) const NOTIFY_STATUSES: &str = statuses!(
    "delivered: nothing is pending",
    no: "refused: a receiver said no; it is told again the next time",
    unknown: "not-reached: a receiver was not reached, or did not answer in time; busy:\n     \
              another process of this node delivers now"
);
pub(super) const PRINT_STATUSES: &str = statuses!("printed", unknown: "stdout could not be written");
