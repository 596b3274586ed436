//! Planted bugs: the simulation must find each of them, or it proves nothing. What each does stands at its site in the
//! engine, under `cfg(feature = "planted")`.

/// The names of the planted bugs, with what goes wrong.
pub const ALL: [(&str, &str); 18] = [
    ("accepted_before_commit", "a device is told that its mutations are accepted before they are durable"),
    ("cursor_before_rows", "a device stores how far it is before it stores the rows"),
    ("dedupe_row_apart", "the dedupe row is written after the transaction that has the effect"),
    ("position_before_commit", "positions are taken before their turn to commit"),
    ("overlay_reverted", "what is accepted is taken off the screen before its receipt is there"),
    ("leave_not_sent", "nobody is told that a record has left a scope"),
    ("gained_not_backfilled", "of a scope that was gained only what comes later is sent"),
    ("tombstones_short", "tombstones go while cursors behind them are still taken for good"),
    ("outbox_dropped", "what waits is dropped where a device reconciles"),
    ("rejected_blocks", "behind a mutation that was rejected nothing of its device is settled"),
    ("receipt_twice", "a mutation that has its receipt is applied again when it is sent again"),
    ("epoch_ignored", "a server that was set back takes cursors of the lost history for its own"),
    ("id_map_late", "which key a record has is noted after its row is there"),
    ("stale_read", "what was read is journaled over something newer"),
    ("sum_blind", "the sum of a scope does not count records that were made again"),
    ("mass_delete", "what one read does not meet is deleted at once"),
    ("wiped_served", "a wiped device is served as before"),
    ("restored_reapplies", "a phone that was set back to its backup sends what it had sent under new ids"),
];

/// Whether there is a bug of this name.
pub fn is_known(name: &str) -> bool {
    ALL.iter().any(|(known, _)| *known == name)
}
