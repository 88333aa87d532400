//! Work of one step shared among the threads of the current rayon pool.
//!
//! Memory is cut into blocks whose borders depend on its length alone, never on how many threads
//! there are, and each block is written by one thread: the same bits on one thread or several. Sums
//! over blocks are made by whoever called, in the order of the blocks. With one thread, or one
//! block, nothing leaves the calling thread.

use rayon::prelude::*;

/// Numbers of a block of elementwise work: 64 KiB of f32, so that a block's few arrays stay in the
/// second-level cache and handing it to a thread costs little beside it.
pub const BLOCK: usize = 1 << 14;

/// Is there anyone to share with?
fn alone(len: usize, block: usize) -> bool {
    len <= block || rayon::current_num_threads() == 1
}

/// Calls `work` with the start and the numbers of every block of `block` numbers of `data`.
///
/// # Panics
/// If `block` is 0.
pub fn for_each_block<T: Send>(
    data: &mut [T],
    block: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if alone(data.len(), block) {
        data.chunks_mut(block).enumerate().for_each(|(n, data)| work(n * block, data));
    } else {
        data.par_chunks_mut(block).enumerate().for_each(|(n, data)| work(n * block, data));
    }
}

/// The same over two arrays of one length, cut alike.
///
/// # Panics
/// If `block` is 0 or the lengths differ.
pub fn for_each_block_of_two<A: Send, B: Send>(
    (a, b): (&mut [A], &mut [B]),
    block: usize,
    work: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    assert_eq!(a.len(), b.len(), "invariant: arrays of one length");
    if alone(a.len(), block) {
        let blocks = a.chunks_mut(block).zip(b.chunks_mut(block));
        blocks.enumerate().for_each(|(n, (a, b))| work(n * block, a, b));
    } else {
        let blocks = a.par_chunks_mut(block).zip(b.par_chunks_mut(block));
        blocks.enumerate().for_each(|(n, (a, b))| work(n * block, a, b));
    }
}

/// The results of `work` for every part of 0 .. `parts`, in order: for sums over fixed parts.
pub fn map_parts<R: Send>(parts: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    if alone(parts, 1) {
        (0..parts).map(work).collect()
    } else {
        (0..parts).into_par_iter().map(&work).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    #[test]
    fn every_number_is_visited_once_with_its_place_on_any_number_of_threads() {
        for threads in [1, 2, 3] {
            for len in [0, 1, 7, 8, 9, 100] {
                let (a, b, parts) = on(threads, || {
                    let mut a = vec![0; len];
                    let mut b = vec![0; len];
                    for_each_block(&mut a, 8, |start, block| {
                        block.iter_mut().enumerate().for_each(|(i, x)| *x += start + i + 1);
                    });
                    for_each_block_of_two((&mut a, &mut b), 8, |start, a, b| {
                        assert_eq!((a.len(), start % 8), (b.len(), 0));
                        a.iter_mut().zip(b).for_each(|(a, b)| *b += 2 * *a);
                    });
                    (a, b, map_parts(len, |part| part * part))
                });
                assert_eq!(a, (1..=len).collect::<Vec<_>>());
                assert_eq!(b, (1..=len).map(|x| 2 * x).collect::<Vec<_>>());
                assert_eq!(parts, (0..len).map(|x| x * x).collect::<Vec<_>>());
            }
        }
    }
}
