//! nodes: objects of every node's memory, asked for by name and not, that travel between threads on different nodes.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::held::Held;
use super::live::Live;
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::subject::Counter::{BarnGet, CasFail, Flush, FreedSlab, NewSlab, NodeMismatch, Refill, SlowFree};
use crate::oracle::{Kind, Watched};
use crossbeam_queue::ArrayQueue;

/// More than two, so that on most machines one has no CPU.
const NODES: u32 = 3;

pub const SCENARIO: Scenario = Scenario {
    name: "nodes",
    about: "objects of the node that was asked for, freed by threads on other nodes",
    needs: Needs::everywhere(&[Refill, Flush, BarnGet, NewSlab, FreedSlab, NodeMismatch, SlowFree], &[CasFail]),
    prepare: |setup: &Setup<'_>| {
        let caches = setup.caches("nodes", &SPECS)?;
        let post = caches.iter().map(|_| ArrayQueue::new(DEPTH)).collect();
        Ok(Box::new(Nodes { caches, post }))
    },
};

const SPECS: [CacheSpec; 3] = [
    CacheSpec::plain(96).on_nodes(NODES),
    CacheSpec::counted(512).on_nodes(NODES),
    CacheSpec::plain(2048).light().on_nodes(NODES),
];
/// Objects of one cache on their way, at most.
const DEPTH: usize = 2048;
/// Objects of one cache that a thread keeps, at most.
const MOST: usize = 1200;

struct Nodes {
    caches: Vec<Watched>,
    post: Vec<ArrayQueue<Held>>,
}

impl Work for Nodes {
    fn work(&self, worker: &mut Worker<'_>) {
        let mut live: Vec<Live> = self.caches.iter().map(|_| Live::default()).collect();
        while worker.go_on() {
            let index = worker.rng.below(self.caches.len());
            let (watched, post, live) = (&self.caches[index], &self.post[index], &mut live[index]);
            let run = worker.rng.between(1, 300);
            match worker.rng.below(4) {
                0 => asked(worker, watched, live, run),
                1 => (0..run).for_each(|_| live.extend(worker.alloc(watched))),
                2 => send(worker, watched, post, live, run),
                _ => receive(worker, watched, post, run),
            }
            while worker.clean()
                && live.len() > worker.rng.below(MOST)
                && let Some(held) = live.pop_any(&mut worker.rng)
            {
                worker.free(watched, held);
            }
            if worker.rng.one_in(4) {
                worker.hop();
            }
            if worker.rng.one_in(512) {
                watched.subject.shrink();
            }
        }
        for (watched, live) in self.caches.iter().zip(&mut live) {
            worker.free_all(watched, live);
        }
    }

    fn settle(&self, worker: &mut Worker<'_>) {
        for (watched, post) in self.caches.iter().zip(&self.post) {
            receive(worker, watched, post, DEPTH);
        }
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        self.caches
    }
}

/// Objects of a node's memory: what is promised must be so.
fn asked(worker: &mut Worker<'_>, watched: &Watched, live: &mut Live, run: usize) {
    let strict = worker.rng.one_in(2);
    let nodes = watched.subject.by_node().map_or(1, |by_node| by_node.nodes());
    let node = worker.rng.below(nodes as usize) as u32;
    for _ in 0..run {
        let Some(held) = worker.alloc_on(watched, node, strict) else { break };
        live.extend([held]);
    }
}

fn send(worker: &mut Worker<'_>, watched: &Watched, post: &ArrayQueue<Held>, live: &mut Live, run: usize) {
    for _ in 0..run {
        let Some(held) = live.pop() else { break };
        if let Err(held) = post.push(held) {
            worker.free(watched, held);
        }
    }
}

fn receive(worker: &mut Worker<'_>, watched: &Watched, post: &ArrayQueue<Held>, run: usize) {
    for _ in 0..run {
        if !worker.clean() {
            break;
        }
        let Some(held) = post.pop() else { break };
        worker.free(watched, held);
    }
}

impl Worker<'_> {
    /// An object of a node's memory; a wish that is not `strict` may be served by another's only where failures are injected.
    fn alloc_on(&mut self, watched: &Watched, node: u32, strict: bool) -> Option<Held> {
        self.count(1);
        let by_node = watched.subject.by_node()?;
        let Some(object) = by_node.alloc(node, strict) else {
            self.refused_by(watched, || format!("an object of node {node}"));
            return None;
        };
        watched.born(self.index, 1);
        let found = by_node.node_of(object);
        if found != Ok(node) && (strict || !self.expects_refusals()) {
            let seen = found.map_or_else(|why| why, |node| format!("node {node}"));
            let address = object.as_ptr() as usize;
            self.report(Kind::OtherNode, watched, address, format!("memory of node {node} (strict: {strict})"), seen);
        }
        self.take(watched, object, false)
    }
}
