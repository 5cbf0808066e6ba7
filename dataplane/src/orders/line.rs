//! The line between control and one worker: bounded queues, and a number that says when to look at them.
//!
//! Control puts an order into its queue and then raises `posted` (release); the worker compares it (acquire) with how many
//! orders it has finished, and looks into the queue only where they differ. So whatever number it sees, that many orders
//! are in the queue or were taken from it, and each is taken once. The worker raises nothing: its answers go into queues
//! that control polls.

use super::{Order, Report, Row};
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use std::sync::atomic::{AtomicU32, Ordering};

/// Orders that may wait.
const ORDERS: usize = 16;
/// Rows that a worker may be ahead of control.
const ROWS: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct Line {
    /// Orders posted, wrapping. Written by control alone.
    posted: CachePadded<AtomicU32>,
    orders: ArrayQueue<Order>,
    rows: ArrayQueue<Row>,
    reports: ArrayQueue<Report>,
}

/// Too many orders wait: the worker does not take them, or not as fast.
#[derive(Debug)]
pub struct Busy(
    /// The order that was not taken.
    pub Order,
);

impl Default for Line {
    fn default() -> Self {
        Self {
            posted: CachePadded::new(AtomicU32::new(0)),
            orders: ArrayQueue::new(ORDERS),
            rows: ArrayQueue::new(ROWS),
            // Never full: a report answers an order, and control takes them as it posts.
            reports: ArrayQueue::new(ORDERS * 2),
        }
    }
}

impl Line {
    /// Gives the worker an order. For control alone.
    ///
    /// # Errors
    /// [`Busy`], with the order.
    pub fn post(&self, order: Order) -> Result<(), Busy> {
        self.orders.push(order).map_err(Busy)?;
        let n = self.posted.load(Ordering::Relaxed);
        self.posted.store(n.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// The next row of a dump, if the worker has told one.
    pub fn row(&self) -> Option<Row> {
        self.rows.pop()
    }

    /// The next report, if there is one.
    pub fn report(&self) -> Option<Report> {
        self.reports.pop()
    }

    /// Whether there is more to do than `finished` orders: the worker's question of each turn.
    #[inline]
    pub(crate) fn calls(&self, finished: u32) -> bool {
        self.posted.load(Ordering::Acquire) != finished
    }

    /// The next order. For the worker, after [`Line::calls`] said that there is one.
    pub(crate) fn take(&self) -> Option<Order> {
        self.orders.pop()
    }

    /// Whether a row has room; for the worker, which alone puts rows in.
    pub(crate) fn has_room(&self) -> bool {
        !self.rows.is_full()
    }

    /// Tells a row; the worker has asked for room.
    pub(crate) fn tell(&self, row: Row) {
        let _ = self.rows.push(row);
    }

    /// Reports.
    ///
    /// # Errors
    /// The report, where control takes none.
    pub(crate) fn say(&self, report: Report) -> Result<(), Report> {
        self.reports.push(report)
    }
}
