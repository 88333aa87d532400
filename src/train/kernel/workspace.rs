//! Memory that layers use while they compute and that means nothing between two of them: one piece
//! for a whole network, as large as the layer that needs the most.

use std::sync::{Arc, Mutex, PoisonError};

use super::Real;

/// Pieces begin at multiples of so many numbers, a cache line of f32.
const ALIGNMENT: usize = 16;

/// Scratch memory shared by the layers of a network, which work one after the other. It is allocated
/// when it is lent first, once and for all: growing with every layer that asks for more would leave
/// pieces of all sizes behind.
#[derive(Debug, Clone, Default)]
pub struct Workspace<T>(Arc<Mutex<Memory<T>>>);

#[derive(Debug, Default)]
struct Memory<T> {
    numbers: Vec<T>,
    /// Numbers that were asked for.
    wanted: usize,
}

impl<T: Real> Memory<T> {
    fn reserve(&mut self, lens: &[usize]) {
        let wanted = lens.iter().map(|len| len.next_multiple_of(ALIGNMENT)).sum();
        self.wanted = self.wanted.max(wanted);
    }
}

impl<T: Real> Workspace<T> {
    /// Makes sure that pieces of these lengths can be lent without an allocation, once any have been.
    pub fn reserve(&self, lens: &[usize]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reserve(lens);
    }

    /// Lends pieces of these lengths; what is in them is left from whoever used them before.
    pub fn lend<const PIECES: usize, R>(
        &self,
        lens: [usize; PIECES],
        work: impl FnOnce([&mut [T]; PIECES]) -> R,
    ) -> R {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.reserve(&lens);
        if memory.numbers.len() < memory.wanted {
            // The old ones go first.
            memory.numbers = Vec::new();
            memory.numbers = vec![T::ZERO; memory.wanted];
        }
        let mut rest = memory.numbers.as_mut_slice();
        let pieces = lens.map(|len| {
            let (piece, after) =
                std::mem::take(&mut rest).split_at_mut(len.next_multiple_of(ALIGNMENT));
            rest = after;
            &mut piece[..len]
        });
        work(pieces)
    }

    /// Numbers that it holds, or will hold as soon as it is used.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wanted
    }

    /// Has nobody asked for any?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_overlap_and_are_lent_again() {
        let workspace = Workspace::<f32>::default();
        workspace.reserve(&[3, 40]);
        assert_eq!(workspace.len(), 16 + 48);
        let lender = workspace.clone();
        lender.lend([3, 40], |[a, b]| {
            a.fill(1.0);
            b.fill(2.0);
            assert!(a.iter().all(|&x| x == 1.0) && (a.len(), b.len()) == (3, 40));
        });
        workspace.lend([0, 100], |[a, b]| assert_eq!((a.len(), b.len()), (0, 100)));
        assert_eq!(lender.len(), 112);
    }
}
