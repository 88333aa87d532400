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

/// A disk that dispatchers share, with a disk.sweep.
struct Disk {
    _temporary: tempfile::TempDir,
    sweep: SweepFolder,
}

impl Disk {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let sweep = SweepFolder::new(temporary.path(), &SweepName::new("shared").unwrap());
        Self { _temporary: temporary, sweep }
    }

    fn pilot(&self, name: &str) -> Claims {
        Claims::open(&self.sweep, name, LEASE).unwrap()
    }

    fn pilots<const N: usize>(&self, names: [&str; N]) -> [Claims; N] {
        names.map(|name| self.pilot(name))
    }
}

fn ours(taken: Taken) -> RunFolder {
    match taken {
        Taken::Ours { folder, .. } => folder,
        other => panic!("{other:?}"),
    }
}

/// What the event loop of a dispatcher does in this time.
fn goes_on(pilot: &mut Claims, from: u64, to: u64) {
    for s in from..=to {
        assert_eq!(pilot.keep(at(s)).unwrap(), []);
    }
}

/// Looks at a run, and again after a lease of somebody else's silence.
fn waits_for(pilot: &mut Claims, from: u64) -> Taken {
    assert_eq!(pilot.take(id(), at(from)).unwrap(), Taken::Elsewhere);
    goes_on(pilot, from, from + LEASE.as_secs());
    pilot.take(id(), at(from + LEASE.as_secs())).unwrap()
}

/// Gives a run under way a checkpoint of so many steps.
fn checkpoint_at(folder: &RunFolder, step: u64) {
    let entry = checkpoint::CheckpointEntry {
        step,
        blake3: String::new(),
        events_length: 0,
        wall_s: 0.0,
        elapsed_s: 0.0,
        train_s: 0.0,
        peak_memory_bytes: 0,
        device_memory_bytes: None,
    };
    fs::write(folder.events(), "").unwrap();
    checkpoint::save(folder, id(), entry, &mut |file| file.write_all(b"x"), 1).unwrap();
}

#[test]
fn of_two_that_want_a_run_one_gets_it_and_what_is_published_is_settled() {
    let disk = Disk::new();
    let [mut first, mut second] = disk.pilots(["first", "second"]);
    let folder = ours(first.take(id(), at(0)).unwrap());
    assert_eq!(folder.sweep(), disk.sweep);
    assert_eq!(second.take(id(), at(1)).unwrap(), Taken::Elsewhere);
    fs::write(folder.result(), "done").unwrap();
    assert!(first.publish(id()).unwrap());
    assert_eq!(second.take(id(), at(2)).unwrap(), Taken::Settled);
    assert_eq!(fs::read_to_string(disk.sweep.run(id()).result()).unwrap(), "done");
    assert!(newest(&disk.sweep).unwrap().is_empty());
}

#[test]
fn the_run_of_one_who_is_gone_is_taken_over_and_when_he_comes_back_he_has_lost_it() {
    let disk = Disk::new();
    let [mut cut_off, mut other] = disk.pilots(["cut-off", "other"]);
    let old = ours(cut_off.take(id(), at(0)).unwrap());
    assert_eq!(other.take(id(), at(1)).unwrap(), Taken::Elsewhere);
    assert!(!other.others_live(at(1)), "nobody has seen a beat of it yet");
    assert!(cut_off.keep(at(30)).unwrap().is_empty());
    goes_on(&mut other, 1, 59);
    assert_eq!(other.take(id(), at(59)).unwrap(), Taken::Elsewhere);
    assert!(other.others_live(at(59)));
    goes_on(&mut other, 59, 118);
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
    assert_eq!(fs::read_to_string(disk.sweep.run(id()).result()).unwrap(), "new");
}

#[test]
fn one_who_has_lost_a_run_is_told_with_the_next_beat() {
    let disk = Disk::new();
    let [mut slow, mut other] = disk.pilots(["slow", "other"]);
    slow.take(id(), at(0)).unwrap();
    ours(waits_for(&mut other, 0));
    assert_eq!(slow.keep(at(1)).unwrap(), [], "no beat is due");
    assert_eq!(slow.keep(at(6)).unwrap(), [(id(), Loss::TakenOver)]);
    assert!(!slow.holds(id()));
}

#[test]
fn what_is_given_back_is_taken_at_once_and_counts_as_nobodys_loss() {
    let disk = Disk::new();
    let mut first = disk.pilot("first");
    first.take(id(), at(0)).unwrap();
    first.leave().unwrap();
    let mut second = disk.pilot("second");
    let taken = second.take(id(), at(0)).unwrap();
    assert!(matches!(taken, Taken::Ours { lost: 0, .. }), "{taken:?}");
}

#[test]
fn losses_are_counted_until_the_run_gets_further() {
    let disk = Disk::new();
    let mut losses = Vec::new();
    for turn in 0..5 {
        let mut next = disk.pilot(&format!("pilot-{turn}"));
        // The first look only begins to watch whoever has it.
        let folder =
            ours(if turn == 0 { next.take(id(), at(0)).unwrap() } else { waits_for(&mut next, 0) });
        losses.push(read_claim(&folder).unwrap().unwrap().lost);
        if turn == 2 {
            checkpoint_at(&folder, 7);
        }
    }
    assert_eq!(losses, [0, 1, 2, 1, 2]);
}

#[test]
fn a_claim_of_which_nobody_says_whose_it_is_is_given_up_after_a_lease() {
    let disk = Disk::new();
    let mut other = disk.pilot("other");
    fs::create_dir(disk.sweep.attempt(id(), 1).path()).unwrap();
    assert_eq!(other.take(id(), at(5)).unwrap(), Taken::Elsewhere);
    goes_on(&mut other, 5, 64);
    assert_eq!(other.take(id(), at(64)).unwrap(), Taken::Elsewhere);
    ours(other.take(id(), at(65)).unwrap());
}

#[test]
fn a_claim_that_came_no_further_than_its_name_is_taken_again_by_its_owner() {
    let disk = Disk::new();
    let mut only = disk.pilot("only");
    // As a full disk, or an error of the file system, has left it.
    fs::create_dir(disk.sweep.attempt(id(), 1).path()).unwrap();
    let claim = Claim { owner: Some("only".to_owned()), ..Claim::free() };
    write_claim(&disk.sweep.attempt(id(), 1), &claim).unwrap();
    let folder = ours(only.take(id(), at(0)).unwrap());
    assert_eq!(folder.path(), disk.sweep.attempt(id(), 2).path());
}

#[test]
fn whoever_comes_back_to_a_number_that_was_given_out_again_has_lost_it() {
    for publishes in [false, true] {
        let disk = Disk::new();
        let mut cut_off = disk.pilot("cut-off");
        ours(cut_off.take(id(), at(0)).unwrap());
        // On one machine for a while, then on the cluster again: numbers begin anew.
        close_all(&disk.sweep).unwrap();
        open_all(&disk.sweep, [id()]).unwrap();
        let mut other = disk.pilot("other");
        let folder = ours(other.take(id(), at(9)).unwrap());
        assert_eq!(folder.path(), disk.sweep.attempt(id(), 1).path());
        if publishes {
            assert!(!cut_off.publish(id()).unwrap());
        } else {
            assert_eq!(cut_off.keep(at(9)).unwrap(), [(id(), Loss::TakenOver)]);
        }
        cut_off.leave().unwrap();
        assert!(other.publish(id()).unwrap());
    }
}

#[test]
fn a_folder_that_whoever_has_published_took_away_is_no_error() {
    let disk = Disk::new();
    let [mut slow, mut other] = disk.pilots(["slow", "other"]);
    slow.take(id(), at(0)).unwrap();
    ours(waits_for(&mut other, 0));
    assert!(other.publish(id()).unwrap());
    // What a list of names that is a minute old leads to.
    assert!(!slow.try_to_publish(id(), 1).unwrap());
    // A folder that is gone keeps nobody from leaving.
    slow.leave().unwrap();
    assert!(disk.sweep.pilot("slow").left().exists());
}

#[test]
fn what_could_not_be_published_is_published_later() {
    let disk = Disk::new();
    let mut only = disk.pilot("only");
    ours(only.take(id(), at(0)).unwrap());
    // No folder can take the place of a file.
    fs::write(disk.sweep.run(id()).path(), "").unwrap();
    only.publish(id()).unwrap_err();
    assert!(only.holds(id()));
    fs::remove_file(disk.sweep.run(id()).path()).unwrap();
    assert!(only.publish(id()).unwrap());
    assert!(!only.holds(id()));
}

#[test]
fn a_sweep_goes_from_one_dispatcher_to_several_and_back() {
    let disk = Disk::new();
    let run = disk.sweep.run(id());
    fs::create_dir_all(run.path()).unwrap();
    checkpoint_at(&run, 7);
    fs::write(run.result(), "failed").unwrap();
    open_all(&disk.sweep, [id()]).unwrap();
    assert!(!run.path().exists());
    let mut pilot = disk.pilot("pilot");
    ours(pilot.take(id(), at(0)).unwrap());
    close_all(&disk.sweep).unwrap();
    assert!(run.checkpoint_state().exists() && !run.result().exists());
    assert!(!disk.sweep.attempts().exists());
}

#[test]
fn those_who_stood_still_together_take_nothing_over_from_each_other() {
    let disk = Disk::new();
    let runs = [b"a", b"b", b"c"].map(|name| RunId::of(name));
    let mut pilots = disk.pilots(["first", "second", "third"]);
    // Each has one, and has seen the others live; then the server is away for ten leases.
    for (pilot, run) in pilots.iter_mut().zip(runs) {
        ours(pilot.take(run, at(0)).unwrap());
    }
    let mut now = 0;
    for _ in 0..12 {
        now += 5;
        for pilot in &mut pilots {
            assert_eq!(pilot.keep(at(now)).unwrap(), []);
            for run in runs {
                pilot.take(run, at(now)).unwrap();
            }
        }
    }
    for first in 0..3 {
        now += 600;
        // Whoever goes on first asks for what the others have, and they go on a little later.
        for who in (0..3).map(|n| (first + n) % 3) {
            for (owner, run) in runs.into_iter().enumerate() {
                let taken = pilots[who].take(run, at(now)).unwrap();
                assert_eq!(matches!(taken, Taken::Ours { .. }), owner == who, "{taken:?}");
            }
            now += 20;
        }
        for pilot in &mut pilots {
            assert_eq!(pilot.keep(at(now)).unwrap(), []);
        }
    }
    assert_eq!(newest(&disk.sweep).unwrap().into_values().collect::<Vec<_>>(), [1; 3]);
    // One that does not go on is gone a lease later, and only then.
    let [first, _, third] = &mut pilots;
    for s in 0..=60 {
        first.keep(at(now + s)).unwrap();
        third.keep(at(now + s)).unwrap();
        let taken = first.take(runs[1], at(now + s)).unwrap();
        assert_eq!(taken == Taken::Elsewhere, s < 60, "{s}: {taken:?}");
    }
}

#[test]
fn one_whose_beat_cannot_be_written_gives_its_runs_up_before_others_take_them() {
    let disk = Disk::new();
    let [mut unheard, mut other] = disk.pilots(["unheard", "other"]);
    ours(unheard.take(id(), at(0)).unwrap());
    assert_eq!(other.take(id(), at(0)).unwrap(), Taken::Elsewhere);
    // A folder in its place cannot be written into, whoever one is.
    let beat = disk.sweep.pilot("unheard").beat();
    fs::remove_file(&beat).unwrap();
    fs::create_dir(&beat).unwrap();
    let mut given_up = None;
    for s in 1..60 {
        match unheard.keep(at(s)) {
            Ok(lost) if lost.is_empty() => {}
            Ok(lost) => {
                assert_eq!(lost, [(id(), Loss::Unheard)]);
                given_up = Some(s);
                break;
            }
            Err(error) => assert!(error.to_string().contains("beat"), "{error}"),
        }
    }
    let given_up = given_up.expect("it gives up within a lease");
    assert!((40..50).contains(&given_up), "after {given_up} s");
    assert!(!unheard.holds(id()) && !unheard.publish(id()).unwrap());
    assert!(unheard.missed() >= 9);
    // It takes nothing while nobody hears of it, and what it had as soon as one does.
    assert_eq!(unheard.take(id(), at(given_up + 1)).unwrap(), Taken::Elsewhere);
    fs::remove_dir(&beat).unwrap();
    assert_eq!(unheard.keep(at(given_up + 6)).unwrap(), []);
    let folder = ours(unheard.take(id(), at(given_up + 7)).unwrap());
    assert_eq!(folder.path(), disk.sweep.attempt(id(), 2).path());
}

#[test]
fn a_beat_that_cannot_be_read_says_nothing_of_who_lives() {
    let disk = Disk::new();
    let [mut first, mut other] = disk.pilots(["first", "other"]);
    ours(first.take(id(), at(0)).unwrap());
    let beat = disk.sweep.pilot("first").beat();
    fs::remove_file(&beat).unwrap();
    fs::create_dir(&beat).unwrap();
    for s in 0..200 {
        goes_on(&mut other, s, s);
        let error = other.take(id(), at(s)).unwrap_err();
        assert!(error.to_string().contains("beat"), "{error}");
    }
    assert!(!other.others_live(at(200)));
}

#[test]
fn whoever_is_still_at_work_when_a_sweep_becomes_one_machines_writes_into_nothing_of_it() {
    let disk = Disk::new();
    let mut cut_off = disk.pilot("cut-off");
    let folder = ours(cut_off.take(id(), at(0)).unwrap());
    fs::write(folder.run(), "its record").unwrap();
    checkpoint_at(&folder, 7);
    // As its worker has them open.
    let mut append = fs::OpenOptions::new();
    let mut events = append.append(true).open(folder.events()).unwrap();
    close_all(&disk.sweep).unwrap();
    let run = disk.sweep.run(id());
    assert_eq!(checkpoint::step_of(&run), Some(7));
    std::io::Write::write_all(&mut events, b"of somebody who is cut off").unwrap();
    assert_eq!(fs::read_to_string(run.events()).unwrap(), "");
    // Its next attempt makes its folder anew, and comes to nothing that counts.
    fs::create_dir_all(folder.path()).unwrap();
    fs::write(folder.result(), "theirs").unwrap();
    assert!(!cut_off.publish(id()).unwrap());
    assert!(!run.result().exists());
}

#[test]
fn a_kill_while_a_sweep_becomes_one_machines_loses_no_checkpoint() {
    let disk = Disk::new();
    let folder = ours(disk.pilot("pilot").take(id(), at(0)).unwrap());
    checkpoint_at(&folder, 7);
    // Killed with the folder half made: no checkpoint in it yet.
    fs::create_dir(disk.sweep.attempt(id(), 2).path()).unwrap();
    close_all(&disk.sweep).unwrap();
    assert_eq!(checkpoint::step_of(&disk.sweep.run(id())), Some(7));
}

#[test]
fn a_run_whose_claim_is_gone_is_lost() {
    for publishes in [false, true] {
        let disk = Disk::new();
        let mut pilot = disk.pilot("pilot");
        let folder = ours(pilot.take(id(), at(0)).unwrap());
        // Taken away, and made anew by an attempt that knows nothing of it.
        fs::remove_dir_all(folder.path()).unwrap();
        fs::create_dir(folder.path()).unwrap();
        if publishes {
            assert!(!pilot.publish(id()).unwrap());
        } else {
            assert_eq!(pilot.keep(at(9)).unwrap(), [(id(), Loss::TakenOver)]);
        }
        assert!(!disk.sweep.run(id()).path().exists());
    }
}

#[test]
fn a_run_that_was_published_under_a_later_claim_is_lost() {
    let disk = Disk::new();
    let [mut slow, mut other] = disk.pilots(["slow", "other"]);
    let folder = ours(slow.take(id(), at(0)).unwrap());
    ours(waits_for(&mut other, 0));
    // Whoever has published it was killed before it could take the earlier claims away.
    fs::rename(disk.sweep.attempt(id(), 2).path(), disk.sweep.run(id()).path()).unwrap();
    assert!(folder.path().exists());
    assert_eq!(slow.keep(at(9)).unwrap(), [(id(), Loss::TakenOver)]);
}

#[test]
fn a_publication_whose_answer_was_lost_is_known_by_its_owner() {
    for mine in [true, false] {
        let disk = Disk::new();
        let mut pilot = disk.pilot("pilot");
        let folder = ours(pilot.take(id(), at(0)).unwrap());
        if !mine {
            let owner = Some("another".to_owned());
            write_claim(&folder, &Claim { owner, ..Claim::free() }).unwrap();
        }
        // The server has moved it, and its answer did not come.
        fs::rename(folder.path(), disk.sweep.run(id()).path()).unwrap();
        assert_eq!(pilot.publish(id()).unwrap(), mine);
    }
}

#[test]
fn whoever_leaves_gives_back_only_its_own() {
    let disk = Disk::new();
    let mut pilot = disk.pilot("pilot");
    let folder = ours(pilot.take(id(), at(0)).unwrap());
    let theirs = Claim { owner: Some("another".to_owned()), ..Claim::free() };
    write_claim(&folder, &theirs).unwrap();
    pilot.leave().unwrap();
    assert_eq!(read_claim(&folder).unwrap(), Some(theirs));
    assert_eq!(owners(&disk.sweep).unwrap(), BTreeSet::from(["another".to_owned()]));
}

#[test]
fn whoever_leaves_says_whether_any_run_got_further() {
    /// Takes the run, gets it to `step`, and leaves.
    fn fruitless(disk: &Disk, name: &str, step: Option<u64>) -> bool {
        let mut pilot = disk.pilot(name);
        let folder = ours(pilot.take(id(), at(0)).unwrap());
        step.into_iter().for_each(|step| checkpoint_at(&folder, step));
        pilot.leave().unwrap();
        let left: Left =
            atomic::read_json(&disk.sweep.pilot(name).left(), LEFT_FORMAT).unwrap().unwrap();
        left.fruitless
    }
    let disk = Disk::new();
    let steps = [None, Some(7), None, Some(8), Some(8)];
    let told = steps.into_iter().enumerate();
    let told: Vec<bool> = told.map(|(n, step)| fruitless(&disk, &format!("{n}"), step)).collect();
    assert_eq!(told, [true, false, true, false, true]);
    // One that had no time to take a run, one that stood by, and one that settled a run.
    let left_of = |pilot: &mut Claims| {
        pilot.leave().unwrap();
        let left: Left = atomic::read_json(&pilot.pilot().left(), LEFT_FORMAT).unwrap().unwrap();
        left.fruitless
    };
    assert!(left_of(&mut disk.pilot("too-late")));
    let [mut settles, mut stands_by] = disk.pilots(["settles", "stands-by"]);
    ours(settles.take(id(), at(0)).unwrap());
    assert_eq!(stands_by.take(id(), at(0)).unwrap(), Taken::Elsewhere);
    assert!(!left_of(&mut stands_by));
    assert!(settles.publish(id()).unwrap());
    assert!(!left_of(&mut settles));
}

proptest! {
    /// Whatever dispatchers do and whoever falls silent: nobody takes what one who is heard has, a run is
    /// published once, and what was published stays.
    #[test]
    fn a_run_is_published_once(
        acts in prop::collection::vec((0_usize..3, 0_u8..4, 0_u64..40), 1..60),
    ) {
        let disk = Disk::new();
        let open = |n: usize| disk.pilot(&format!("pilot-{n}"));
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
            prop_assert_eq!(published == 1, disk.sweep.run(id()).path().exists());
        }
    }
}
