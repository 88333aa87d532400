//! Which lanes of a group something is in, or is true of.

/// A set of the lanes of a group; a layer, a parameter or a running statistic need not be in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSet(Vec<bool>);

impl LaneSet {
    /// All of so many lanes.
    pub fn all(lanes: usize) -> Self {
        Self(vec![true; lanes])
    }

    /// None of so many lanes.
    pub fn none(lanes: usize) -> Self {
        Self(vec![false; lanes])
    }

    /// Lanes of the group, in the set or not.
    pub fn group(&self) -> usize {
        self.0.len()
    }

    /// Is the lane in it?
    pub fn contains(&self, lane: usize) -> bool {
        self.0[lane]
    }

    /// Takes a lane out.
    pub fn remove(&mut self, lane: usize) {
        self.0[lane] = false;
    }

    /// Is no lane in it?
    pub fn is_empty(&self) -> bool {
        !self.0.contains(&true)
    }

    /// The lanes in it, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().filter_map(|(lane, &inside)| inside.then_some(lane))
    }
}

/// For every lane of a group: is it in the set?
impl FromIterator<bool> for LaneSet {
    fn from_iter<I: IntoIterator<Item = bool>>(lanes: I) -> Self {
        Self(lanes.into_iter().collect())
    }
}

/// All of so many lanes.
impl From<usize> for LaneSet {
    fn from(lanes: usize) -> Self {
        Self::all(lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_its_lanes_and_its_group() {
        let mut set: LaneSet = [false, true, false, true].into_iter().collect();
        assert_eq!((set.iter().collect::<Vec<_>>(), set.group()), (vec![1, 3], 4));
        assert!(set.contains(1) && !set.contains(2) && !set.is_empty());
        set.remove(1);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3]);
        assert!(LaneSet::none(3).is_empty() && LaneSet::from(3) == LaneSet::all(3));
    }
}
