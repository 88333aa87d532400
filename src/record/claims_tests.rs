//! Dispatchers that share a sweep, in one process and in virtual time.

use proptest::prelude::*;

use super::*;
use crate::ids::SweepName;

const LEASE: Duration = Duration::from_secs(60);

fn id() -> RunId {
    RunId::of(b"a run")
}

fn at(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn sweep(temporary: &Path) -> SweepFolder {
    SweepFolder::new(temporary, &SweepName::new("shared").unwrap())
}

fn ours(taken: Taken) -> RunFolder {
    match taken {
        Taken::Ours { folder, .. } => folder,
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_two_that_want_a_run_one_gets_it_and_what_is_published_is_settled() {
    let temporary = tempfile::tempdir().unwrap();
    let sweep = sweep(temporary.path());
    let mut first = Claims::open(&sweep, "first", LEASE).unwrap();
    let mut second = Claims::open(&sweep, "second", LEASE).unwrap();
    let folder = ours(first.take(id(), at(0)).unwrap());
    assert_eq!(folder.sweep(), sweep);
    assert_eq!(second.take(id(), at(1)).unwrap(), Taken::Elsewhere);
    fs::write(folder.result(), "done").unwrap();
    assert!(first.publish(id()).unwrap());
    assert_eq!(second.take(id(), at(2)).unwrap(), Taken::Settled);
    assert_eq!(fs::read_to_string(sweep.run(id()).result()).unwrap(), "done");
    assert!(newest(&sweep).unwrap().is_empty());
}

#[test]
fn the_run_of_one_who_is_gone_is_taken_over_and_when_he_comes_back_he_has_lost_it() {
    let temporary = tempfile::tempdir().unwrap();
    let sweep = sweep(temporary.path());
    let mut cut_off = Claims::open(&sweep, "cut-off", LEASE).unwrap();
    let mut other = Claims::open(&sweep, "other", LEASE).unwrap();
    let old = ours(cut_off.take(id(), at(0)).unwrap());
    assert_eq!(other.take(id(), at(1)).unwrap(), Taken::Elsewhere);
    assert!(!other.others_live(at(1)), "nobody has seen a beat of it yet");
    assert!(cut_off.keep(at(30)).unwrap().is_empty());
    assert_eq!(other.take(id(), at(59)).unwrap(), Taken::Elsewhere);
    assert!(other.others_live(at(59)));
    assert_eq!(other.take(id(), at(118)).unwrap(), Taken::Elsewhere, "seen at 59");
    let Taken::Ours { folder, lost } = other.take(id(), at(119)).unwrap() else { panic!() };
    assert_eq!((lost, folder == old), (1, false));
    fs::write(old.result(), "old").unwrap();
    fs::write(folder.result(), "new").unwrap();
    let mut back = [false; 2];
    // It notices before it publishes, whether its beat is due or not.
    back[0] = cut_off.publish(id()).unwrap();
    back[1] = other.publish(id()).unwrap();
    assert_eq!(back, [false, true]);
    assert_eq!(fs::read_to_string(sweep.run(id()).result()).unwrap(), "new");
}

#[test]
fn one_who_has_lost_a_run_is_told_with_the_next_beat() {
    let temporary = tempfile::tempdir().unwrap();
    let sweep = sweep(temporary.path());
    let mut slow = Claims::open(&sweep, "slow", LEASE).unwrap();
    let mut other = Claims::open(&sweep, "other", LEASE).unwrap();
    slow.take(id(), at(0)).unwrap();
    other.take(id(), at(0)).unwrap();
    ours(other.take(id(), at(60)).unwrap());
    assert_eq!(slow.keep(at(1)).unwrap(), [] as [RunId; 0], "no beat is due");
    assert_eq!(slow.keep(at(6)).unwrap(), [id()]);
    assert!(!slow.holds(id()));
}

#[test]
fn what_is_given_back_is_taken_at_once_and_counts_as_nobodys_loss() {
    let temporary = tempfile::tempdir().unwrap();
    let sweep = sweep(temporary.path());
    let mut first = Claims::open(&sweep, "first", LEASE).unwrap();
    first.take(id(), at(0)).unwrap();
    first.leave().unwrap();
    let mut second = Claims::open(&sweep, "second", LEASE).unwrap();
    let taken = second.take(id(), at(0)).unwrap();
    assert!(matches!(taken, Taken::Ours { lost: 0, .. }), "{taken:?}");
}

#[test]
fn losses_are_counted_until_the_run_gets_further() {
    let temporary = tempfile::tempdir().unwrap();
    let sweep = sweep(temporary.path());
    let entry = checkpoint::CheckpointEntry {
        step: 7,
        blake3: String::new(),
        events_length: 0,
        wall_s: 0.0,
        elapsed_s: 0.0,
        train_s: 0.0,
        peak_memory_bytes: 0,
    };
    let mut losses = Vec::new();
    for turn in 0..5 {
        let mut next = Claims::open(&sweep, &format!("pilot-{turn}"), LEASE).unwrap();
        // The first look only begins to watch whoever has it.
        next.take(id(), at(0)).unwrap();
        let folder = ours(next.take(id(), at(60)).unwrap());
        losses.push(read_claim(&folder).unwrap().unwrap().lost);
        if turn == 2 {
            fs::write(folder.events(), "").unwrap();
            let entry = entry.clone();
            checkpoint::save(&folder, id(), entry, &mut |file| file.write_all(b"x"), 1).unwrap();
        }
    }
    assert_eq!(losses, [0, 1, 2, 1, 2]);
}

#[test]
fn a_claim_of_which_nobody_says_whose_it_is_is_given_up_after_a_lease() {
    let temporary = tempfile::tempdir().unwrap();
    let sweep = sweep(temporary.path());
    let mut other = Claims::open(&sweep, "other", LEASE).unwrap();
    fs::create_dir(sweep.attempt(id(), 1).path()).unwrap();
    assert_eq!(other.take(id(), at(5)).unwrap(), Taken::Elsewhere);
    assert_eq!(other.take(id(), at(64)).unwrap(), Taken::Elsewhere);
    ours(other.take(id(), at(65)).unwrap());
}

#[test]
fn a_claim_that_came_no_further_than_its_name_is_taken_again_by_its_owner() {
    let temporary = tempfile::tempdir().unwrap();
    let sweep = sweep(temporary.path());
    let mut only = Claims::open(&sweep, "only", LEASE).unwrap();
    // As a full disk, or an error of the file system, has left it.
    fs::create_dir(sweep.attempt(id(), 1).path()).unwrap();
    let claim = Claim { owner: Some("only".to_owned()), ..Claim::free() };
    write_claim(&sweep.attempt(id(), 1), &claim).unwrap();
    let folder = ours(only.take(id(), at(0)).unwrap());
    assert_eq!(folder.path(), sweep.attempt(id(), 2).path());
}

#[test]
fn whoever_comes_back_to_a_number_that_was_given_out_again_has_lost_it() {
    for publishes in [false, true] {
        let temporary = tempfile::tempdir().unwrap();
        let sweep = sweep(temporary.path());
        let mut cut_off = Claims::open(&sweep, "cut-off", LEASE).unwrap();
        ours(cut_off.take(id(), at(0)).unwrap());
        // On one machine for a while, then on the cluster again: numbers begin anew.
        close_all(&sweep).unwrap();
        open_all(&sweep, [id()]).unwrap();
        let mut other = Claims::open(&sweep, "other", LEASE).unwrap();
        let folder = ours(other.take(id(), at(9)).unwrap());
        assert_eq!(folder.path(), sweep.attempt(id(), 1).path());
        if publishes {
            assert!(!cut_off.publish(id()).unwrap());
        } else {
            assert_eq!(cut_off.keep(at(9)).unwrap(), [id()]);
        }
        cut_off.leave().unwrap();
        assert!(other.publish(id()).unwrap());
    }
}

#[test]
fn a_folder_that_whoever_has_published_took_away_is_no_error() {
    let temporary = tempfile::tempdir().unwrap();
    let sweep = sweep(temporary.path());
    let mut slow = Claims::open(&sweep, "slow", LEASE).unwrap();
    let mut other = Claims::open(&sweep, "other", LEASE).unwrap();
    slow.take(id(), at(0)).unwrap();
    other.take(id(), at(0)).unwrap();
    ours(other.take(id(), at(60)).unwrap());
    assert!(other.publish(id()).unwrap());
    // What a list of names that is a minute old leads to.
    assert!(!slow.try_to_publish(id(), 1).unwrap());
    // A folder that is gone keeps nobody from leaving.
    slow.leave().unwrap();
    assert!(sweep.pilot("slow").left().exists());
}

#[test]
fn what_could_not_be_published_is_published_later() {
    let temporary = tempfile::tempdir().unwrap();
    let sweep = sweep(temporary.path());
    let mut only = Claims::open(&sweep, "only", LEASE).unwrap();
    ours(only.take(id(), at(0)).unwrap());
    // No folder can take the place of a file.
    fs::write(sweep.run(id()).path(), "").unwrap();
    only.publish(id()).unwrap_err();
    assert!(only.holds(id()));
    fs::remove_file(sweep.run(id()).path()).unwrap();
    assert!(only.publish(id()).unwrap());
    assert!(!only.holds(id()));
}

#[test]
fn a_sweep_goes_from_one_dispatcher_to_several_and_back() {
    let temporary = tempfile::tempdir().unwrap();
    let sweep = sweep(temporary.path());
    let run = sweep.run(id());
    fs::create_dir_all(run.checkpoints()).unwrap();
    fs::write(run.checkpoint_state(), "a checkpoint").unwrap();
    fs::write(run.result(), "failed").unwrap();
    open_all(&sweep, [id()]).unwrap();
    assert!(!run.path().exists());
    let mut pilot = Claims::open(&sweep, "pilot", LEASE).unwrap();
    ours(pilot.take(id(), at(0)).unwrap());
    close_all(&sweep).unwrap();
    assert!(run.checkpoint_state().exists() && !run.result().exists());
    assert!(!sweep.attempts().exists());
}

proptest! {
    /// Whatever dispatchers do and whoever falls silent: nobody takes what one who is heard has, a run is
    /// published once, and what was published stays.
    #[test]
    fn a_run_is_published_once(
        acts in prop::collection::vec((0_usize..3, 0_u8..4, 0_u64..40), 1..60),
    ) {
        let temporary = tempfile::tempdir().unwrap();
        let sweep = sweep(temporary.path());
        let open = |n: usize| Claims::open(&sweep, &format!("pilot-{n}"), LEASE).unwrap();
        let mut pilots: Vec<Claims> = (0..3).map(open).collect();
        let (mut now, mut published) = (0, 0);
        for (who, act, passes) in acts {
            now += passes;
            match act {
                0 => { pilots[who].take(id(), at(now)).unwrap(); }
                1 => { pilots[who].keep(at(now)).unwrap(); }
                2 => published += u32::from(pilots[who].publish(id()).unwrap()),
                _ => { pilots[who].others_live(at(now)); }
            }
            prop_assert!(published <= 1);
            prop_assert_eq!(published == 1, sweep.run(id()).path().exists());
        }
    }
}
