//! Producer to consumer: one thread allocates 64-byte blocks and sends them through a ring, another reads and frees them.
#![forbid(unsafe_code)]

use crate::bench::blocks::{Block, Blocks, Target};
use crate::bench::clock::{Sample, nanoseconds, thread_cpu};
use crate::bench::machine::pin;
use crate::bench::row::{Row, Work};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// See the module.
pub struct RemoteRing;

/// Blocks that may be on their way at a time.
const RING: usize = 1024;
/// Blocks that one exchange of the ring's ends carries: the row is about the allocators, not about two cores passing a line.
const CHUNK: usize = 32;

impl Row for RemoteRing {
    const NAME: &'static str = "remote-ring";
    const ABOUT: &'static str = "64 B from a producer to a consumer that frees it, 2 threads on 2 CPUs";
    const STEP: u64 = CHUNK as u64;
    const ROUND: Duration = Duration::from_millis(3);

    fn work<T: Target>() -> Result<Work, String> {
        let blocks = T::b64()?;
        let (mut producer, consumer) = rtrb::RingBuffer::<Block<T::B64>>::new(RING);
        let (start, started) = channel::<u64>();
        let (finish, finished) = channel::<u64>();
        let theirs = blocks.clone();
        thread::spawn(move || consume(&theirs, consumer, &started, &finish));
        Ok(Box::new(move |ops| {
            let wall = Instant::now();
            start.send(ops).expect("the consumer waits");
            let cpu = thread_cpu();
            let mut at = Instant::now();
            for _ in 0..ops / Self::STEP {
                let chunk = loop {
                    match producer.write_chunk_uninit(CHUNK) {
                        Ok(chunk) => break chunk,
                        // No pause instruction: under a hypervisor many of them in a row leave the guest.
                        Err(_) => continue,
                    }
                };
                chunk.fill_from_iter((0..CHUNK).map(|n| {
                    let block = blocks.alloc();
                    block.write(n as u64);
                    block
                }));
            }
            let mine = share(thread_cpu() - cpu, &mut at);
            let theirs = finished.recv().expect("the consumer answers");
            let wall = nanoseconds(wall.elapsed());
            // The share of its time that the more disturbed of the two threads was on its CPU, in parts of a thousand.
            Sample { wall, cpu: wall * mine.min(theirs) / 1000 }
        }))
    }
}

/// CPU time as parts of a thousand of the time since `at`.
fn share(cpu: u64, at: &mut Instant) -> u64 {
    (cpu * 1000 / nanoseconds(at.elapsed()).max(1)).min(1000)
}

/// The consumer's life: for each number that arrives, as many blocks; ends when the row is dropped.
fn consume<B: Blocks>(blocks: &B, mut ring: rtrb::Consumer<Block<B>>, started: &Receiver<u64>, finish: &Sender<u64>) {
    // Where the system refuses, the two threads go where it puts them.
    let _ = pin(1);
    while let Ok(ops) = started.recv() {
        let cpu = thread_cpu();
        let mut at = Instant::now();
        for _ in 0..ops / RemoteRing::STEP {
            let chunk = loop {
                match ring.read_chunk(CHUNK) {
                    Ok(chunk) => break chunk,
                    Err(_) => continue,
                }
            };
            for block in chunk {
                let _ = block.read();
                blocks.free(block);
            }
        }
        if finish.send(share(thread_cpu() - cpu, &mut at)).is_err() {
            return;
        }
    }
}
