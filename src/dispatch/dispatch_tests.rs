//! The whole dispatcher, with processes that are none.
#![expect(clippy::print_stdout, reason = "a figure of the design note is printed here")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::inventory::{Inventory, described};
use super::leases::Leases;
use super::leasing::Leasing;
use super::occupancy::Kind;
use super::ownership::Ownership;
use super::work::Work;
use super::{DispatchError, Means, Message, Orders, Outcome, dispatch};
use crate::event::{AttemptEnd, SweepEvent};
use crate::executor::fake::{Fake, Outcome as Scripted};
use crate::executor::{Ended, Exit, Job};
use crate::ids::{RunId, SweepName};
use crate::plan::Group;
use crate::record::claims::Claims;
use crate::record::journal::JournalEntry;
use crate::record::{Lock, RECORD_FORMAT, RecordError, RunRecord, SweepFolder, lines};
use crate::spec::run_policy::{Backoff, Retries, RunPolicy};

fn id(run: usize) -> RunId {
    RunId::of(&run.to_le_bytes())
}

fn record(run: usize) -> RunRecord {
    RunRecord {
        format: RECORD_FORMAT,
        run_id: id(run),
        configuration: format!("run={run}"),
        config: BTreeMap::new(),
        engine: 1,
        data: String::new(),
        checkpoint_every_epochs: 1,
        checkpoint_keep: 1,
    }
}

fn work(runs: &[usize], devices: u32, kind: Kind) -> Work {
    Work {
        group: Group {
            runs: runs.to_vec(),
            devices,
            memory: 1 << 20,
            exclusive: false,
            expected: None,
        },
        kind,
    }
}

/// Ends as messages.
fn tells(sender: mpsc::Sender<Message>) -> impl Fn(Ended) {
    move |ended| sender.send(Message::Ended(ended)).unwrap()
}

/// What a sweep came to.
struct Swept {
    outcome: Outcome,
    jobs: Vec<Job>,
    events: Vec<SweepEvent>,
    folder: SweepFolder,
}

/// On two cores of a machine.
fn orders<'a>(folder: &'a SweepFolder, inventory: &Inventory, works: Vec<Work>) -> Orders<'a> {
    Orders {
        folder,
        data: folder.path().to_owned(),
        works,
        host: inventory.host(None, 1),
        done_before: 0,
        record_of: &record,
        policy: RunPolicy::default(),
        jobs: 2,
        fail_fast: false,
    }
}

fn sweep<'a>(
    temporary: &Path,
    inventory: &Inventory,
    works: Vec<Work>,
    script: impl FnMut(&Job) -> Scripted + 'a,
) -> Swept {
    let folder = SweepFolder::new(temporary, &SweepName::new("faked").unwrap());
    std::fs::create_dir_all(folder.path()).unwrap();
    let retries = Retries { count: 1, backoff: Backoff::Fixed, delay: Duration::ZERO };
    let policy = RunPolicy { retries, ..RunPolicy::default() };
    let orders = Orders { policy, ..orders(&folder, inventory, works) };
    let (sender, messages) = mpsc::channel::<Message>();
    let mut fake = Fake::new(tells(sender), script);
    let leasing = Leasing::new(inventory, Leases::open(&temporary.join("slots")).0);
    let mut events = Vec::new();
    let lock = Lock::take(&folder.lock()).unwrap();
    let ownership = Ownership::sole(&folder, &lock);
    let means = Means { executor: &mut fake, leasing, ownership };
    let outcome =
        dispatch(&orders, means, &messages, &mut |event| events.push(event.clone())).unwrap();
    assert_eq!(fake.settled, fake.started.len());
    let jobs = std::mem::take(&mut fake.started);
    drop(fake);
    Swept { outcome, jobs, events, folder }
}

const CORES: &str = "cores = 2\nmemory_gib = 8";

#[test]
fn lanes_are_started_in_one_process_and_go_on_alone_without_a_result() {
    let temporary = tempfile::tempdir().unwrap();
    let works = vec![work(&[0, 1, 2], 1, Kind::Core), work(&[3], 1, Kind::Core)];
    let swept = sweep(temporary.path(), &described(CORES), works, |job| {
        match (job.folders.len(), job.attempt) {
            (3, 1) => Scripted::Ends(vec![1], Exit::Signal(11), "a lane went wrong\n"),
            _ => Scripted::Finishes,
        }
    });
    assert_eq!(swept.outcome, Outcome { finished: 4, failed: 0, left: 0 });
    let mut lanes: Vec<(usize, u32)> =
        swept.jobs.iter().map(|job| (job.folders.len(), job.attempt)).collect();
    lanes.sort_unstable();
    assert_eq!(lanes, [(1, 1), (1, 2), (1, 2), (3, 1)]);
    let retried = |event: &&SweepEvent| {
        matches!(event, SweepEvent::RunEnded { end: AttemptEnd::Retry { .. }, .. })
    };
    assert_eq!(swept.events.iter().filter(retried).count(), 2);
    // Strays are found by any run of the group.
    let journal: Vec<JournalEntry> = lines::read(&swept.folder.journal()).unwrap();
    let pids: Vec<u32> = journal
        .iter()
        .filter_map(|entry| match entry {
            JournalEntry::AttemptStarted { pid, attempt: 1, run_id, .. } if *run_id != id(3) => {
                Some(*pid)
            }
            _ => None,
        })
        .collect();
    assert!(pids.len() == 3 && pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

#[test]
fn a_system_that_has_no_room_for_a_process_costs_time_and_no_run() {
    let temporary = tempfile::tempdir().unwrap();
    let works = (0..3).map(|run| work(&[run], 1, Kind::Core)).collect();
    let mut refusals = 4;
    let again = rustix::io::Errno::AGAIN.raw_os_error();
    let swept = sweep(temporary.path(), &described(CORES), works, |_| match refusals {
        0 => Scripted::Finishes,
        _ => {
            refusals -= 1;
            Scripted::CannotStart(again)
        }
    });
    assert_eq!(swept.outcome, Outcome { finished: 3, failed: 0, left: 0 });
    let ended =
        swept.events.iter().filter(|event| matches!(event, SweepEvent::RunEnded { .. })).count();
    assert_eq!(ended, 3, "what was never started has not ended either");
    let notices: Vec<&String> = swept
        .events
        .iter()
        .filter_map(|event| match event {
            SweepEvent::Notice(text) if text.contains("process") => Some(text),
            _ => None,
        })
        .collect();
    assert_eq!(notices.len(), 2, "said once, and once that it is over: {notices:?}");
}

/// Of no use to root, who may write anywhere.
#[test]
fn a_folder_that_cannot_be_written_for_a_moment_costs_time_and_no_run() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("faked");
    let allow = |mode| {
        let rights = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, rights).unwrap();
    };
    std::fs::create_dir(&path).unwrap();
    allow(0o555);
    if std::fs::write(path.join("try"), "").is_ok() {
        return;
    }
    allow(0o755);
    let works = (0..4).map(|run| work(&[run], 1, Kind::Core)).collect();
    let (allow, mut first) = (&allow, true);
    let swept = std::thread::scope(|scope| {
        sweep(temporary.path(), &described(CORES), works, |_| {
            if std::mem::take(&mut first) {
                allow(0o555);
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_secs(1));
                    allow(0o755);
                });
            }
            Scripted::Finishes
        })
    });
    assert_eq!(swept.outcome, Outcome { finished: 4, failed: 0, left: 0 });
    let says = |words: &str| {
        let notice =
            |event: &&SweepEvent| matches!(event, SweepEvent::Notice(text) if text.contains(words));
        swept.events.iter().filter(notice).count()
    };
    assert_eq!((says("waiting until"), says("can be written again")), (1, 1), "{:?}", swept.events);
}

#[test]
fn a_failure_that_cannot_be_written_down_stops_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let works = (0..3).map(|run| work(&[run], 1, Kind::Core)).collect();
    let folder = SweepFolder::new(temporary.path(), &SweepName::new("faked").unwrap());
    std::fs::create_dir_all(folder.path()).unwrap();
    // A file is in the way of a run's folder.
    std::fs::write(folder.run(id(1)).path(), b"").unwrap();
    let swept = sweep(temporary.path(), &described(CORES), works, |_| Scripted::Finishes);
    assert_eq!(swept.outcome, Outcome { finished: 2, failed: 1, left: 0 });
}

#[test]
fn the_log_of_a_group_is_each_failed_lanes_log() {
    let temporary = tempfile::tempdir().unwrap();
    let works = vec![work(&[0, 1], 1, Kind::Core)];
    let swept = sweep(temporary.path(), &described(CORES), works, |_| {
        Scripted::Ends(Vec::new(), Exit::Code(65), "error: no such data\n")
    });
    assert_eq!(swept.outcome, Outcome { finished: 0, failed: 2, left: 0 });
    for run in 0..2 {
        let result = std::fs::read_to_string(swept.folder.run(id(run)).result()).unwrap();
        assert!(result.contains("refused: error: no such data"), "{result}");
    }
    assert_eq!(swept.jobs.len(), 3, "together, then each alone; a refusal is final then");
}

#[test]
fn ranks_get_their_gpus_and_share_none() {
    let temporary = tempfile::tempdir().unwrap();
    let machine = format!("{CORES}\n[[gpu]]\nname = \"X\"\nmemory_gib = 16\ncount = 3");
    let works = vec![
        work(&[0], 2, Kind::Gpu),
        work(&[1], 1, Kind::Gpu),
        work(&[2], 2, Kind::Core),
        work(&[3], 3, Kind::Gpu),
    ];
    let swept = sweep(temporary.path(), &described(&machine), works, |_| Scripted::Finishes);
    assert_eq!(swept.outcome.finished, 4);
    let devices: Vec<String> = swept
        .jobs
        .iter()
        .map(|job| job.devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        .collect();
    assert_eq!(devices, ["cuda:0,cuda:1", "cuda:2", "cpu,cpu", "cuda:0,cuda:1,cuda:2"]);
}

#[test]
fn a_run_that_needs_more_memory_than_there_is_runs_alone_and_a_person_is_told() {
    let temporary = tempfile::tempdir().unwrap();
    let machine = "cores = 2\nmemory_gib = 0.0005";
    let works = vec![work(&[0], 1, Kind::Core), work(&[1], 1, Kind::Core)];
    let swept = sweep(temporary.path(), &described(machine), works, |_| Scripted::Finishes);
    assert_eq!(swept.outcome.finished, 2);
    let text = "run=0 is expected to need more memory than the 524.3 KiB that are free: it has its \
                device to itself";
    assert!(swept.events.contains(&SweepEvent::Notice(text.to_owned())), "{:?}", swept.events);
}

#[test]
fn an_interrupt_stops_what_hangs_and_gives_the_slots_back() {
    let temporary = tempfile::tempdir().unwrap();
    let inventory = described(CORES);
    let folder = SweepFolder::new(temporary.path(), &SweepName::new("faked").unwrap());
    std::fs::create_dir_all(folder.path()).unwrap();
    let works = (0..3).map(|run| work(&[run], 1, Kind::Core)).collect();
    let orders = orders(&folder, &inventory, works);
    let (sender, messages) = mpsc::channel::<Message>();
    sender.send(Message::Interrupt).unwrap();
    let mut fake = Fake::new(tells(sender), |_| Scripted::Hangs);
    let slots = temporary.path().join("slots");
    let leasing = Leasing::new(&inventory, Leases::open(&slots).0);
    let lock = Lock::take(&folder.lock()).unwrap();
    let ownership = Ownership::sole(&folder, &lock);
    let means = Means { executor: &mut fake, leasing, ownership };
    let outcome = dispatch(&orders, means, &messages, &mut |_| {}).unwrap();
    assert_eq!(outcome, Outcome { finished: 0, failed: 0, left: 3 });
    let mut after = Leases::open(&slots).0;
    for (slot, name) in ["core-0", "core-1"].into_iter().enumerate() {
        assert_eq!(after.take(slot, name).unwrap(), super::leases::Taken::Ours);
    }
}

#[test]
fn a_folder_that_is_moved_away_ends_the_sweep_and_is_not_made_again() {
    let temporary = tempfile::tempdir().unwrap();
    let inventory = described(CORES);
    let folder = SweepFolder::new(temporary.path(), &SweepName::new("faked").unwrap());
    std::fs::create_dir_all(folder.path()).unwrap();
    let works = (0..3).map(|run| work(&[run], 1, Kind::Core)).collect();
    let orders = orders(&folder, &inventory, works);
    let (sender, messages) = mpsc::channel::<Message>();
    let mut started = 0;
    let mut fake = Fake::new(tells(sender), |_| {
        started += 1;
        std::fs::rename(folder.path(), temporary.path().join("moved")).unwrap();
        Scripted::Hangs
    });
    let leasing = Leasing::new(&inventory, Leases::open(&temporary.path().join("slots")).0);
    let lock = Lock::take(&folder.lock()).unwrap();
    let ownership = Ownership::sole(&folder, &lock);
    let means = Means { executor: &mut fake, leasing, ownership };
    let error = dispatch(&orders, means, &messages, &mut |_| {}).unwrap_err();
    drop(fake);
    assert!(matches!(error, DispatchError::Record(RecordError::Moved { .. })), "{error}");
    assert_eq!((started, folder.path().exists()), (1, false));
}

/// One of two dispatchers that share a sweep of three runs; `script` is asked about what it starts.
fn shared<'a>(
    temporary: &Path,
    claims: Claims,
    script: impl FnMut(&Job) -> Scripted + 'a,
) -> (Outcome, Vec<Job>) {
    let inventory = described(CORES);
    let folder = SweepFolder::new(temporary, &SweepName::new("faked").unwrap());
    let orders = Orders {
        folder: &folder,
        data: temporary.to_owned(),
        works: (0..3).map(|run| work(&[run], 1, Kind::Core)).collect(),
        host: inventory.host(None, 1),
        done_before: 0,
        record_of: &record,
        policy: RunPolicy {
            retries: Retries { count: 0, ..Retries::default() },
            ..RunPolicy::default()
        },
        jobs: 2,
        fail_fast: false,
    };
    let (sender, messages) = mpsc::channel::<Message>();
    let mut fake = Fake::new(tells(sender), script);
    let leasing = Leasing::new(&inventory, Leases::within_process());
    let ownership = Ownership::shared(claims);
    let means = Means { executor: &mut fake, leasing, ownership };
    let outcome = dispatch(&orders, means, &messages, &mut |_| {}).unwrap();
    (outcome, std::mem::take(&mut fake.started))
}

#[test]
fn dispatchers_that_share_a_sweep_publish_each_run_once() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = SweepFolder::new(temporary.path(), &SweepName::new("faked").unwrap());
    let lease = Duration::from_millis(300);
    let claims = |name| Claims::open(&folder, name, lease).unwrap();
    // One that is lost has a run, and one that was given back is to be had at once.
    let mut lost = claims("lost");
    lost.take(id(0), Duration::ZERO).unwrap();
    let mut left = claims("left");
    left.take(id(1), Duration::ZERO).unwrap();
    left.leave().unwrap();
    let (outcome, jobs) = shared(temporary.path(), claims("first"), |_| Scripted::Finishes);
    assert_eq!(outcome, Outcome { finished: 3, failed: 0, left: 0 });
    let folders: Vec<_> = jobs.iter().map(|job| job.folders[0].clone()).collect();
    let expected = [(1, 2), (2, 1), (0, 2)].map(|(run, claim)| folder.attempt(id(run), claim));
    assert_eq!(folders, expected, "the lost one's after its lease");
    for run in 0..3 {
        assert!(folder.run(id(run)).result().exists());
    }
    let (outcome, jobs) = shared(temporary.path(), claims("second"), |_| Scripted::Finishes);
    assert_eq!((outcome.finished, jobs.len()), (0, 0));
    assert!(!lost.publish(id(0)).unwrap(), "too late");
}

#[test]
fn a_failure_is_published_too_and_a_run_that_takes_dispatchers_down_is_one() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = SweepFolder::new(temporary.path(), &SweepName::new("faked").unwrap());
    let claims = |name: &str| Claims::open(&folder, name, Duration::from_millis(100)).unwrap();
    for n in 0..3 {
        let mut lost = claims(&format!("lost-{n}"));
        lost.take(id(0), Duration::ZERO).unwrap();
        lost.take(id(0), Duration::from_secs(1)).unwrap();
    }
    let (outcome, jobs) = shared(temporary.path(), claims("last"), |job| match job.folders[0] {
        ref other if *other == folder.attempt(id(1), 1) => {
            Scripted::Ends(Vec::new(), Exit::Code(65), "error: no such data\n")
        }
        _ => Scripted::Finishes,
    });
    assert_eq!((outcome.finished, outcome.failed, jobs.len()), (1, 2, 2));
    let result = |run| std::fs::read_to_string(folder.run(id(run)).result()).unwrap();
    assert!(result(1).contains("refused: error: no such data"), "{}", result(1));
    assert!(result(0).contains("pilot_lost: 3 dispatchers in a row"), "{}", result(0));
}

#[test]
fn what_was_taken_over_is_stopped_and_its_result_does_not_count() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = SweepFolder::new(temporary.path(), &SweepName::new("faked").unwrap());
    let claims = Claims::open(&folder, "slow", Duration::from_millis(100)).unwrap();
    let (outcome, jobs) = shared(temporary.path(), claims, |job| {
        if job.folders[0] == folder.attempt(id(0), 1) {
            // Somebody else takes it while it runs here, and comes to its result.
            std::fs::create_dir(folder.attempt(id(0), 2).path()).unwrap();
            let theirs = folder.run(id(0));
            std::fs::create_dir(theirs.path()).unwrap();
            std::fs::write(theirs.result(), "theirs").unwrap();
            return Scripted::Hangs;
        }
        Scripted::Finishes
    });
    assert_eq!((outcome, jobs.len()), (Outcome { finished: 2, failed: 0, left: 0 }, 3));
    assert_eq!(std::fs::read_to_string(folder.run(id(0)).result()).unwrap(), "theirs");
}

fn of_a_thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// By hand, alone: `cargo test ten_thousand_runs_through -- --ignored --nocapture`. Every run has a
/// folder, a record, a result and two lines in the journal; all of it on one thread.
#[test]
#[ignore = "writes ten thousand folders; its memory is that of the whole test process"]
fn ten_thousand_runs_through_the_dispatcher_cost_little_and_keep_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let inventory = described("cores = 8\nmemory_gib = 64");
    let mut memory = BTreeMap::new();
    let mut count = 0;
    let begun = of_a_thread();
    let works = (0..10_000).map(|run| work(&[run], 1, Kind::Core)).collect();
    let folder = SweepFolder::new(temporary.path(), &SweepName::new("faked").unwrap());
    std::fs::create_dir_all(folder.path()).unwrap();
    let orders = Orders {
        folder: &folder,
        data: temporary.path().to_owned(),
        works,
        host: inventory.host(None, 1),
        done_before: 0,
        record_of: &record,
        policy: RunPolicy::default(),
        jobs: 8,
        fail_fast: false,
    };
    let (sender, messages) = mpsc::channel::<Message>();
    // The fake notes every job; that list is not the dispatcher's memory.
    let mut fake = Fake::new(tells(sender), |_| Scripted::Finishes);
    fake.forget = true;
    let leasing = Leasing::new(&inventory, Leases::open(&temporary.path().join("slots")).0);
    let lock = Lock::take(&folder.lock()).unwrap();
    let ownership = Ownership::sole(&folder, &lock);
    let means = Means { executor: &mut fake, leasing, ownership };
    let observe = &mut |event: &SweepEvent| {
        if matches!(event, SweepEvent::RunEnded { .. }) {
            count += 1;
            if count % 1000 == 0 {
                memory.insert(count, resident());
            }
        }
    };
    let outcome = dispatch(&orders, means, &messages, observe).unwrap();
    let each = (of_a_thread() - begun).as_secs_f64() * 1e3 / 10_000.0;
    assert_eq!(outcome, Outcome { finished: 10_000, failed: 0, left: 0 });
    let (first, last) = (memory[&1000], memory[&10_000]);
    println!(
        "{each:.3} ms of a core for each run, files and all; resident {:.1} MiB after 1,000 runs, {:.1} MiB after 10,000",
        first as f64 / f64::from(1 << 20),
        last as f64 / f64::from(1 << 20),
    );
    assert!(each < 2.0, "{each} ms");
    assert!(last < first + (2 << 20), "{first} {last}");
}
