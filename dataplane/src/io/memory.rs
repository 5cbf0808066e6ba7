//! Bursts over vectors: the same worker without any device. For tests, `replay` and the fuzzers.

use super::{Buf, Burst, Crowding, Io};
use crate::types::{PortId, WorkerId};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

const HEADROOM: usize = 128;

/// A frame in memory with room at both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Vec<u8>,
    start: usize,
    tag: u64,
}

impl Frame {
    /// From a frame's bytes.
    #[must_use]
    pub fn new(frame: &[u8]) -> Self {
        let mut bytes = vec![0; HEADROOM];
        bytes.extend_from_slice(frame);
        Self { bytes, start: HEADROOM, tag: 0 }
    }
}

impl Buf for Frame {
    fn data(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
    fn data_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }
    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.start + len);
    }
    fn trim_front(&mut self, n: usize) -> bool {
        let fits = self.start + n <= self.bytes.len();
        if fits {
            self.start += n;
        }
        fits
    }
    fn prepend(&mut self, n: usize) -> bool {
        let fits = n <= self.start;
        if fits {
            self.start -= n;
        }
        fits
    }
    fn append(&mut self, n: usize) -> bool {
        self.bytes.resize(self.bytes.len() + n, 0);
        true
    }
    fn tag(&self) -> u64 {
        self.tag
    }
    fn set_tag(&mut self, tag: u64) {
        self.tag = tag;
    }
}

/// Rings between workers in one thread.
pub type Rings = Rc<RefCell<Vec<VecDeque<Frame>>>>;

/// One worker's ports: queues of frames.
pub struct Memory {
    me: WorkerId,
    rings: Rings,
    /// Frames that each port will receive.
    pub arriving: Vec<VecDeque<Frame>>,
    /// Frames that each port sent.
    pub sent: Vec<Vec<Vec<u8>>>,
    /// Ports whose transmit queue is full.
    pub refusing: Vec<bool>,
    /// No buffer can be had.
    pub starved: bool,
    /// What the clock shows, and by how much each look at it moves it on.
    pub clock: (u64, u64),
    ring_limit: usize,
}

impl Memory {
    /// `workers` memories with `ports` ports each, joined by rings for `ring_limit` frames.
    #[must_use]
    pub fn joined(workers: u8, ports: usize, ring_limit: usize) -> Vec<Self> {
        let rings: Rings = Rc::new(RefCell::new((0..workers).map(|_| VecDeque::new()).collect()));
        (0..workers)
            .map(|w| Self {
                me: WorkerId(w),
                rings: Rc::clone(&rings),
                arriving: (0..ports).map(|_| VecDeque::new()).collect(),
                sent: vec![Vec::new(); ports],
                refusing: vec![false; ports],
                starved: false,
                clock: (0, 1),
                ring_limit,
            })
            .collect()
    }

    /// A frame arrives on a port.
    pub fn arrive(&mut self, port: PortId, frame: &[u8]) {
        if let Some(q) = self.arriving.get_mut(port.index()) {
            q.push_back(Frame::new(frame));
        }
    }

    /// Takes what a port sent so far.
    pub fn take_sent(&mut self, port: PortId) -> Vec<Vec<u8>> {
        self.sent.get_mut(port.index()).map(std::mem::take).unwrap_or_default()
    }

    /// Changes what other workers handed over and this one did not take yet: for tests of what gets lost.
    pub fn change_handed(&mut self, change: impl FnMut(&mut Frame)) {
        if let Some(queue) = self.rings.borrow_mut().get_mut(self.me.index()) {
            queue.iter_mut().for_each(change);
        }
    }

    /// Whether frames wait for this worker.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.arriving.iter().any(|q| !q.is_empty())
            || self.rings.borrow().get(self.me.index()).is_some_and(|q| !q.is_empty())
    }
}

fn fill(queue: &mut VecDeque<Frame>, into: &mut Burst<Frame>) {
    let n = queue.len().min(into.remaining_capacity());
    into.extend(queue.drain(..n));
}

impl Io for Memory {
    type Buf = Frame;

    fn receive(&mut self, port: PortId, into: &mut Burst<Frame>) -> usize {
        if let Some(q) = self.arriving.get_mut(port.index()) {
            fill(q, into);
        }
        0
    }

    fn send(&mut self, port: PortId, from: &mut Burst<Frame>) {
        if self.refusing.get(port.index()).copied().unwrap_or(true) {
            return;
        }
        if let Some(sent) = self.sent.get_mut(port.index()) {
            sent.extend(from.drain(..).map(|f| f.data().to_vec()));
        }
    }

    fn take_handed(&mut self, into: &mut Burst<Frame>) {
        if let Some(q) = self.rings.borrow_mut().get_mut(self.me.index()) {
            fill(q, into);
        }
    }

    fn hand_over(&mut self, to: WorkerId, from: &mut Burst<Frame>) {
        if let Some(q) = self.rings.borrow_mut().get_mut(to.index()) {
            let n = from.len().min(self.ring_limit.saturating_sub(q.len()));
            q.extend(from.drain(..n));
        }
    }

    fn cycles(&mut self) -> u64 {
        let (now, step) = &mut self.clock;
        *now = now.wrapping_add(*step);
        *now
    }

    fn crowding(&self, to: WorkerId) -> Crowding {
        let rings = self.rings.borrow();
        rings.get(to.index()).map_or(Crowding::Easy, |q| Crowding::of(q.len(), self.ring_limit))
    }

    fn allocate(&mut self) -> Option<Frame> {
        (!self.starved).then(|| Frame::new(&[]))
    }
}
