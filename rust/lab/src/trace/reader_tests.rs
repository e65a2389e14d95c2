#![forbid(unsafe_code)]

use super::super::{Kind, ReadError, Reason, Trace};
use super::Reader;
use std::path::{Path, PathBuf};

const FTRACE: &str = "\
# tracer: nop
#
          cap.sh-10047   [001] .....   876.1: kmem_cache_free: call_site=a ptr=000000004b4089df name=filp
CPU:1 [LOST 7 EVENTS]
          cap.sh-10047   [001] .....   876.2: kmem_cache_alloc: call_site=a ptr=0000000094e883f2 name=fi
          cap.sh-10047   [001] .....   876.3: sched_switch: prev_comm=x
          cap.sh-10047   [000] .....   876.4: kfree: call_site=a ptr=0000000000000000
";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn scratch(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("haybarn-reader-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn read(path: &Path) -> Trace {
    let mut reader = Reader::new(false);
    reader.file(path).unwrap();
    reader.finish()
}

#[test]
fn lines_are_counted_by_what_they_are() {
    let path = scratch("counts", FTRACE);
    let trace = read(&path);
    let tally = trace.tally;
    assert_eq!((tally.events, tally.ignored, tally.malformed), (2, 1, 1));
    assert_eq!((tally.lost_events, tally.lost_count), (1, 7));
    assert_eq!(trace.events[1].kind, Kind::Kfree);
    assert_eq!(trace.malformed[0].line, 5);
    assert_eq!(trace.malformed[0].reason, Reason::Missing("bytes_req"));
    assert!(trace.malformed[0].to_string().contains("counts:5: no bytes_req="), "{}", trace.malformed[0]);
    let mut strict = Reader::new(true);
    assert!(matches!(strict.file(&path), Err(ReadError::Malformed(found)) if found.line == 5));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn several_files_are_read_one_after_the_other() {
    let path = scratch("twice", FTRACE);
    let mut reader = Reader::new(false);
    reader.file(&path).unwrap();
    reader.file(&path).unwrap();
    let trace = reader.finish();
    assert_eq!((trace.starts, trace.tally.events), (vec![0, 2], 4));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn unreadable_files_are_errors_that_name_the_file() {
    let mut reader = Reader::new(false);
    for path in [Path::new("/nonexistent/trace"), Path::new("/")] {
        let error = reader.file(path).unwrap_err();
        assert!(matches!(&error, ReadError::Io { file, .. } if file == path), "{error}");
    }
}

/// The counts that an independent script found in the recorded files.
#[test]
fn the_recorded_traces_are_read_whole() {
    for (name, [alloc, free, kmalloc, kfree], nulls) in [
        ("kmem-gcc.ftrace.txt.gz", [17_943, 14_881, 492, 3_319], 2_801),
        ("kmem-git.ftrace.txt.gz", [14_477, 11_720, 843, 3_318], 2_518),
        ("kmem-ls.perf-script.txt.gz", [3_718, 4_404, 7_720, 9_176], 1_452),
    ] {
        let trace = read(&example(name));
        let count = |kind| trace.events.iter().filter(|event| event.kind == kind).count();
        let kinds = [Kind::CacheAlloc, Kind::CacheFree, Kind::Kmalloc, Kind::Kfree];
        assert_eq!(kinds.map(count), [alloc, free, kmalloc, kfree], "{name}");
        assert_eq!(trace.events.iter().filter(|event| event.pointer == 0).count(), nulls, "{name}");
        let tally = trace.tally;
        assert_eq!((tally.malformed, tally.ignored, tally.lost_events), (0, 0, 0), "{name}");
        assert_eq!(tally.events as usize, alloc + free + kmalloc + kfree, "{name}");
    }
}
