"""`haybarn replay`: counts, reports, exit codes, speed of reading."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest

import haybarn
from haybarn import _core, cli
from haybarn.output import CommandError

TRACES = ("kmem-gcc.ftrace.txt.gz", "kmem-git.ftrace.txt.gz", "kmem-ls.perf-script.txt.gz")
LEVELS = ("sheaf", "barn", "partial", "new_slab", "page_run")
BUCKETS = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)
LINE = re.compile(r"\[(\d+)\].* \d+\.\d+: +(?:kmem:)?(kmem_cache_alloc|kmem_cache_free|kmalloc|kfree): (.*)$")
HEADER = "# tracer: nop\n"


@pytest.fixture
def replay(haybarn_cli):
    """Runs `haybarn replay ARGUMENTS --json -`: exit code, report (None without one) and standard error."""

    def run(*arguments, **env):
        done = haybarn_cli("replay", *map(str, arguments), "--json", "-", **env)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    return run


def line(event, cpu=0, task="cap.sh", pid=7):
    return f"{task:>16}-{pid:<7} [{cpu:03}] .....   876.373867: {event}\n"


def alloc(pointer, name="filp", req=184, given=192, accounted="false"):
    event = "kmem_cache_alloc" if name else "kmalloc"
    named = f" name={name}" if name else ""
    sizes = f"bytes_req={req} bytes_alloc={given} gfp_flags=GFP_KERNEL node=-1 accounted={accounted}"
    return f"{event}: call_site=f+0x1/0x2 ptr={pointer:016x}{named} {sizes}"


def kfree(pointer):
    return f"kfree: call_site=f+0x1/0x2 ptr={pointer:016x}"


def kmalloc_name(given, accounted):
    if given > 8192:
        return "kmalloc-large"
    bucket = next(bucket for bucket in BUCKETS if bucket >= given)
    size = f"{bucket // 1024}k" if bucket >= 1024 else str(bucket)
    return f"kmalloc-{'cg-' if accounted else ''}{size}"


def recount(path):
    """What a trace holds, by a reading of its own: totals, and (allocs, frees, peak) by cache."""
    live, total, caches, held, peak = {}, Counter(), {}, Counter(), Counter()

    def free(name):
        caches[name][1] += 1
        held[name] -= 1
        total["frees"] += 1

    with gzip.open(path, "rt") as lines:
        for text in lines:
            found = LINE.search(text)
            if not found:
                assert text.startswith("#")
                continue
            total["events"] += 1
            fields = dict(field.split("=", 1) for field in found[3].split() if "=" in field)
            pointer = fields["ptr"]
            if "alloc" in found[2]:
                if pointer in live:
                    total["implied_frees"] += 1
                    free(live[pointer])
                name = fields.get("name") or kmalloc_name(int(fields["bytes_alloc"]), fields["accounted"] == "true")
                live[pointer] = name
                caches.setdefault(name, [0, 0])[0] += 1
                held[name] += 1
                peak[name] = max(peak[name], held[name])
                total["allocs"] += 1
            elif pointer == "(nil)" or int(pointer, 16) == 0:
                total["null_frees"] += 1
            elif pointer in live:
                free(live.pop(pointer))
            else:
                total["unmatched_frees"] += 1
    total["live_at_end"] = len(live)
    return total, {name: (*counts, peak[name]) for name, counts in caches.items()}


def adds_up(report, levels=True):
    assert report["violations"] == 0
    assert report["allocs"] - report["frees"] == report["live_at_end"]
    for name, cache in report["caches"].items():
        assert cache["allocs"] - cache["frees"] == cache["live_at_end"], name
        served = [cache[f"served_{level}"] for level in LEVELS]
        if levels:
            assert sum(served) == cache["allocs"], name
            assert 0 <= cache["waste_bytes"] < cache["peak_bytes"], name
            assert cache["peak_bytes"] % 4096 == 0, name
        else:
            assert served == [None] * 5, name


@pytest.mark.parametrize("trace", TRACES)
def test_counts_are_those_of_another_reading(root, replay, trace):
    path = root / "examples" / trace
    total, caches = recount(path)
    code, report, _ = replay(path)
    assert code == 0
    adds_up(report)
    assert {key: report[key] for key in total} == dict(total)
    assert {
        name: (cache["allocs"], cache["frees"], cache["peak_objects"]) for name, cache in report["caches"].items()
    } == caches
    assert (report["malformed"], report["ignored"], report["lost_events"]) == (0, 0, 0)
    assert report["threads"] == len(report["recorded_cpus"]) == 2


@pytest.mark.parametrize("trace", TRACES)
def test_reading_alone_counts_the_events(root, trace):
    path = root / "examples" / trace
    seconds, events = _core._replay_read([path])
    assert seconds > 0
    assert events == recount(path)[0]["events"]


@pytest.mark.parametrize("trace", TRACES)
def test_virtual_replays_are_equal(root, haybarn_cli, trace):
    arguments = ("replay", str(root / "examples" / trace), "--backend", "virtual", "--json", "-")
    first, second = haybarn_cli(*arguments), haybarn_cli(*arguments)
    assert first.returncode == 0
    assert first.stdout == second.stdout
    report = json.loads(first.stdout)
    adds_up(report)
    assert report["backend"] == "virtual"
    by_environment = haybarn_cli("replay", str(root / "examples" / trace), "--json", "-", HAYBARN_BACKEND="virtual")
    assert by_environment.stdout == first.stdout


@pytest.mark.parametrize("options", [("--backend", "locked"), ("--cpus", "1"), ("--cpus", "64")])
def test_other_ways_to_run(root, replay, options):
    code, report, _ = replay(root / "examples" / TRACES[1], *options)
    assert code == 0
    adds_up(report)
    assert report["threads"] == (1 if options == ("--cpus", "1") else 2)


def test_design_system_has_no_levels(root, replay):
    code, report, _ = replay(root / "examples" / TRACES[0], "--design", "system")
    assert (code, report["allocs"], report["served_sheaf"]) == (0, 18435, None)
    adds_up(report, levels=False)


def test_shapes_from_sysfs(root, replay):
    sysfs = root / "examples" / "sysfs-slab-linux-6.18.json.gz"
    code, report, _ = replay(root / "examples" / TRACES[0], "--backend", "virtual", "--caches", sysfs)
    assert code == 0
    adds_up(report)
    recorded = json.loads(gzip.decompress(sysfs.read_bytes()))
    for name, cache in report["caches"].items():
        attributes = recorded["caches"][recorded["aliases"].get(name, name)]
        made = cache["made"]
        assert made["slab_size"] == int(attributes["slab_size"]), name
        assert (made["order"], made["objs_per_slab"]) == (int(attributes["order"]), int(attributes["objs_per_slab"])), (
            name
        )
    assert "not taken: destroy_by_rcu" in report["caches"]["filp"]["notes"]


def test_what_a_line_can_be(tmp_path, replay):
    trace = tmp_path / "odd.txt"
    trace.write_text(
        HEADER
        + line(alloc(0xA), task="Web Content")
        + line(alloc(0xB, name="", req=600, given=1024, accounted="true"), task="[001] 1.0: x:")
        + "CPU:1 [LOST 12 EVENTS]\n"
        + line(alloc(0xA), cpu=1)  # still live: an implied free
        + line(kfree(0xB), cpu=1)  # of another CPU's object
        + line(kfree(0))
        + line(kfree(0xDEAD))
        + line("sched_switch: prev_comm=x")
        + line("kmem_cache_alloc: call_site=f ptr=00000000000000cc name=filp bytes_req=184 bytes_al")
        + "total nonsense\n"
        + line(alloc(0)),  # gave NULL in the kernel
    )
    code, report, stderr = replay(trace)
    assert code == 0
    adds_up(report)
    counts = dict.fromkeys(
        ("implied_frees", "null_frees", "unmatched_frees", "ignored", "lost_events", "failed_allocs"), 1
    )
    counts |= {"events": 7, "allocs": 3, "frees": 2, "live_at_end": 1, "malformed": 2, "lost_count": 12}
    assert {key: report[key] for key in counts} == counts
    assert set(report["caches"]) == {"filp", "kmalloc-cg-1k"}
    assert report["caches"]["kmalloc-cg-1k"]["frees"] == 1
    assert f"{trace}:10: no bytes_alloc= in this line" in stderr
    assert f'{trace}:11: no "[CPU] time: event:"' in stderr


def test_large_kmallocs_are_page_runs(tmp_path, replay):
    trace = tmp_path / "large.txt"
    trace.write_text(
        HEADER + line(alloc(1, name="", req=9000, given=16384)) + line(alloc(2, name="", req=8192, given=8192))
    )
    _, report, _ = replay(trace, "--backend", "virtual")
    large = report["caches"]["kmalloc-large"]
    assert (large["served_page_run"], large["peak_bytes"], large["waste_bytes"]) == (1, 16384, 16384 - 9000)
    assert report["caches"]["kmalloc-8k"]["served_new_slab"] == 1


def test_strict_stops_at_a_malformed_line(tmp_path, replay):
    trace = tmp_path / "bad.txt"
    trace.write_text(HEADER + line(alloc(1)) + "nonsense\n")
    code, report, stderr = replay(trace, "--strict")
    assert (code, report) == (2, None)
    assert f"{trace}:3:" in stderr
    code, report, _ = replay(trace)
    assert (code, report["malformed"]) == (0, 1)


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08\x00 this is no gzip", b"PERFILE2\0\0\0\0", None])
def test_unreadable_files_are_exit_code_2(tmp_path, replay, content):
    trace = tmp_path / "trace"
    if content is not None:
        trace.write_bytes(content)
    code, report, stderr = replay(trace)
    assert (code, report) == (2, None)
    assert str(trace) in stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--cpus", "0"),
        ("--cpus", "x"),
        ("--design", "slub"),
        ("--backend", "best"),
        ("--nodes", "2"),
        ("--backend", "virtual", "--nodes", "65"),
        ("--design", "system", "--backend", "rseq"),
        ("--caches", "/nonexistent.json"),
        ("--caches", __file__),
    ],
)
def test_bad_options_are_exit_code_2(root, replay, options):
    code, report, stderr = replay(root / "examples" / TRACES[0], *options)
    assert (code, report) == (2, None)
    assert stderr.startswith("haybarn: ")


def test_an_empty_trace_is_no_error(tmp_path, replay):
    for name, content in (("empty", ""), ("headers", HEADER)):
        trace = tmp_path / name
        trace.write_text(content)
        code, report, _ = replay(trace)
        assert (code, report["events"], report["allocs"], report["served_sheaf"], report["caches"]) == (0, 0, 0, 0, {})


def test_several_files_add_up(root, replay):
    paths = [root / "examples" / trace for trace in TRACES]
    _, together, _ = replay(*paths, "--backend", "virtual")
    alone = [replay(path, "--backend", "virtual")[1] for path in paths]
    for key in ("events", "allocs", "frees", "implied_frees", "null_frees", "unmatched_frees", "live_at_end"):
        assert together[key] == sum(report[key] for report in alone), key


def test_the_table_is_plain_text_and_json_goes_to_a_file(root, haybarn_cli, tmp_path):
    target = tmp_path / "report.json"
    target.write_text("overwritten")
    done = haybarn_cli("replay", str(root / "examples" / TRACES[2]), "--json", str(target))
    assert done.returncode == 0
    assert "kmalloc-64" in done.stdout
    assert re.search(r"^total +- +11,438 +10,792 +646", done.stdout, re.MULTILINE)
    assert json.loads(target.read_text())["allocs"] == 11438


def test_violations_are_exit_code_1(monkeypatch, capsys):
    def broken(files, **options):
        real = _core_replay(files, **options)
        report = json.loads(real[0]) | {"violations": 1, "violation_texts": ["filp: object 3 was changed while live"]}
        return json.dumps(report), *real[1:]

    _core_replay = _core._replay
    monkeypatch.setattr(_core, "_replay", broken)
    trace = Path(__file__).parent.parent / "examples" / TRACES[2]
    assert cli.run(["replay", str(trace), "--backend", "virtual"]) == 1
    assert "violation: filp: object 3 was changed" in capsys.readouterr().err


def test_memory_that_runs_out_is_exit_code_1(monkeypatch):
    def out_of_memory(files, **options):
        raise haybarn.OutOfMemoryError("out of memory in cache filp")

    monkeypatch.setattr(_core, "_replay", out_of_memory)
    with pytest.raises(CommandError, match="out of memory in cache filp") as caught:
        cli.run(["replay", "some.trace"])
    assert caught.value.exit_code == 1
