//! How many pilots to submit: pure, so that it is tested without a cluster.

/// Submissions in a row that may come to nothing.
pub const FRUITLESS: u32 = 3;

/// How a sweep on a cluster stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Pilots that a person wants at a time.
    pub wanted: u32,
    /// Pilots that wait or run.
    pub live: u32,
    /// Those of them that have no run, yet or any more.
    pub idle: u32,
    /// Runs without a result.
    pub left: u32,
    /// Runs that live pilots have.
    pub held: u32,
}

impl Standing {
    /// Pilots to submit now: one for each run that nobody has or is about to take, within what is wanted.
    pub fn missing(self) -> u32 {
        let room = self.wanted.saturating_sub(self.live);
        let free = self.left.saturating_sub(self.held).saturating_sub(self.idle);
        room.min(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: Standing = Standing { wanted: 4, live: 4, idle: 0, left: 20, held: 4 };

    #[test]
    fn a_pilot_that_is_gone_is_replaced_while_there_is_something_to_do() {
        assert_eq!(ALL.missing(), 0, "all of them work");
        assert_eq!(Standing { live: 3, held: 3, ..ALL }.missing(), 1, "one died");
        assert_eq!(Standing { live: 3, idle: 3, held: 0, left: 2, ..ALL }.missing(), 0, "pending");
        assert_eq!(Standing { live: 1, held: 1, left: 1, ..ALL }.missing(), 0, "the last run");
        assert_eq!(Standing { live: 0, held: 0, left: 2, ..ALL }.missing(), 2, "all are gone");
    }

    proptest! {
        #[test]
        fn never_more_than_wanted_nor_than_there_is_to_do(
            (wanted, live, idle) in (0_u32..9, 0_u32..9, 0_u32..9), left in 0_u32..9, held in 0_u32..9,
        ) {
            let standing = Standing { wanted, live, idle, left, held };
            let missing = standing.missing();
            prop_assert!(missing == 0 || live + missing <= wanted);
            prop_assert!(missing <= left);
            prop_assert!(live > 0 || wanted == 0 || left == 0 || held > 0 || idle > 0 || missing > 0);
        }
    }
}
