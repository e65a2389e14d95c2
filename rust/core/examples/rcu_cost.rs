//! What a read section costs: `cargo run --release --example rcu_cost`. Rounds of each kind take turns, so that all of them
//! see the same machine; the empty loop is what measuring costs.

use haybarn::rcu;
use std::hint::black_box;
use std::time::Instant;

const TIMES: u32 = 2_000_000;
const ROUNDS: usize = 31;

fn empty() {}

/// Its instructions are found under this name in the disassembly.
#[inline(never)]
#[unsafe(no_mangle)]
fn rcu_section() {
    let section = rcu::read_lock();
    black_box(&section);
}

fn inlined() {
    let section = rcu::read_lock();
    black_box(&section);
}

fn nested() {
    let outer = rcu::read_lock();
    let inner = rcu::read_lock();
    black_box((&outer, &inner));
}

fn is_reading() {
    black_box(rcu::is_reading());
}

/// Nanoseconds of one call.
fn time(work: impl Fn()) -> f64 {
    let begin = Instant::now();
    for n in 0..TIMES {
        black_box(n);
        work();
    }
    begin.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
}

fn main() -> Result<(), haybarn::Error> {
    drop(rcu::read_lock());
    let names = ["empty loop", "section, called", "section, inlined", "two, nested", "is_reading"];
    let mut figures = vec![Vec::new(); names.len()];
    for _ in 0..ROUNDS {
        let round = [time(empty), time(rcu_section), time(inlined), time(nested), time(is_reading)];
        figures.iter_mut().zip(round).for_each(|(figures, figure)| figures.push(figure));
    }
    println!("readers' fence: {}; {ROUNDS} rounds of {TIMES}, interleaved; ns", rcu::reader_fence());
    for (name, mut figures) in names.into_iter().zip(figures) {
        figures.sort_by(f64::total_cmp);
        let at = |percent: usize| figures[(figures.len() - 1) * percent / 100];
        println!("{name:18} least {:6.2}  median {:6.2}  90% {:6.2}", at(0), at(50), at(90));
    }
    let begin = Instant::now();
    (0..1000).try_for_each(|_| rcu::synchronize())?;
    println!("synchronize, nobody reading: {:.1} us", begin.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
